//! The network between hosts: who can be reached at which address, and what happens on the way.
//!
//! Not TCP: a connection is a pipe in memory with a latency for its making.

use crate::chance::Chance;
use crate::faults::{Cut, Faults};
use net::dial::Dialing;
use net::{Dial, DialError, Socket};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Octets that a pipe holds each way.
const PIPE_OCTETS: usize = 64 * 1024;

/// The network. Clones are the same.
#[derive(Debug, Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    chance: Chance,
}

#[derive(Debug, Default)]
struct State {
    doors: BTreeMap<IpAddr, Door>,
    connections: u64,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Door {
    faults: Faults,
    /// Nobody gets through until then.
    down_until: Option<Instant>,
    /// `None`: nobody listens.
    arrivals: Option<mpsc::UnboundedSender<Arrival>>,
}

/// A connection, as the host that is called sees it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: DuplexStream,
    pub(crate) peer: IpAddr,
}

impl Network {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { state: Arc::default(), chance }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong with connections to an address from now on.
    pub fn set_faults(&self, address: IpAddr, faults: Faults) {
        self.state().doors.entry(address).or_default().faults = faults;
    }

    pub(crate) fn faults(&self, address: IpAddr) -> Faults {
        self.state().doors.get(&address).map(|door| door.faults).unwrap_or_default()
    }

    /// Nobody reaches the address for a while.
    pub fn down(&self, address: IpAddr, time: Duration) {
        self.state().doors.entry(address).or_default().down_until = Some(Instant::now() + time);
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.state().connections
    }

    /// Somebody listens at the address from now on.
    pub(crate) fn listen(&self, address: IpAddr) -> mpsc::UnboundedReceiver<Arrival> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().doors.entry(address).or_default().arrivals = Some(sender);
        receiver
    }

    /// The way out of a host.
    pub(crate) fn from(&self, address: IpAddr) -> Arc<dyn Dial> {
        Arc::new(Line { network: self.clone(), address })
    }

    /// A connection from one address to another, or a refusal.
    fn connect(&self, from: IpAddr, to: SocketAddr) -> Option<Socket> {
        let mut state = self.state();
        let door = state.doors.get(&to.ip()).filter(|door| door.down_until.is_none_or(|until| until <= Instant::now()))?;
        if self.chance.strikes(door.faults.refuse) {
            return None;
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_OCTETS);
        door.arrivals.as_ref()?.send(Arrival { stream: theirs, peer: from }).ok()?;
        let socket = Socket::any(Cut::new(ours, door.faults, &self.chance));
        state.connections += 1;
        Some(socket)
    }
}

/// One host's way out.
struct Line {
    network: Network,
    address: IpAddr,
}

impl Dial for Line {
    fn connect(&self, to: SocketAddr, _from: Option<IpAddr>, _connect_max: Duration) -> Dialing<'_> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1 + self.network.chance.below(40))).await;
            let refused = || DialError::Connect(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
            self.network.connect(self.address, to).ok_or_else(refused)
        })
    }
}
