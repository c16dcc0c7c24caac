//! The mails around DMARC reports: written and recognised (RFC 9990 §3.5.2; RFC 6591 and RFC 9991 for reports of single
//! failures).
//!
//! Not the sending (`reporting`) and not what stands in an aggregate report (`mailauth::dmarc::aggregate`).
//!
//! Invariant: what is decompressed is bounded, whatever a packed file says of itself.

use super::tls_rpt::date_of;
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder, GzEncoder};
use mail::compose::{self, Fields, Part};
use mail::date::DateTime;
use mail::digest::{BodyPart, Digest};
use mail::encoding::{self, TransferEncoding};
use mail::{Address, Domain, Timestamp, header};
use mailauth::dmarc::aggregate::{self, Limits, Published, Report};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Longest report that is read, octets, decompressed. Our own bound.
const XML_OCTETS_MAX: u64 = 16 << 20;
/// Most parts of a mail that are looked at. Our own bound.
const PARTS_MAX: usize = 20;
/// Longest value of a failure report that is kept, characters. Our own bound.
const VALUE_CHARS_MAX: usize = 500;
/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// A domain's policy as it was met on a day, kept with its figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPolicy {
    /// For the report.
    pub published: Published,
    /// Where reports are wanted, as its `rua` says.
    pub wanted: Vec<String>,
}

/// What a report is about, and who sends it.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Who reports.
    pub hostname: &'a Domain,
    /// Whom to ask; the mail's author.
    pub contact: &'a Address,
    /// Whose policy.
    pub domain: &'a Domain,
    /// Of which day, since 1970.
    pub day: u32,
}

/// The report of a day.
pub fn compose_report(about: &About<'_>, published: Published, rows: Vec<(aggregate::Row, u64)>) -> Report {
    let About { hostname, contact, domain, day } = *about;
    let begin = i64::from(day) * DAY_SECONDS;
    Report {
        organization: hostname.to_string(),
        email: contact.to_string(),
        id: format!("{}.{domain}@{hostname}", date_of(day)),
        begin,
        end: begin + DAY_SECONDS - 1,
        errors: Vec::new(),
        published,
        rows,
    }
}

/// The mail that carries a report.
pub fn message(report: &Report, about: &About<'_>, to: &Address, now: Timestamp) -> Vec<u8> {
    let About { hostname, contact: from, domain, day } = *about;
    let Report { begin, end, id, .. } = report;
    let file = format!("{hostname}!{domain}!{begin}!{end}.xml.gz");
    let sum: u64 = report.rows.iter().fold(0, |sum, (_, messages)| sum.saturating_add(*messages));
    let words = format!(
        "This is a DMARC report (RFC 9990) about mail that said on {} to be from {domain}: {sum} messages.\nThe attached file has the details.\n",
        date_of(day)
    );
    let fields = Fields::new()
        .date("Date", DateTime { at: now, zone_minutes: 0 })
        .address("From", "DMARC reports", from)
        .address("To", "", to)
        .raw("Subject", &format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{id}>"))
        .raw("Message-ID", &format!("<{}.{}@{hostname}>", now.0, id.replace('@', ".at.")))
        .raw("Auto-Submitted", "auto-generated");
    let attached = Part {
        fields: Fields::new()
            .raw("Content-Type", &format!("application/gzip; name=\"{file}\""))
            .raw("Content-Transfer-Encoding", "base64")
            .raw("Content-Disposition", &format!("attachment; filename=\"{file}\"")),
        body: encoding::base64_lines(&gzip(aggregate::write(report).as_bytes())).into_bytes(),
    };
    compose::multipart(fields, "multipart/mixed", &format!("{}{id}", now.0), &[compose::text_part(&words), attached])
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Reading from memory does not fail.
    let _octets = GzEncoder::new(octets, Compression::default()).read_to_end(&mut out);
    out
}

/// A report of a single failure (RFC 6591, RFC 9991).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Who reports: the report's `User-Agent` or `Reporting-MTA`.
    pub reporter: String,
    /// When the message arrived, as the report says it.
    pub arrived: String,
    /// `dmarc`, `dkim`, `spf`, `bodyhash` …
    pub kind: String,
    /// The connecting address.
    pub source: String,
    /// The domain about which it is reported.
    pub domain: String,
    /// The envelope's sender.
    pub mail_from: String,
    /// `reject`, `delivered` …
    pub delivery: String,
    /// `Authentication-Results`
    pub results: String,
    /// The reported message's author.
    pub author: String,
    /// The reported message's subject.
    pub subject: String,
}

/// What a mail carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An aggregate report.
    Aggregate(Box<Report>),
    /// A report of one failure.
    Failure(Box<Failure>),
}

/// Whether it is worth the reading: most mail is not.
pub fn may_carry(digest: &Digest) -> bool {
    is_feedback(digest) || report_part(digest).is_some()
}

/// The report that a mail carries; `None`: none.
///
/// # Errors
/// In words: it looks as if it carried one, which cannot be read.
pub fn find(message: &[u8], digest: &Digest) -> Option<Result<Found, String>> {
    if is_feedback(digest) {
        return failure(message, digest).map(|failure| Ok(Found::Failure(Box::new(failure))));
    }
    let part = report_part(digest)?;
    Some(read(&decoded(message, part)).map(|report| Found::Aggregate(Box::new(report))))
}

fn is_feedback(digest: &Digest) -> bool {
    digest.body.parameter("report-type").is_some_and(|kind| kind.eq_ignore_ascii_case("feedback-report"))
}

/// The part that is named as RFC 9990 §3.5.2 says (receiver "!" policy-domain "!" begin "!" end …), or is packed in a mail
/// with the subject of a report.
fn report_part(digest: &Digest) -> Option<&BodyPart> {
    let subject = digest.envelope.subject.as_deref().unwrap_or_default();
    let says_so = subject.trim_start().get(..14).is_some_and(|start| start.eq_ignore_ascii_case("Report Domain:"));
    let mut parts = std::iter::once(&digest.body).chain(digest.body.parts()).take(PARTS_MAX).filter(|part| part.parts().is_empty());
    parts.find(|part| {
        let name = part.file_name().unwrap_or_default().to_ascii_lowercase();
        let packed = [".gz", ".zip", ".xml"].iter().any(|end| name.ends_with(end));
        let typed = ["gzip", "x-gzip", "zip", "x-zip-compressed"].contains(&part.subtype.as_str());
        name.split('!').count() >= 4 && packed || says_so && (packed || typed)
    })
}

fn decoded(message: &[u8], part: &BodyPart) -> Vec<u8> {
    let contents = part.contents();
    let range = usize::try_from(contents.start).unwrap_or(usize::MAX)..usize::try_from(contents.end).unwrap_or(usize::MAX);
    encoding::decode(TransferEncoding::parse(&part.encoding), message.get(range).unwrap_or_default())
}

/// Reads an aggregate report: XML, or XML in a gzip or zip file.
///
/// # Errors
/// In words: it is too long, or no report.
pub fn read(octets: &[u8]) -> Result<Report, String> {
    let xml = match octets {
        [0x1f, 0x8b, ..] => unpacked(GzDecoder::new(octets))?,
        [b'P', b'K', 3, 4, ..] => unpacked(DeflateDecoder::new(first_of_zip(octets).ok_or("its zip file cannot be read")?))?,
        [b'P', b'K', ..] => return Err("its zip file is empty or in parts".to_owned()),
        _ => octets.to_vec(),
    };
    aggregate::read(&String::from_utf8_lossy(&xml), &Limits::default()).map_err(|error| error.to_string())
}

fn unpacked(from: impl Read) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    from.take(XML_OCTETS_MAX + 1).read_to_end(&mut out).map_err(|error| format!("it cannot be decompressed: {error}"))?;
    if out.len() as u64 > XML_OCTETS_MAX { Err(format!("it is longer than {XML_OCTETS_MAX} octets")) } else { Ok(out) }
}

/// What stands behind the first header of a zip file (APPNOTE 4.3.7): deflate ends by itself, so that neither the length,
/// which can be missing there, nor the directory at the end is needed.
fn first_of_zip(octets: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| Some(usize::from(u16::from_le_bytes(octets.get(at..at + 2)?.try_into().ok()?)));
    let (flags, method, name, extra) = (number(6)?, number(8)?, number(26)?, number(28)?);
    let (encrypted, deflated) = (flags & 1 != 0, method == 8);
    if encrypted || !deflated {
        return None;
    }
    octets.get(30 + name + extra..)
}

fn failure(message: &[u8], digest: &Digest) -> Option<Failure> {
    let parts = digest.body.parts();
    let fields = parts.iter().find(|part| part.subtype.eq_ignore_ascii_case("feedback-report"))?;
    let fields = decoded(message, fields);
    let value = |name: &str| shown(header::value(&fields, name));
    if !value("Feedback-Type").eq_ignore_ascii_case("auth-failure") {
        return None;
    }
    let reported = parts.iter().find(|part| {
        let subtype = part.subtype.to_ascii_lowercase();
        matches!(subtype.as_str(), "rfc822" | "rfc822-headers" | "global" | "global-headers")
    });
    let reported = reported.map(|part| decoded(message, part)).unwrap_or_default();
    let first = |names: [&str; 2]| names.iter().map(|name| value(name)).find(|value| !value.is_empty()).unwrap_or_default();
    Some(Failure {
        reporter: first(["Reporting-MTA", "User-Agent"]),
        arrived: first(["Arrival-Date", "Received-Date"]),
        kind: value("Auth-Failure"),
        source: value("Source-IP"),
        domain: value("Reported-Domain").to_ascii_lowercase(),
        mail_from: value("Original-Mail-From"),
        delivery: value("Delivery-Result"),
        results: value("Authentication-Results"),
        author: shown(header::value(&reported, "From")),
        subject: shown(header::value(&reported, "Subject")),
    })
}

fn shown<T: AsRef<str>>(value: Option<T>) -> String {
    let Some(value) = value else { return String::new() };
    let words: Vec<_> = value.as_ref().split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(VALUE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailauth::dmarc::aggregate::Row;

    fn report() -> (Report, Domain, Domain, Address) {
        let (host, of) = (Domain::parse("mx.b.example").unwrap(), Domain::parse("a.example").unwrap());
        let from = Address::parse("postmaster@b.example").unwrap();
        let row =
            Row { source: "192.0.2.1".into(), dkim: "fail".into(), spf: "pass".into(), header_from: "a.example".into(), ..Row::default() };
        let published = Published { domain: "a.example".into(), p: "none".into(), ..Published::default() };
        let about = About { hostname: &host, contact: &from, domain: &of, day: 20_778 };
        (compose_report(&about, published, vec![(row, 7)]), host, of, from)
    }

    #[test]
    fn a_report_is_mailed_and_found() {
        let (report, host, of, from) = report();
        let about = About { hostname: &host, contact: &from, domain: &of, day: 20_778 };
        let to = Address::parse("d@a.example").unwrap();
        let mail = message(&report, &about, &to, Timestamp::from_seconds(1_800_000_000));
        assert_eq!(find(&mail, &Digest::of(&mail)), Some(Ok(Found::Aggregate(Box::new(report)))));
        let text = String::from_utf8(mail).unwrap();
        assert!(text.contains("mx.b.example!a.example!1795219200!1795305599.xml.gz"), "{text}");
        assert!(text.contains("Subject: Report Domain: a.example Submitter: mx.b.example Report-ID:"), "{text}");
    }

    /// A zip file of one member, as the large reporters send it: lengths in the header or only behind the data.
    fn zip(xml: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::DeflateEncoder::new(xml, Compression::default()).read_to_end(&mut packed).unwrap();
        let mut out = b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.xml".to_vec();
        out.extend(packed);
        out.extend(b"PK\x07\x08 and whatever follows");
        out
    }

    #[test]
    fn packed_reports_are_read_and_bombs_are_not() {
        let (report, ..) = report();
        let xml = aggregate::write(&report);
        assert_eq!(read(xml.as_bytes()), Ok(report.clone()));
        assert_eq!(read(&gzip(xml.as_bytes())), Ok(report.clone()));
        assert_eq!(read(&zip(xml.as_bytes())), Ok(report));
        let bomb = vec![b' '; 17 << 20];
        assert_eq!(read(&gzip(&bomb)), Err("it is longer than 16777216 octets".to_owned()));
        assert_eq!(read(&zip(&bomb)), Err("it is longer than 16777216 octets".to_owned()));
        for broken in [&b"PK\x03\x04"[..], b"PK\x05\x06", b"\x1f\x8bxx", b"", b"<html/>"] {
            assert!(read(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn failures_are_found() {
        let mail =
            b"From: r@b.example\r\nSubject: FW: x\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
            --b\r\n\r\nwords\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: auth-failure\r\nUser-Agent: X/1\r\n\
            Auth-Failure: dmarc\r\nSource-IP: 192.0.2.1\r\nReported-Domain: A.example\r\nDelivery-Result: reject\r\n\r\n--b\r\n\
            Content-Type: text/rfc822-headers\r\n\r\nFrom: Ann <ann@a.example>\r\nSubject: Hi\r\n\r\n--b--\r\n";
        let Some(Ok(Found::Failure(found))) = find(mail, &Digest::of(mail)) else { panic!("none") };
        let want = ["X/1", "dmarc", "192.0.2.1", "a.example", "reject", "Ann <ann@a.example>", "Hi"];
        assert_eq!([&found.reporter, &found.kind, &found.source, &found.domain, &found.delivery, &found.author, &found.subject], want);
        let plain = b"Subject: Report Domain: is a fine subject\r\n\r\nx\r\n";
        assert_eq!(find(plain, &Digest::of(plain)), None);
    }
}
