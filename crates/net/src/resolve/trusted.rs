//! Asks a name server on this machine that checks signatures itself, and believes its AD bit (RFC 6840 §5.8).
//!
//! Not for servers elsewhere: whoever stands between could set the bit. One question, one datagram; TCP when
//! the answer was cut. The server caches.

use super::resolver::{ResolverError, Settings};
use super::{Checked, DnsError, Security};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Longest answer in one datagram, octets: what fits without fragments (RFC 6891 §6.2.5).
const DATAGRAM_OCTETS_MAX: usize = 4096;

/// Asks and believes.
#[derive(Debug)]
pub(super) struct Trusted {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    attempts: usize,
    id: AtomicU16,
}

impl Trusted {
    /// Sets it up; nothing is asked yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, ResolverError> {
        let loopback = settings.servers.iter().all(|server| server.ip().is_loopback());
        if settings.servers.is_empty() || !loopback {
            return Err(ResolverError("the AD bit is believed of DNS servers on a loopback address only; name them".to_owned()));
        }
        // Numbers that nobody else knows are not needed on a loopback; different ones are.
        Ok(Self { servers: settings.servers.clone(), timeout: settings.timeout, attempts: settings.attempts, id: AtomicU16::new(1) })
    }

    /// Asks one server after another until one answers.
    pub(super) async fn ask(&self, name: Name, kind: RecordType) -> Checked<Vec<Record>> {
        let mut last = "no server".to_owned();
        for _ in 0..self.attempts.max(1) {
            for server in &self.servers {
                match timeout(self.timeout, self.exchange(*server, &name, kind)).await {
                    Ok(Ok(answer)) if answered(&answer) => return read(answer),
                    Ok(Ok(answer)) => last = answer.metadata.response_code.to_string(),
                    Ok(Err(error)) => last = error.to_string(),
                    Err(_) => last = String::from("no answer in time"),
                }
            }
        }
        Checked::unchecked(Err(DnsError::Temporary(last)))
    }

    async fn exchange(&self, server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
        let mut question = Message::query();
        question.metadata.id = self.id.fetch_add(1, Ordering::Relaxed);
        question.metadata.recursion_desired = true;
        question.metadata.authentic_data = true;
        question.add_query(Query::query(name.clone(), kind));
        let octets = question.to_vec().map_err(io::Error::other)?;
        let answer = by_datagram(server, &octets).await?;
        let answer = if answer.metadata.truncation { by_stream(server, &octets).await? } else { answer };
        if answer.metadata.id == question.metadata.id { Ok(answer) } else { Err(io::Error::other("an answer to another question")) }
    }
}

async fn by_datagram(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; DATAGRAM_OCTETS_MAX];
    let octets = socket.recv(&mut answer).await?;
    Message::from_vec(answer.get(..octets).unwrap_or_default()).map_err(io::Error::other)
}

async fn by_stream(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

fn answered(answer: &Message) -> bool {
    matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn read(answer: Message) -> Checked<Vec<Record>> {
    let security = if answer.metadata.authentic_data { Security::Secure } else { Security::Insecure };
    let found = match answer.metadata.response_code {
        ResponseCode::NXDomain => Err(DnsError::NotFound),
        _ if answer.answers.is_empty() => Err(DnsError::NoData),
        _ => Ok(answer.answers),
    };
    Checked { found, security }
}
