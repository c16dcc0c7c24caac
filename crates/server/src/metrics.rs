//! Figures for Prometheus, over a tiny HTTP responder: `GET /metrics`, nothing else.
//!
//! The layers below count in plain atomics and know nothing of Prometheus; a scrape reads them.
//!
//! Invariant: a request is at most [`REQUEST_OCTETS_MAX`] long and one connection gets one answer.

use crate::config::Protocol;
use mta::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest request, octets. Default 8 KiB, our own bound.
const REQUEST_OCTETS_MAX: usize = 8 * 1024;
/// How long a request and its answer may take, each. Default 5 seconds, our own bound.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);
/// Scrapes served at once. Default 8, our own bound.
const CONNECTIONS_MAX: usize = 8;

/// Where the figures are.
pub struct Sources {
    /// The mail.
    pub store: Store,
    /// Who may sign in.
    pub authenticator: store::auth::Authenticator,
    /// What the mail path counts.
    pub mail: Arc<Counters>,
    /// What each listener counts.
    pub listeners: Vec<(Protocol, Arc<net::listen::Counters>)>,
    /// When the process started, seconds since 1970.
    pub started: i64,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

/// Everything as Prometheus' text.
pub fn text(sources: Arc<Sources>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(sources)));
    let mut out = String::new();
    match prometheus_client::encoding::text::encode(&mut out, &registry) {
        Ok(()) => out,
        Err(fmt::Error) => String::new(),
    }
}

/// One reading of all sources.
#[derive(Debug)]
struct Scrape(Arc<Sources>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let out = &mut encoder;
        self.mail(out)?;
        self.connections(out)?;
        self.store(out)?;
        gauge(out, "postrider_start_time_seconds", "When the process started, since 1970", self.0.started)
    }
}

impl Scrape {
    fn mail(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mail = &self.0.mail;
        let accepted = [("mx", &mail.accepted_mx), ("submission", &mail.accepted_submission), ("lmtp", &mail.accepted_lmtp)];
        family(
            out,
            "postrider_messages_accepted",
            "Messages accepted, by where they came from",
            "source",
            accepted.map(|(n, c)| (n, read(c))),
        )?;
        let recipients =
            [("delivered", &mail.delivered), ("relayed", &mail.relayed), ("deferred", &mail.deferred), ("bounced", &mail.bounced)];
        family(out, "postrider_recipients", "Outcomes of recipients", "outcome", recipients.map(|(n, c)| (n, read(c))))?;
        let failed = mta::bounce_class::BounceClass::all().zip(&mail.failed).map(|(class, count)| (class.name(), read(count)));
        family(out, "postrider_attempts_failed", "Attempts to reach other servers that failed, by why", "class", failed)?;
        counter(out, "postrider_smtp_refused", "SMTP commands refused", read(&mail.refused))?;
        counter(out, "postrider_rejects_kept", "Refused messages kept for a user", read(&mail.rejects_kept))?;
        counter(out, "postrider_advisers_failed", "Times that a milter or a hook could not be asked", read(&mail.advisers_failed))?;
        counter(out, "postrider_outbound_connections", "Connections opened to other servers", read(&mail.connections))
    }

    fn connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Pick = fn(&net::listen::Counters) -> &AtomicU64;
        let listeners = &self.0.listeners;
        let each =
            |pick: Pick| listeners.iter().map(move |(protocol, counters)| (protocol.name(), read(pick(counters)))).collect::<Vec<_>>();
        let counters: [(&str, &str, Pick); 7] = [
            ("postrider_connections_opened", "Connections accepted", |c| &c.opened),
            ("postrider_connections_refused_address", "Connections refused: too many from that address", |c| &c.refused_per_address),
            ("postrider_connections_refused_all", "Connections refused: too many in all", |c| &c.refused_total),
            ("postrider_connections_refused_banned", "Connections refused: from a banned network", |c| &c.refused_banned),
            ("postrider_connections_failed_tls", "TLS handshakes that failed", |c| &c.failed_tls),
            ("postrider_connections_broken", "Connections that ended in an error", |c| &c.broken),
            ("postrider_connections_panicked", "Connections that ended in a bug of ours", |c| &c.panicked),
        ];
        for (name, help, pick) in counters {
            family(out, name, help, "listener", each(pick))?;
        }
        let open = each(|c| &c.active);
        let gauge = ConstGauge::new(0_i64);
        let mut encoder = out.encode_descriptor("postrider_connections", "Connections open now", None, gauge.metric_type())?;
        for (listener, value) in open {
            let labels = [("listener", listener)];
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Scrape {
    /// A store that cannot say is left out.
    fn store(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (Ok(figures), Ok(queued)) = (self.0.store.figures(), self.0.store.read_blocking(store::ReadTx::queue_len)) else {
            return Ok(());
        };
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        gauge(out, "postrider_queue_messages", "Messages that wait for other servers", signed(queued))?;
        counter(out, "postrider_store_commits", "Durable commits", figures.commits)?;
        counter(out, "postrider_store_syncs", "Syncs; each makes a group of commits durable", figures.groups)?;
        counter(out, "postrider_store_sync_microseconds", "Time spent writing and syncing", figures.sync_micros)?;
        counter(out, "postrider_store_written_bytes", "Octets appended to the mail log", figures.written_octets)?;
        counter(out, "postrider_store_reads", "Read transactions", figures.reads)?;
        counter(out, "postrider_store_refused_full", "Commits refused because the disk was full", figures.refused_full)?;
        gauge(out, "postrider_store_log_bytes", "Length of the mail log", signed(figures.log_octets))?;
        gauge(out, "postrider_store_live_bytes", "Stored mail in the log", signed(figures.live_body_octets))?;
        gauge(out, "postrider_store_index_bytes", "Length of the index on disk", signed(figures.index_octets + figures.index_wal_octets))?;
        gauge(out, "postrider_store_writes_waiting", "Writes that wait", signed(figures.writes_waiting))?;
        gauge(out, "postrider_store_reads_waiting", "Reads that wait", signed(figures.reads_waiting))?;
        gauge(out, "postrider_store_full", "1 if the disk is full", i64::from(figures.full))?;
        let auth = &self.0.authenticator;
        counter(out, "postrider_auth_failures", "Failed sign-ins over all protocols", auth.failures())?;
        counter(out, "postrider_auth_put_off", "Sign-ins that were not checked because too many had failed", auth.put_off())?;
        counter(out, "postrider_auth_bans", "Bans that failed sign-ins have earned", auth.bans_earned())?;
        gauge(out, "postrider_bans", "Bans that hold now", i64::try_from(auth.bans_held()).unwrap_or(i64::MAX))
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(out.encode_descriptor(name, help, None::<&Unit>, gauge.metric_type())?)
}

fn family<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut encoder = out.encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
    for (value, count) in values {
        let labels = [(label, value)];
        ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Answers scrapes for ever.
pub async fn serve(listener: TcpListener, sources: Arc<Sources>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let sources = Arc::clone(&sources);
        tokio::spawn(async move {
            if let Err(error) = answer(stream, sources).await {
                tracing::debug!(%error, "a metrics connection broke");
            }
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, sources: Arc<Sources>) -> io::Result<()> {
    let request = timeout(EXCHANGE_MAX, read_head(&mut stream)).await??;
    let (status, body) = match request.split(|octet| *octet == b' ').take(2).collect::<Vec<_>>().as_slice() {
        [b"GET", b"/metrics"] => ("200 OK", tokio::task::spawn_blocking(move || text(sources)).await.unwrap_or_default()),
        [b"GET", _] => ("404 Not Found", "Figures are at /metrics.\n".to_owned()),
        _ => ("405 Method Not Allowed", "Only GET is answered here.\n".to_owned()),
    };
    let kind =
        if status.starts_with("200") { "application/openmetrics-text; version=1.0.0; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    timeout(EXCHANGE_MAX, async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    })
    .await?
}

/// Reads up to the empty line.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > REQUEST_OCTETS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too long"));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
