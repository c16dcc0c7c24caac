//! The commit path: closures in, durable groups out.

use crate::body::Body;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::index::memory::Memory;
use crate::index::{Index, Position, Writer};
use crate::tx::{ReadTx, WriteTx};
use mail::BlobHash;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What readers and the writer share.
pub(crate) struct Shared {
    pub(crate) index: Memory,
    pub(crate) feed: Arc<Feed>,
    bodies: Mutex<BTreeMap<BlobHash, Body>>,
    writing: Mutex<()>,
}

impl Shared {
    pub(crate) fn memory() -> Arc<Self> {
        Arc::new(Self { index: Memory::default(), feed: Feed::new(), bodies: Mutex::default(), writing: Mutex::default() })
    }

    pub(crate) fn body(&self, hash: &BlobHash) -> Result<Body> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.get(hash).cloned().ok_or_else(|| Error::corrupt(format!("blob {hash} is missing")))
    }

    pub(crate) fn read<T>(self: &Arc<Self>, f: impl FnOnce(&ReadTx) -> Result<T>) -> Result<T> {
        f(&ReadTx::new(Index::view(&self.index)?, self.clone()))
    }

    pub(crate) fn write<T>(self: &Arc<Self>, mut f: impl FnMut(&mut WriteTx) -> Result<T>) -> Result<T> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tx = WriteTx::new(ReadTx::new(Index::view(&self.index)?, self.clone()));
        let outcome = f(&mut tx)?;
        let (changes, bodies, news) = tx.into_parts();
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).extend(bodies);
        self.index.clone().apply(&changes, Position::default())?;
        self.feed.publish(&news);
        Ok(outcome)
    }
}
