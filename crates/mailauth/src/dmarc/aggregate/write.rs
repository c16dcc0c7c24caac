//! Writes a report's XML (RFC 9990 appendix A).
//!
//! Invariant: no value can break out of its element.

use super::{Authenticated, Published, Report, Row};
use std::borrow::Cow;

/// The report as XML.
#[must_use]
pub fn write(report: &Report) -> String {
    let mut xml = Xml(String::with_capacity(1024 + report.rows.len() * 800));
    xml.0.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n");
    xml.value("version", "1.0");
    xml.group("report_metadata", |xml| {
        xml.value("org_name", &report.organization);
        xml.value("email", &report.email);
        xml.value("report_id", &report.id);
        xml.group("date_range", |xml| {
            xml.value("begin", &report.begin.to_string());
            xml.value("end", &report.end.to_string());
        });
        report.errors.iter().for_each(|error| xml.value("error", error));
        xml.value("generator", concat!("Postrider ", env!("CARGO_PKG_VERSION")));
    });
    xml.group("policy_published", |xml| policy(xml, &report.published));
    report.rows.iter().for_each(|(row, count)| xml.group("record", |xml| record(xml, row, *count)));
    xml.0.push_str("</feedback>\n");
    xml.0
}

fn policy(xml: &mut Xml, published: &Published) {
    let Published { domain, discovery, p, sp, np, adkim, aspf, testing, fo } = published;
    xml.value("domain", domain);
    for (name, value) in [
        ("discovery_method", discovery),
        ("p", p),
        ("sp", sp),
        ("np", np),
        ("fo", fo),
        ("adkim", adkim),
        ("aspf", aspf),
        ("testing", testing),
    ] {
        if !value.is_empty() {
            xml.value(name, value);
        }
    }
}

fn record(xml: &mut Xml, row: &Row, count: u64) {
    xml.group("row", |xml| {
        xml.value("source_ip", &row.source);
        xml.value("count", &count.to_string());
        xml.group("policy_evaluated", |xml| {
            xml.value("disposition", &row.disposition);
            xml.value("dkim", &row.dkim);
            xml.value("spf", &row.spf);
            for (kind, words) in &row.reasons {
                xml.group("reason", |xml| {
                    xml.value("type", kind);
                    if !words.is_empty() {
                        xml.value("comment", words);
                    }
                });
            }
        });
    });
    xml.group("identifiers", |xml| {
        xml.value("header_from", &row.header_from);
        xml.value("envelope_from", &row.envelope_from);
    });
    xml.group("auth_results", |xml| {
        row.signatures.iter().for_each(|signature| xml.group("dkim", |xml| signed(xml, signature)));
        row.sender.iter().for_each(|sender| {
            xml.group("spf", |xml| {
                xml.value("domain", &sender.domain);
                xml.value("scope", "mfrom");
                xml.value("result", &sender.result);
            });
        });
    });
}

fn signed(xml: &mut Xml, signature: &Authenticated) {
    xml.value("domain", &signature.domain);
    xml.value("selector", &signature.selector);
    xml.value("result", &signature.result);
}

struct Xml(String);

impl Xml {
    fn value(&mut self, name: &str, value: &str) {
        self.0.extend(["<", name, ">", &escaped(value), "</", name, ">\n"]);
    }

    fn group(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, ">\n"]);
        content(self);
        self.0.extend(["</", name, ">\n"]);
    }
}

/// Text as it may stand in an element; characters that XML cannot hold become `?`.
fn escaped(text: &str) -> Cow<'_, str> {
    let foreign = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let text = if text.contains(foreign) { Cow::Owned(text.replace(foreign, "?")) } else { Cow::Borrowed(text) };
    match text {
        Cow::Borrowed(text) => quick_xml::escape::escape(text),
        Cow::Owned(text) => Cow::Owned(quick_xml::escape::escape(text.as_str()).into_owned()),
    }
}
