//! The network between hosts: who can be reached at which address, and what happens on the way.
//!
//! Not TCP: a connection is a pipe in memory with a latency for its making.

use crate::chance::Chance;
use crate::faults::{Cut, Faults, Limits};
use crate::witness::{LineId, Way, Witness};
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
    witness: Witness,
}

#[derive(Debug, Default)]
struct State {
    doors: BTreeMap<IpAddr, Door>,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Door {
    faults: Faults,
    /// How long a connection takes to make beyond what all take.
    latency: Duration,
    /// The next connection breaks here.
    cut: Option<Limits>,
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
    pub(crate) line: LineId,
}

impl Network {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { state: Arc::default(), chance, witness: Witness::default() }
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

    /// How long connections to an address take to make, beyond what all take.
    pub fn set_latency(&self, address: IpAddr, latency: Duration) {
        self.state().doors.entry(address).or_default().latency = latency;
    }

    /// The next connection to an address breaks after so many octets, one way.
    pub fn cut_next(&self, address: IpAddr, way: Way, octets: u64) {
        self.state().doors.entry(address).or_default().cut = Some(Limits::at(way, octets));
    }

    /// How many octets went out and came back on the first connection to an address, once it is over.
    pub fn first_connection(&self, to: IpAddr) -> Option<(u64, u64)> {
        self.witness.first_line(to)
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.witness.connections()
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

    /// What is met at an address.
    fn knock(&self, at: IpAddr) -> (Faults, Duration) {
        self.state().doors.get(&at).map(|door| (door.faults, door.latency)).unwrap_or_default()
    }

    /// A connection from one address to another, or a refusal.
    fn connect(&self, from: IpAddr, to: SocketAddr) -> Option<Socket> {
        let mut state = self.state();
        let door = state.doors.get_mut(&to.ip()).filter(|door| door.down_until.is_none_or(|until| until <= Instant::now()))?;
        let arrivals = door.arrivals.as_ref()?;
        if self.chance.strikes(door.faults.refuse) {
            return None;
        }
        let (ours, theirs) = tokio::io::duplex(PIPE_OCTETS);
        let line = self.witness.open(from, to.ip());
        if arrivals.send(Arrival { stream: theirs, peer: from, line }).is_err() {
            self.witness.closed(line);
            return None;
        }
        let limits = door.cut.take().unwrap_or_else(|| Limits::drawn(door.faults, &self.chance));
        Some(Socket::any(Cut::new(ours, limits, self.witness.clone(), line)))
    }
}

/// One host's way out.
struct Line {
    network: Network,
    address: IpAddr,
}

impl Dial for Line {
    fn connect(&self, to: SocketAddr, from: Option<IpAddr>, connect_max: Duration) -> Dialing<'_> {
        Box::pin(async move {
            let (faults, latency) = self.network.knock(to.ip());
            let takes = latency + Duration::from_millis(1 + self.network.chance.below(40));
            if takes > connect_max || self.network.chance.strikes(faults.black_hole) {
                tokio::time::sleep(connect_max).await;
                return Err(DialError::Timeout(connect_max));
            }
            tokio::time::sleep(takes).await;
            let refused = || DialError::Connect(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
            self.network.connect(from.unwrap_or(self.address), to).ok_or_else(refused)
        })
    }
}
