//! The resolver against a small name server of our own, over real UDP and TCP.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mail::Domain;
use net::resolve::{Dns, DnsError, Mx, Resolver, Settings};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const TTL: u32 = 300;

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

/// The zone: what is asked for, and the records that answer.
fn zone() -> Vec<(Name, RData)> {
    let big = (0..80).map(|n| (name("big.example"), RData::TXT(TXT::new(vec![format!("record {n} of many, each a line long")]))));
    let mut zone = vec![
        (name("example.org"), RData::MX(MX::new(20, name("mx2.example.org")))),
        (name("example.org"), RData::MX(MX::new(10, name("mx1.example.org")))),
        (name("example.org"), RData::TXT(TXT::new(vec!["v=spf1 ".to_owned(), "-all".to_owned()]))),
        (name("mx1.example.org"), RData::A(A::new(192, 0, 2, 1))),
        (name("mx1.example.org"), RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
        (name("mx2.example.org"), RData::A(A::new(192, 0, 2, 2))),
        (name("null.example"), RData::MX(MX::new(0, Name::root()))),
        (name("alias.example"), RData::CNAME(CNAME(name("mx2.example.org")))),
        (name("xn--bcher-kva.example"), RData::A(A::new(192, 0, 2, 3))),
        (name("1.2.0.192.in-addr.arpa"), RData::PTR(PTR(name("mx1.example.org")))),
    ];
    zone.extend(big);
    zone
}

fn answer(query: &[u8], over_udp: bool) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(query).unwrap();
    let question = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.additionals.clear();
    message.edns = None;
    let mut wanted = question.name().clone();
    if wanted == name("silent.example") {
        return None;
    }
    if wanted == name("broken.example") {
        message.metadata.response_code = ResponseCode::ServFail;
        return message.to_vec().ok();
    }
    if wanted == name("big.example") && over_udp {
        message.metadata.truncation = true;
        return message.to_vec().ok();
    }
    let zone = zone();
    let mut known = false;
    // An alias first, then what it stands for.
    for _ in 0..2 {
        let of_name = zone.iter().filter(|(owner, _)| *owner == wanted);
        known |= of_name.clone().count() > 0;
        let found: Vec<_> = of_name.filter(|(_, data)| [question.query_type(), RecordType::CNAME].contains(&data.record_type())).collect();
        message.answers.extend(found.iter().map(|(owner, data)| Record::from_rdata(owner.clone(), TTL, data.clone())));
        let Some((_, RData::CNAME(CNAME(target)))) = found.first() else { break };
        wanted = target.clone();
    }
    if message.answers.is_empty() {
        let soa = SOA::new(name("ns.example"), name("hostmaster.example"), 1, 3600, 600, 86400, 300);
        message.authorities.push(Record::from_rdata(name("example"), TTL, RData::SOA(soa)));
        message.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
    }
    message.to_vec().ok()
}

/// Starts it; says where it listens and counts what it is asked.
async fn name_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut query = [0; 4096];
        while let Ok((octets, peer)) = udp.recv_from(&mut query).await {
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = answer(&query[..octets], true) {
                udp.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(octets) = stream.read_u16().await {
                let mut query = vec![0; octets.into()];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(answer) = answer(&query, false) {
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        }
    });
    (address, asked)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

async fn resolver() -> (Resolver, Arc<AtomicUsize>) {
    let (server, asked) = name_server().await;
    let settings = Settings { servers: vec![server], timeout: Duration::from_millis(200), attempts: 1, ..Settings::default() };
    (Resolver::new(&settings).unwrap(), asked)
}

#[tokio::test]
async fn records_are_found() {
    let (dns, _) = resolver().await;
    let hosts: Vec<_> = dns.mx(&domain("example.org")).await.unwrap().into_iter().map(|mx| (mx.preference, mx.host)).collect();
    assert_eq!(hosts, [(10, Some(domain("mx1.example.org"))), (20, Some(domain("mx2.example.org")))]);
    assert_eq!(dns.mx(&domain("null.example")).await.unwrap(), [Mx { preference: 0, host: None }]);
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    assert_eq!(dns.addresses(&domain("mx1.example.org")).await.unwrap(), addresses(&["2001:db8::1", "192.0.2.1"]));
    assert_eq!(dns.addresses(&domain("alias.example")).await.unwrap(), addresses(&["192.0.2.2"]));
    assert_eq!(dns.addresses(&domain("bücher.example")).await.unwrap(), addresses(&["192.0.2.3"]));
    assert_eq!(dns.addresses(&domain("[192.0.2.9]")).await.unwrap(), addresses(&["192.0.2.9"]));
    assert_eq!(dns.txt(&domain("example.org")).await.unwrap(), [b"v=spf1 -all".to_vec()]);
    assert_eq!(dns.ptr("192.0.2.1".parse().unwrap()).await.unwrap(), [domain("mx1.example.org")]);
    assert_eq!(dns.ptr("::ffff:192.0.2.1".parse().unwrap()).await.unwrap(), [domain("mx1.example.org")]);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_fetched_over_tcp() {
    let (dns, _) = resolver().await;
    assert_eq!(dns.txt(&domain("big.example")).await.unwrap().len(), 80);
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_cannot_be_known() {
    let (dns, _) = resolver().await;
    assert_eq!(dns.mx(&domain("nowhere.example")).await, Err(DnsError::NotFound));
    assert_eq!(dns.addresses(&domain("nowhere.example")).await, Err(DnsError::NotFound));
    assert_eq!(dns.mx(&domain("mx1.example.org")).await, Err(DnsError::NoData));
    assert_eq!(dns.addresses(&domain("example.org")).await, Err(DnsError::NoData));
    for name in ["broken.example", "silent.example"] {
        assert!(matches!(dns.mx(&domain(name)).await, Err(DnsError::Temporary(_))), "{name}");
        assert!(matches!(dns.addresses(&domain(name)).await, Err(DnsError::Temporary(_))), "{name}");
    }
}

#[tokio::test]
async fn answers_are_kept_also_those_that_there_is_nothing() {
    let (dns, asked) = resolver().await;
    for _ in 0..3 {
        dns.mx(&domain("example.org")).await.unwrap();
        dns.mx(&domain("nowhere.example")).await.unwrap_err();
        dns.mx(&domain("mx1.example.org")).await.unwrap_err();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    dns.clear_cache();
    dns.mx(&domain("example.org")).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_temporary_failure() {
    let nobody = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let settings = Settings { servers: vec![nobody], timeout: Duration::from_millis(100), attempts: 1, ..Settings::default() };
    let dns = Resolver::new(&settings).unwrap();
    assert!(matches!(dns.mx(&domain("example.org")).await, Err(DnsError::Temporary(_))));
}
