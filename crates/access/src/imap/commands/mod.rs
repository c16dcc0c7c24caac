//! The commands: one file each, where a command is read and where it is done.
//!
//! What needs no store is done in the session itself: CAPABILITY, LOGOUT, STARTTLS, AUTHENTICATE, LOGIN.

pub mod acl;
pub mod append;
pub mod authenticate;
pub mod cancel_update;
pub(crate) mod candidate;
pub mod capability;
pub mod compress;
pub mod copy;
pub mod create;
pub mod delete;
pub mod enable;
pub mod esearch;
pub mod expunge;
pub mod fetch;
pub mod id;
pub mod list;
pub mod login;
pub mod lsub;
pub(crate) mod message;
pub(crate) mod message_limit;
pub mod metadata;
pub mod notify;
pub mod quota;
pub mod rename;
pub mod returns;
pub mod search;
pub mod section;
pub mod select;
pub mod sort;
pub mod status;
pub mod store;
pub mod subscribe;
pub mod thread;
pub mod uidbatches;
pub(crate) mod unauthenticate;
pub(crate) mod url;
pub(crate) mod walk;
pub mod xlist;
