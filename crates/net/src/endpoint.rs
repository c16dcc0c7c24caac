//! A program that the operator names, usually on this machine: a milter, a hook's web server.
//!
//! Not another mail server: the name is looked up as every program of the machine does, hosts file included, and nobody counts
//! the addresses.

use crate::dial::DialError;
use crate::socket::Socket;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where a program listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What an [`Endpoint`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"HOST:PORT\" or \"unix:/PATH\"")]
pub struct NotAnEndpoint;

/// `127.0.0.1:8891`, `[::1]:8891`, `unix:/run/x.sock`, and what milters are configured with: `inet:8891@localhost`, `inet:localhost:8891`,
/// `local:/run/x.sock`.
impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("local:")) {
            return if path.starts_with('/') { Ok(Self::Unix(PathBuf::from(path))) } else { Err(NotAnEndpoint) };
        }
        let text = text.strip_prefix("inet:").or_else(|| text.strip_prefix("inet6:")).unwrap_or(text);
        let (host, port) = match text.split_once('@') {
            Some((port, host)) => (host, port),
            None => text.rsplit_once(':').ok_or(NotAnEndpoint)?,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = bare.is_none() && host.contains(':') && !text.contains('@');
        let host = bare.unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| NotAnEndpoint)?;
        let named = !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_:%".contains(&octet));
        if plain || port == 0 || !named { Err(NotAnEndpoint) } else { Ok(Self::Tcp { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Connects within `connect_max`, to the first address of a name that answers.
    ///
    /// # Errors
    /// When nobody answers in time, or there is nobody.
    pub async fn connect(&self, connect_max: Duration) -> Result<Socket, DialError> {
        let connecting = async {
            match self {
                Self::Tcp { host, port } => tcp(host, *port).await,
                Self::Unix(path) => UnixStream::connect(path).await.map(Socket::any),
            }
        };
        timeout(connect_max, connecting).await.map_err(|_| DialError::Timeout(connect_max))?.map_err(DialError::Connect)
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<Socket> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Socket::Plain(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, want) in [
            ("127.0.0.1:8891", Some("127.0.0.1:8891")),
            ("localhost:8891", Some("localhost:8891")),
            ("[::1]:8891", Some("[::1]:8891")),
            ("inet:8891@localhost", Some("localhost:8891")),
            ("inet6:8891@[::1]", Some("[::1]:8891")),
            ("inet:localhost:8891", Some("localhost:8891")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("local:/run/x.sock", Some("unix:/run/x.sock")),
            ("unix:run/x.sock", None),
            ("::1:8891", None),
            ("localhost", None),
            ("localhost:0", None),
            ("localhost:99999", None),
            (":25", None),
            ("a b:25", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Endpoint>().ok().map(|endpoint| endpoint.to_string()).as_deref(), want, "{text}");
        }
    }

    #[tokio::test]
    async fn sockets_of_the_file_system_are_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let endpoint: Endpoint = format!("unix:{}", path.display()).parse().unwrap();
        assert!(matches!(endpoint.connect(Duration::from_secs(5)).await, Err(DialError::Connect(_))));
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert!(endpoint.connect(Duration::from_secs(5)).await.is_ok());
    }
}
