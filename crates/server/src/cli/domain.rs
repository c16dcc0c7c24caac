//! `postrider domain`

use super::{Context, domain_check};
use crate::admin::domain::{self, DomainView};
use crate::failure::{Failure, Result};
use crate::output::{number, whole, words};
use crate::secret::confirm;
use clap::Subcommand;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Domain {
    /// Make a domain ours
    Add {
        /// Its name
        domain: String,
    },
    /// List all domains
    List,
    /// Show one domain
    Show {
        /// Its name
        domain: String,
    },
    /// Say who gets mail for addresses of the domain that do not exist
    CatchAll {
        /// The domain
        domain: String,
        /// Users and addresses elsewhere; none: such mail is refused
        targets: Vec<String>,
    },
    /// Print the DNS records that a domain's mail needs: MX, SPF, DKIM, DMARC, TLSA (DANE), MTA-STS, TLS reports
    Records {
        /// Its name
        domain: String,
    },
    /// Ask DNS whether it says what a domain's mail needs: each record is there, missing, or another one
    Check {
        /// Its name
        domain: String,
    },
    /// Give up a domain that has no users and aliases
    Remove {
        /// Its name
        domain: String,
    },
}

impl Domain {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let printer = &context.printer;
        match self {
            Self::Add { domain } => {
                let view = context.call(domain::Add { domain })?;
                let records = view.dns.join("\n");
                let signing = format!("\nIts mail is signed; publish these records in DNS so that others can tell:\n{records}");
                printer.done(&view, &format!("{} {}{signing}", context.did("added", "add"), view.domain));
            }
            Self::List => {
                let views = context.call(domain::List {})?;
                let columns = [whole("domain"), number("users"), number("aliases"), words("catch-all")];
                printer.list(&views, &columns, |view| {
                    vec![view.domain.clone(), view.accounts.to_string(), view.aliases.to_string(), view.catch_all.join(", ")]
                });
            }
            Self::Show { domain } => show(context, &context.call(domain::Show { domain })?),
            Self::CatchAll { domain, targets } => {
                let view = context.call(domain::CatchAll { domain, targets })?;
                let to = if view.catch_all.is_empty() { "nobody".to_owned() } else { view.catch_all.join(", ") };
                printer.done(&view, &format!("mail for unknown addresses of {} {} to {to}", view.domain, context.did("goes", "go")));
            }
            Self::Records { domain } => records(context, &domain)?,
            Self::Check { domain } => return domain_check::run(context, &domain),
            Self::Remove { domain } => {
                confirm(&format!("Remove {domain}?"), context.global.yes || context.global.dry_run)?;
                let view = context.call(domain::Remove { domain })?;
                printer.done(&view, &format!("{} {}", context.did("removed", "remove"), view.domain));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One record.
#[derive(Debug, Serialize)]
struct RecordView {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    data: String,
    remark: &'static str,
}

fn records(context: &Context, domain: &str) -> Result<()> {
    let config = context.config()?;
    let signing = context.call(domain::Show { domain: domain.to_owned() })?.dns;
    let domain = crate::admin::domain_name(domain)?;
    let hostname = &config.hostname;
    let certificate = crate::wire_up::certificate(&config)?.certificate;
    let tlsa = net::tls::record_of_file(&certificate).map_err(|error| Failure::failed(&certificate.display().to_string(), error))?;
    let policy = config.transport.own_policy(hostname).to_string();
    let record = |name: String, kind, data: String, remark| RecordView { name, kind, data, remark };
    let mut views = vec![
        record(format!("{domain}."), "MX", format!("10 {hostname}."), "who takes its mail"),
        record(format!("{domain}."), "TXT", "\"v=spf1 mx -all\"".to_owned(), "SPF: who sends its mail; add a smarthost's"),
        record(format!("_25._tcp.{hostname}."), "TLSA", tlsa.to_string(), "only if the zone is signed; new with each new key"),
        record(format!("_mta-sts.{domain}."), "TXT", format!("\"v=STSv1; id={}\"", policy_id(&policy)), "with an mta-sts listener"),
        record(format!("mta-sts.{domain}."), "CNAME", format!("{hostname}."), "its certificate must have this name, too"),
        record(format!("_smtp._tls.{domain}."), "TXT", format!("\"v=TLSRPTv1; rua=mailto:postmaster@{domain}\""), "reports of TLS"),
    ];
    // A name has one SPF policy.
    if domain != *hostname {
        views.insert(2, record(format!("{hostname}."), "TXT", "\"v=spf1 a -all\"".to_owned(), "SPF: the server's own reports"));
    }
    let keys = signing.iter().filter_map(|line| line.split_once(" IN TXT "));
    views.extend(keys.map(|(name, data)| record(name.to_owned(), "TXT", data.to_owned(), "DKIM: a key that signs its mail")));
    views.push(record(
        format!("_dmarc.{domain}."),
        "TXT",
        format!("\"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\""),
        "DMARC: raise p when SPF and DKIM pass",
    ));
    let columns = [whole("name"), whole("type"), whole("data"), words("remark")];
    context.printer.list(&views, &columns, |view| vec![view.name.clone(), view.kind.to_owned(), view.data.clone(), view.remark.to_owned()]);
    Ok(())
}

/// An id that is another one for another policy (FNV-1a).
pub(super) fn policy_id(policy: &str) -> String {
    let hash = policy.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

fn show(context: &Context, view: &DomainView) {
    let catch_all =
        if view.catch_all.is_empty() { "none: mail for unknown addresses is refused".to_owned() } else { view.catch_all.join(", ") };
    let lines = [
        ("domain", view.domain.clone()),
        ("users", view.accounts.to_string()),
        ("aliases", view.aliases.to_string()),
        ("catch-all", catch_all),
        ("DNS", view.dns.join("\n")),
    ];
    context.printer.one(view, &lines);
}
