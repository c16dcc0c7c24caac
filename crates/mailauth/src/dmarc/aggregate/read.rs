//! Reads a report's XML: RFC 9990's, RFC 7489's, and what is sent in their name. Names count without their namespaces,
//! what is not known is passed over, and the order does not matter.
//!
//! Entities of one's own are not expanded: a reference to one is an error.

use super::{Authenticated, Report, Row};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// What a report may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most rows. Default 20,000. Beyond: an error.
    pub rows_max: usize,
    /// Longest value, characters. Default 500; the rest of a longer one is cut off.
    pub value_chars_max: usize,
    /// How deep elements may stand in each other. Default 20. Beyond: an error.
    pub depth_max: usize,
    /// Most signatures of one row. Default 100 (RFC 9990 §3.1.2); the others are passed over.
    pub signatures_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_max: 20_000, value_chars_max: 500, depth_max: 20, signatures_max: 100 }
    }
}

/// Why it is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no XML.
    #[error("it is no XML: {0}")]
    Xml(String),
    /// Its root is not `feedback`, or it says nothing of a domain.
    #[error("it is no DMARC report")]
    NoReport,
    /// More than a limit.
    #[error("it has too many {0}")]
    TooMany(&'static str),
}

/// Reads a report.
///
/// # Errors
/// See [`ReadError`].
pub fn read(xml: &str, limits: &Limits) -> Result<Report, ReadError> {
    let mut reader = Reader::from_str(xml.trim_start_matches('\u{feff}'));
    let mut reading =
        Reading { limits: *limits, report: Report::default(), path: Vec::new(), text: String::new(), row: Row::default(), count: 0 };
    loop {
        let event = reader.read_event().map_err(|error| ReadError::Xml(error.to_string()))?;
        match event {
            Event::Start(start) => reading.start(start.local_name().as_ref())?,
            Event::Empty(empty) => {
                reading.start(empty.local_name().as_ref())?;
                reading.end();
            }
            Event::End(_) => reading.end(),
            Event::Text(text) => reading.text(&text.xml10_content()),
            Event::CData(text) => reading.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let of_char = reference.resolve_char_ref().map_err(|error| ReadError::Xml(error.to_string()))?;
                let named = of_char.map(String::from).or_else(|| resolve_predefined_entity(&reference).map(str::to_owned));
                reading.text(&named.ok_or_else(|| ReadError::Xml("it has entities of its own".to_owned()))?);
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let Reading { report, path, .. } = reading;
    if !path.is_empty() {
        return Err(ReadError::Xml("it ends too early".to_owned()));
    }
    if report.published.domain.is_empty() { Err(ReadError::NoReport) } else { Ok(report) }
}

struct Reading {
    limits: Limits,
    report: Report,
    path: Vec<String>,
    text: String,
    row: Row,
    count: u64,
}

impl Reading {
    fn start(&mut self, name: &str) -> Result<(), ReadError> {
        if self.path.is_empty() && name != "feedback" {
            return Err(ReadError::NoReport);
        }
        if self.path.len() >= self.limits.depth_max {
            return Err(ReadError::TooMany("elements in each other"));
        }
        self.path.push(name.chars().take(40).collect());
        self.text.clear();
        match self.place().as_slice() {
            ["feedback", "record"] if self.report.rows.len() >= self.limits.rows_max => return Err(ReadError::TooMany("rows")),
            ["feedback", "record"] => (self.row, self.count) = (Row::default(), 0),
            ["feedback", "record", "auth_results", "dkim"] if self.row.signatures.len() < self.limits.signatures_max => {
                self.row.signatures.push(Authenticated::default());
            }
            ["feedback", "record", "auth_results", "spf"] if self.row.sender.len() < self.limits.signatures_max => {
                self.row.sender.push(Authenticated::default());
            }
            ["feedback", "record", "row", "policy_evaluated", "reason"] if self.row.reasons.len() < self.limits.signatures_max => {
                self.row.reasons.push(Default::default());
            }
            _ => {}
        }
        Ok(())
    }

    fn place(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn text(&mut self, text: &str) {
        let room = self.limits.value_chars_max.saturating_sub(self.text.chars().count());
        self.text.extend(text.chars().take(room));
    }

    fn end(&mut self) {
        let value = std::mem::take(&mut self.text).trim().to_owned();
        let path = std::mem::take(&mut self.path);
        let place: Vec<&str> = path.iter().map(String::as_str).collect();
        match place.as_slice() {
            ["feedback", "record"] => self.report.rows.push((std::mem::take(&mut self.row), self.count)),
            ["feedback", "record", rest @ ..] => self.of_row(rest, value),
            ["feedback", "report_metadata", rest @ ..] => self.of_metadata(rest, value),
            ["feedback", "policy_published", name] => self.of_policy(name, &value),
            _ => {}
        }
        self.path = path;
        self.path.pop();
    }

    fn of_metadata(&mut self, place: &[&str], value: String) {
        let report = &mut self.report;
        match place {
            ["org_name"] => report.organization = value,
            ["email"] => report.email = value,
            ["report_id"] => report.id = value,
            ["date_range", "begin"] => report.begin = value.parse().unwrap_or(0),
            ["date_range", "end"] => report.end = value.parse().unwrap_or(0),
            ["error"] if report.errors.len() < self.limits.signatures_max => report.errors.push(value),
            _ => {}
        }
    }

    fn of_policy(&mut self, name: &str, value: &str) {
        let published = &mut self.report.published;
        let slot = match name {
            "domain" => &mut published.domain,
            "discovery_method" => &mut published.discovery,
            "p" => &mut published.p,
            "sp" => &mut published.sp,
            "np" => &mut published.np,
            "adkim" => &mut published.adkim,
            "aspf" => &mut published.aspf,
            "testing" => &mut published.testing,
            "fo" => &mut published.fo,
            _ => return,
        };
        *slot = value.to_ascii_lowercase();
    }

    fn of_row(&mut self, place: &[&str], value: String) {
        let row = &mut self.row;
        match place {
            ["row", "source_ip"] => row.source = value,
            ["row", "count"] => self.count = value.parse().unwrap_or(0),
            ["row", "policy_evaluated", "disposition"] => row.disposition = value.to_ascii_lowercase(),
            ["row", "policy_evaluated", "dkim"] => row.dkim = value.to_ascii_lowercase(),
            ["row", "policy_evaluated", "spf"] => row.spf = value.to_ascii_lowercase(),
            ["row", "policy_evaluated", "reason", part] => reason(row, part, value),
            ["identifiers", "header_from"] => row.header_from = value.to_ascii_lowercase(),
            ["identifiers", "envelope_from"] => row.envelope_from = value.to_ascii_lowercase(),
            ["auth_results", "dkim", part] => authenticated(row.signatures.last_mut(), part, value),
            ["auth_results", "spf", part] => authenticated(row.sender.last_mut(), part, value),
            _ => {}
        }
    }
}

fn reason(row: &mut Row, part: &str, value: String) {
    let Some((kind, words)) = row.reasons.last_mut() else { return };
    match part {
        "type" => *kind = value,
        "comment" => *words = value,
        _ => {}
    }
}

fn authenticated(one: Option<&mut Authenticated>, part: &str, value: String) {
    let Some(one) = one else { return };
    match part {
        "domain" => one.domain = value.to_ascii_lowercase(),
        "selector" => one.selector = value,
        "result" => one.result = value.to_ascii_lowercase(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Published, write};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_of_the_older_schema_is_read() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <report_metadata><org_name>google.com</org_name><email>noreply-dmarc-support@google.com</email>
    <extra_contact_info>https://support.google.com/a/answer/2466580</extra_contact_info>
    <report_id>123</report_id><date_range><begin>1700000000</begin><end>1700086399</end></date_range></report_metadata>
  <policy_published><domain>example.org</domain><adkim>r</adkim><aspf>r</aspf><p>NONE</p><sp>none</sp><pct>100</pct></policy_published>
  <record><row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf>
    <reason><type>forwarded</type><comment>a &lt;list&gt; &amp; more &#65;</comment></reason></policy_evaluated></row>
    <identifiers><header_from>Example.org</header_from></identifiers>
    <auth_results><dkim><domain>example.org</domain><result>pass</result><selector>s1</selector></dkim>
      <spf><domain>other.example</domain><result>softfail</result></spf></auth_results></record>
  <record><row><source_ip>2001:db8::1</source_ip><count>1</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><header_from>example.org</header_from></identifiers><auth_results><spf><domain/><result>none</result></spf></auth_results></record>
</feedback>"#;
        let report = read(xml, &Limits::default()).unwrap();
        assert_eq!(
            (report.organization.as_str(), report.id.as_str(), report.begin, report.end),
            ("google.com", "123", 1_700_000_000, 1_700_086_399)
        );
        assert_eq!((report.published.domain.as_str(), report.published.p.as_str()), ("example.org", "none"));
        let [(first, 3), (second, 1)] = report.rows.as_slice() else { panic!("{report:?}") };
        assert_eq!(first.reasons, [("forwarded".to_owned(), "a <list> & more A".to_owned())]);
        assert_eq!((first.header_from.as_str(), first.signatures[0].selector.as_str(), first.passes()), ("example.org", "s1", true));
        assert_eq!((second.source.as_str(), second.sender.len(), second.passes()), ("2001:db8::1", 1, false));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let check = |xml: &str, want: &str| assert_eq!(read(xml, &Limits::default()).unwrap_err().to_string(), want, "{xml}");
        check("", "it is no DMARC report");
        check("<html><body/></html>", "it is no DMARC report");
        check("<feedback></feedback>", "it is no DMARC report");
        check(&"<feedback>".repeat(30), "it has too many elements in each other");
        check(&format!("<feedback>{}", "<record></record>".repeat(20_001)), "it has too many rows");
        check("<feedback><record>", "it is no XML: it ends too early");
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><feedback><policy_published><domain>&a;</domain></policy_published></feedback>";
        check(bomb, "it is no XML: it has entities of its own");
    }

    proptest! {
        /// Whatever stands in a report, it is written so that it is read back.
        #[test]
        fn reports_are_read_back(values in proptest::collection::vec("[a-z<>&\"' é.-]{0,20}", 12), count in any::<u64>(), rows in 0_usize..4) {
            let value = |at: usize| values[at].trim().to_ascii_lowercase();
            let one = |at: usize| Authenticated { domain: value(at), selector: value(at + 1), result: value(at + 2) };
            let row = Row {
                source: value(0), disposition: value(1), dkim: value(2), spf: value(3), header_from: value(4), envelope_from: value(5),
                reasons: vec![(value(6), value(7))], signatures: vec![one(8), one(9)], sender: vec![Authenticated { selector: String::new(), ..one(7) }],
            };
            let published = Published { domain: format!("d{}", value(3)), p: value(10), aspf: value(11), ..Published::default() };
            let report = Report {
                organization: value(0), email: value(1), id: value(2), begin: 5, end: -3, errors: vec![value(4)], published,
                rows: vec![(row, count); rows],
            };
            prop_assert_eq!(read(&write(&report), &Limits::default()).unwrap(), report);
        }
    }
}
