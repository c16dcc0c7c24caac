//! Bytes, time and names: the shell around the pure protocols.
//!
//! [`drive()`] runs any [`wire::Session`] over a [`Socket`] and is the only code that awaits a
//! peer's bytes. [`listen`] accepts connections, [`dial`] makes them, [`tls`] holds certificates and
//! trust, [`resolve`] asks DNS, [`clock`] tells the time, [`limits`] counts who is connected,
//! [`shutdown`] tells everybody that the end is near, [`https`] fetches a small document of another server, [`web`] asks a program
//! that the operator names.
//!
//! What this crate is not: it knows no protocol, no store and no configuration file.
//!
//! Invariants
//! - An idle connection holds no read buffer of ours.
//! - Every wait has a deadline; no lock is held across an `.await`.
//! - Nothing is read from a peer while a question is outstanding or output is unwritten.

pub mod clock;
pub mod dial;
pub mod drive;
pub mod endpoint;
pub mod https;
pub mod limits;
pub mod listen;
pub mod proxy_protocol;
pub mod resolve;
pub mod shutdown;
pub mod socket;
pub mod tls;
pub mod web;

pub use clock::{Clock, SystemClock, VirtualClock};
pub use dial::{Dial, DialError, TcpDial};
pub use drive::{DriveError, End, Shell, Upgrade, drive};
pub use endpoint::Endpoint;
pub use limits::Connections;
pub use listen::{Accepted, Listener};
pub use mail::network::{self, Network};
pub use resolve::{Checked, Dns, DnsError, FakeDns, Mx, Resolver, Security, Tlsa};
pub use shutdown::{Shutdown, Stop};
pub use socket::{Socket, Stream};

#[doc(hidden)]
pub mod fuzz {
    //! Entries for the fuzzer: hostile bytes in, no panic out.

    /// A client's certificate.
    pub fn client_certificate(data: &[u8]) {
        assert!(crate::tls::client_addresses(data).len() <= 16, "more addresses than are allowed");
    }

    /// The header of the PROXY protocol.
    pub fn proxy_protocol(data: &[u8]) {
        let _ = crate::proxy_protocol::parse(data);
    }
}
