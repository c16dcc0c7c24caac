//! mail-auth's samples of reports that others send: DMARC (aggregate and of single failures) and TLS, with what is in them.
//!
//! Their data is not in this repository: `POSTRIDER_TESTDATA` names its folder, by default `../shared/testdata` beside the
//! project. Without it the tests say so and pass, unless `CI` is set.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::digest::Digest;
use mailauth::dmarc::aggregate::Report;
use mta::transport::dmarc_report::{self, Found};
use mta::transport::tls_rpt;
use serde_json::Value;
use std::path::PathBuf;

/// A file of the samples; `None`, with a word about it, if they are not here.
fn file(path: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("POSTRIDER_TESTDATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata"), PathBuf::from);
    let full = folder.join("dkim/mail-auth").join(path);
    match std::fs::read(&full) {
        Ok(octets) => Some(octets),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "{}: {error}", full.display());
            eprintln!("SKIPPED: {} is not there: {error}", full.display());
            None
        }
    }
}

fn json(path: &str) -> Option<Value> {
    file(path).map(|octets| serde_json::from_slice(&octets).unwrap())
}

/// A message's line ends as they come over SMTP.
fn mail(path: &str) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(&file(path)?).replace("\r\n", "\n").replace('\n', "\r\n");
    Some(text.into_bytes())
}

/// A word of the sample's as reports write it.
fn word(value: &Value) -> String {
    let word = value.as_str().unwrap_or_default().to_lowercase();
    if word == "unspecified" { String::new() } else { word }
}

/// What is compared of an aggregate report.
fn shown(report: &Report) -> Vec<String> {
    let published = &report.published;
    let head = [&report.organization, &report.id, &published.domain, &published.p, &published.sp].map(Clone::clone).join(" ");
    let rows = report.rows.iter().map(|(row, messages)| {
        let results: Vec<_> = row.signatures.iter().chain(&row.sender).map(|one| format!("{}={}", one.domain, one.result)).collect();
        format!("{} {messages} {} {} {} {}", row.source, row.dkim, row.spf, row.header_from, results.join(" "))
    });
    [head, format!("{} {}", report.begin, report.end)].into_iter().chain(rows).collect()
}

/// The same of the sample's own reading.
fn wanted(json: &Value) -> Vec<String> {
    let (metadata, published) = (&json["report_metadata"], &json["policy_published"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let head = [
        text(&metadata["org_name"]),
        text(&metadata["report_id"]),
        text(&published["domain"]),
        word(&published["p"]),
        word(&published["sp"]),
    ];
    let range = &metadata["date_range"];
    let rows = json["record"].as_array().unwrap().iter().map(|record| {
        let (row, evaluated) = (&record["row"], &record["row"]["policy_evaluated"]);
        let results: Vec<_> = ["dkim", "spf"]
            .iter()
            .flat_map(|kind| record["auth_results"][kind].as_array().unwrap())
            .map(|one| format!("{}={}", text(&one["domain"]), word(&one["result"])))
            .collect();
        let header_from = text(&record["identifiers"]["header_from"]);
        format!(
            "{} {} {} {} {header_from} {}",
            text(&row["source_ip"]),
            row["count"],
            word(&evaluated["dkim"]),
            word(&evaluated["spf"]),
            results.join(" ")
        )
    });
    [head.join(" "), format!("{} {}", range["begin"], range["end"])].into_iter().chain(rows).collect()
}

#[test]
fn aggregate_reports_are_read() {
    for sample in 1..=5 {
        let Some(xml) = file(&format!("dmarc-feedback/{sample:03}.xml")) else { return };
        let report = dmarc_report::read(&xml).unwrap_or_else(|error| panic!("{sample}: {error}"));
        assert_eq!(shown(&report), wanted(&json(&format!("dmarc-feedback/{sample:03}.json")).unwrap()), "{sample}");
    }
    for sample in 100..=104 {
        let Some(octets) = mail(&format!("dmarc-feedback/{sample}.eml")) else { return };
        let found = dmarc_report::find(&octets, &Digest::of(&octets));
        let Some(Ok(Found::Aggregate(report))) = found else { panic!("{sample}: {found:?}") };
        assert_eq!(shown(&report), wanted(&json(&format!("dmarc-feedback/{sample}.json")).unwrap()), "{sample}");
    }
}

#[test]
fn failure_reports_are_read_and_complaints_left_alone() {
    for sample in 1..=5 {
        let Some(octets) = mail(&format!("arf/{sample:03}.eml")) else { return };
        let wanted = json(&format!("arf/{sample:03}.json")).unwrap();
        let found = dmarc_report::find(&octets, &Digest::of(&octets));
        // A complaint of a reader is no report of a failure (RFC 5965 §3.5, RFC 6591 §3.1).
        if wanted["feedback_type"] != "AuthFailure" {
            assert_eq!(found, None, "{sample}");
            continue;
        }
        let Some(Ok(Found::Failure(failure))) = found else { panic!("{sample}: {found:?}") };
        assert_eq!(failure.kind.to_lowercase().replace('-', ""), word(&wanted["auth_failure"]), "{sample}");
        assert_eq!(failure.source.split(':').next().unwrap_or_default().is_empty(), wanted["source_ip"].is_null(), "{sample}");
        assert_eq!(
            failure.mail_from.trim_matches(['<', '>']),
            wanted["original_mail_from"].as_str().unwrap_or_default().trim_matches(['<', '>']),
            "{sample}"
        );
    }
}

#[test]
fn tls_reports_are_read() {
    for sample in ["rpt01", "rpt02", "rpt03"] {
        let Some(wanted) = json(&format!("tlsrpt/{sample}.json")) else { return };
        let octets = file(&format!("tlsrpt/{sample}.json")).unwrap();
        let read = tls_rpt::Report::read(&octets).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let figures = |key: &str| {
            wanted["policies"].as_array().unwrap().iter().map(|one| one["summary"][key].as_u64().unwrap_or_default()).sum::<u64>()
        };
        assert_eq!(read.summary().total_successful_session_count, figures("total-successful-session-count"), "{sample}");
        assert_eq!(read.summary().total_failure_session_count, figures("total-failure-session-count"), "{sample}");
    }
    for sample in ["rpt01", "rpt02"] {
        let Some(octets) = mail(&format!("tlsrpt/{sample}.eml")) else { return };
        let found = tls_rpt::find(&octets, &Digest::of(&octets));
        let Some(Ok(found)) = found else { panic!("{sample}: {found:?}") };
        let read = tls_rpt::Report::read(&file(&format!("tlsrpt/{sample}.json")).unwrap()).unwrap();
        assert_eq!((found.report_id, found.organization_name), (read.report_id, read.organization_name), "{sample}");
    }
}
