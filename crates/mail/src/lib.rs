//! The nouns of mail and the format of messages.
//!
//! Addresses, envelopes, ids, flags and events are the words every other crate speaks; the MIME
//! index, ENVELOPE and BODYSTRUCTURE, dates, charsets and reports are the format of messages.
//!
//! What this crate is not: it knows no protocol, no socket, no clock and no store.
//!
//! Invariant: every parser here takes hostile input in bounded time and memory.

pub mod address;
mod address_list;
pub mod binary;
pub mod casemap;
pub mod charset;
pub mod compose;
pub mod date;
pub mod digest;
pub mod domain;
pub mod dsn;
pub mod encoding;
pub mod envelope;
pub mod event;
pub mod flag;
#[doc(hidden)]
pub mod fuzz;
pub mod fuzzy;
pub mod grams;
pub mod header;
pub mod id;
pub mod imap_view;
pub mod lookup;
pub mod mailto;
pub mod mime;
pub mod network;
pub mod received;
pub mod rights;
pub mod role;
pub mod search;
pub mod section;
pub mod seven_bit;
pub mod status;
pub mod subject;
pub mod submission;
pub mod terms;
pub mod text;
pub mod timestamp;
pub mod uid_set;
pub mod words;

pub use address::{Address, AddressError};
pub use date::DateTime;
pub use digest::Digest;
pub use domain::{Domain, DomainError};
pub use envelope::{BodyType, Envelope, Notify, Recipient, Ret, ReversePath, TlsDemand};
pub use event::{Event, TrailEntry};
pub use flag::{Flag, Flags, Keyword};
pub use id::{AccountId, BlobHash, EmailId, MailboxId, ModSeq, ReceiptId, SeqNum, ThreadId, Uid, UidValidity};
pub use mailto::mailto;
pub use network::Network;
pub use rights::Rights;
pub use role::Role;
pub use status::EnhancedStatus;
pub use terms::{DeliverBy, Late, Priority, Terms};
pub use timestamp::Timestamp;
pub use uid_set::UidSet;
