//! Makes connections.
//!
//! Not a resolver: it is given an address. The simulation puts its own network behind [`Dial`].

use crate::socket::Socket;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// A connection in the making.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = Result<Socket, DialError>> + Send + 'a>>;

/// Makes connections.
pub trait Dial: Send + Sync {
    /// Connects to `to`, from the address `from` if one is given, within `connect_max`.
    fn connect(&self, to: SocketAddr, from: Option<IpAddr>, connect_max: Duration) -> Dialing<'_>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answered in time.
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
    /// The source address cannot be used.
    #[error("source address: {0}")]
    Source(#[source] io::Error),
    /// Refused, unreachable, and so on.
    #[error("{0}")]
    Connect(#[source] io::Error),
}

/// TCP over the machine's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn connect(&self, to: SocketAddr, from: Option<IpAddr>, connect_max: Duration) -> Dialing<'_> {
        Box::pin(async move {
            let socket = socket_from(to, from).map_err(DialError::Source)?;
            let stream = timeout(connect_max, socket.connect(to)).await.map_err(|_| DialError::Timeout(connect_max))?;
            let stream = stream.map_err(DialError::Connect)?;
            stream.set_nodelay(true).map_err(DialError::Connect)?;
            Ok(Socket::Plain(stream))
        })
    }
}

/// A socket of the family of `to`; a source address of the other family is not used.
fn socket_from(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn connects_from_the_address_it_is_told() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let to = listener.local_addr().unwrap();
        let dialed = TcpDial.connect(to, Some(from), Duration::from_secs(5));
        let (dialed, accepted) = tokio::join!(dialed, listener.accept());
        assert!(matches!(dialed.unwrap(), Socket::Plain(_)));
        assert_eq!(accepted.unwrap().1.ip(), from);
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_of_the_connection() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        let error = TcpDial.connect(to, None, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, DialError::Connect(_)), "{error}");
    }
}
