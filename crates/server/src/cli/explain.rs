//! `postrider explain`

use super::Context;
use crate::admin::explain::{Explain as Of, Explanation, Try};
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, print, words};
use clap::Args;
use mail::{Timestamp, TrailEntry, encoding};
use mta::explain::tried::{self, Bringer};
use mta::transport::tls_rpt::Results;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The receipt that a 250 or a refusal named, or a Message-ID
    #[arg(value_name = "RECEIPT|MESSAGE-ID", required_unless_present = "file", conflicts_with = "file")]
    id: Option<String>,
    /// A message to try instead, which nobody sends; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who would bring it
    #[arg(long, value_name = "ADDRESS", requires = "file", default_value = "192.0.2.1")]
    ip: IpAddr,
    /// What that server would call itself
    #[arg(long, value_name = "NAME", requires = "file", default_value = "unknown.invalid")]
    helo: String,
    /// The envelope's sender; "" for none. Without it the first address in From
    #[arg(long, value_name = "ADDRESS", requires = "file")]
    from: Option<String>,
    /// To whom: judges it for that user
    #[arg(long, value_name = "ADDRESS", requires = "file")]
    to: Option<String>,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let explanations = match (&self.id, &self.file) {
            (Some(id), _) => context.call(Of { id: id.clone() })?,
            (None, Some(file)) => vec![self.tried(context, file)?],
            (None, None) => return Err(Failure::usage("name a receipt, a Message-ID or a --file")),
        };
        match context.printer.format {
            Format::Table => explanations.iter().for_each(|one| show(context, one)),
            _ => context.printer.list(&explanations, &[], |_| Vec::new()),
        }
        Ok(())
    }

    fn tried(&self, context: &Context, file: &Path) -> Result<Explanation> {
        let message = read(file)?;
        let bringer =
            Bringer { peer: self.ip, helo: self.helo.clone(), reverse_path: self.from.clone().unwrap_or_else(|| author(&message)) };
        let at = crate::clock::now();
        let (events, authenticity) = inspect(context, &bringer, &message, at)?;
        let sample = message.get(..filter::Limits::default().message_octets_max).unwrap_or(&message);
        let trail = events.into_iter().map(|event| TrailEntry { at, event }).collect();
        let mut view = context.call(Try { message: encoding::base64_lines(sample), to: self.to.clone(), trail, authenticity })?;
        (view.peer, view.helo, view.from) = (Some(bringer.peer.to_string()), bringer.helo, bringer.reverse_path);
        view.octets = message.len() as u64;
        Ok(view)
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    let done = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut octets).map(drop)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut octets)).map(drop)
    };
    done.map_err(|error| Failure::failed(&format!("cannot read {}", file.display()), error))?;
    // What comes over SMTP has CRLF.
    Ok(crate::admin::explain::with_line_ends(&octets))
}

fn author(message: &[u8]) -> String {
    let digest = mail::digest::Digest::of(message);
    let first = digest.envelope.from.iter().find_map(|item| Some(format!("{}@{}", item.mailbox.as_deref()?, item.host.as_deref()?)));
    first.unwrap_or_default()
}

fn inspect(context: &Context, bringer: &Bringer, message: &[u8], at: Timestamp) -> Result<(Vec<mail::Event>, filter::Authenticity)> {
    let config = context.config()?;
    let settings = crate::mail_path::settings(&config)?;
    if !settings.receive.authentication.is_on {
        return Ok((Vec::new(), filter::Authenticity::Unknown));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    runtime.block_on(async {
        let clock: Arc<dyn net::Clock> = Arc::new(net::SystemClock);
        let world = crate::transport::world(&config, &clock, &store::Store::memory(), &Results::default())?;
        Ok(tried::inspect(&world.dns, &settings, bringer, message, at).await)
    })
}

fn show(context: &Context, one: &Explanation) {
    let receipt = one.receipt.as_ref().map(|receipt| format!("{receipt}, ")).unwrap_or_default();
    print(&format!("{receipt}{} {}", one.state, one.at));
    let peer = one.peer.as_deref().unwrap_or("this server");
    let id = one.message_id.as_ref().map(|id| format!(", Message-ID <{id}>")).unwrap_or_default();
    print(&format!("  from <{}> by {peer} ({}) to {}, {} octets{id}", one.from, one.helo, one.to.join(", "), one.octets));
    section("decided", &one.decided);
    if !one.checks.is_empty() {
        print("who it is from");
        let columns = [words("  check"), words("result"), words("why")];
        let row = |check: &crate::admin::explain::CheckView| vec![format!("  {}", check.check), check.result.clone(), check.words.clone()];
        context.printer.list(&one.checks, &columns, row);
    }
    for reader in &one.readers {
        print(&format!("{}: {}, {:.2} points", reader.account, reader.place, reader.points));
        for reason in &reader.reasons {
            print(&format!("  {:+6.2}  {}: {}", reason.points, reason.name, reason.words));
        }
        for feature in reader.features.iter().filter(|feature| !feature.feature.is_empty()) {
            let (ham, spam) = feature.server;
            print(&format!(
                "          taught {:+.2} by {:?}: in {ham} wanted and {spam} unwanted messages",
                feature.weight, feature.feature
            ));
        }
        for words in &reader.otherwise {
            print(&format!("  {words}"));
        }
    }
    section("DNS said", &one.dns);
    print(&one.again_words);
}

fn section(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    print(title);
    for line in lines {
        print(&format!("  {line}"));
    }
}
