//! Transactions: what a closure given to [`crate::Store::read`] or [`crate::Store::write`] works on.
//!
//! The engine's part: keys and values of a [`Space`], and bodies. The nouns of mail (`account`,
//! `mailbox`, `email` …) add their methods in their own files.
//!
//! Invariants
//! - A transaction sees one state of the store; a [`WriteTx`] sees its own changes over it.
//! - Nothing of a [`WriteTx`] whose closure returned an error is ever visible to anybody.
//! - A write closure can run more than once: it has no effect but on its transaction.

use crate::body::{Blob, BlobRow, Body};
use crate::commit::Shared;
use crate::error::{Error, Result};
use crate::feed::News;
use crate::index::overlay;
use crate::index::{Direction, KeyRange, Overlay, View};
use crate::schema::Space;
use mail::{AccountId, BlobHash, ModSeq};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

/// One state of the store, for reading.
pub struct ReadTx {
    view: Box<dyn View>,
    /// What earlier transactions of the same group changed.
    earlier: Overlay,
    own: Overlay,
    bodies: BTreeMap<BlobHash, Body>,
    shared: Arc<Shared>,
}

impl ReadTx {
    pub(crate) fn new(view: Box<dyn View>, shared: Arc<Shared>) -> Self {
        Self { view, earlier: Overlay::default(), own: Overlay::default(), bodies: BTreeMap::new(), shared }
    }

    /// The value of a key.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.own.get(space, key).or_else(|| self.earlier.get(space, key)) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(space, key),
        }
    }

    /// Visits the keys of `range` and their values in order until `visit` breaks.
    pub fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        overlay::scan(&*self.view, [&self.own, &self.earlier], space, range, direction, &mut visit)
    }

    /// What is known of a stored body.
    pub fn blob(&self, hash: &BlobHash) -> Result<Option<Blob>> {
        Ok(self.blob_row(hash)?.map(|row| Blob { octets: row.raw_octets, references: row.references }))
    }

    /// Octets of a stored body from `offset` on, at most `octets_max`; fewer only at its end.
    ///
    /// [`Error::NotFound`] when no such body is stored, [`Error::Corrupt`] when it is damaged.
    pub fn blob_read(&self, hash: &BlobHash, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        if self.blob_row(hash)?.is_none() {
            return Err(Error::NotFound(format!("blob {hash}")));
        }
        match self.bodies.get(hash) {
            Some(body) => body.read(offset, octets_max),
            None => self.shared.body(hash)?.read(offset, octets_max),
        }
    }

    fn blob_row(&self, hash: &BlobHash) -> Result<Option<BlobRow>> {
        let Some(value) = self.get(Space::Blob, &hash.0)? else { return Ok(None) };
        BlobRow::decode(&value).map(Some).ok_or_else(|| Error::corrupt(format!("the index entry of blob {hash}")))
    }
}

impl fmt::Debug for ReadTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").field("changes", &self.own.len()).finish_non_exhaustive()
    }
}

/// One state of the store and the changes made to it; reads see them.
pub struct WriteTx {
    read: ReadTx,
    news: News,
}

impl Deref for WriteTx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl WriteTx {
    pub(crate) fn new(read: ReadTx) -> Self {
        Self { read, news: News::default() }
    }

    /// Sets a key's value.
    pub fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.read.own.put(space, key, value);
    }

    /// Removes a key; nothing happens when it is not there.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        self.read.own.delete(space, key);
    }

    /// Adds one reference to a body, storing it if it is not stored yet.
    ///
    /// [`Error::Full`] when its octets would be new and the disk is full.
    pub fn blob_put(&mut self, body: &Body) -> Result<()> {
        let hash = body.hash();
        let row = self.blob_row(&hash)?;
        if row.is_none() {
            self.read.bodies.insert(hash, body.clone());
        }
        let references = row.map_or(1, |row| row.references.saturating_add(1));
        self.put(Space::Blob, &hash.0, BlobRow { raw_octets: body.octets(), references }.encode());
        Ok(())
    }

    /// Adds one reference to a stored body.
    pub fn blob_hold(&mut self, hash: &BlobHash) -> Result<()> {
        let row = self.blob_row(hash)?.ok_or_else(|| Error::NotFound(format!("blob {hash}")))?;
        let row = BlobRow { references: row.references.saturating_add(1), ..row };
        self.put(Space::Blob, &hash.0, row.encode());
        Ok(())
    }

    /// Takes one reference to a body back; without any it is no longer stored.
    pub fn blob_release(&mut self, hash: &BlobHash) -> Result<()> {
        let row = self.blob_row(hash)?.ok_or_else(|| Error::NotFound(format!("blob {hash}")))?;
        match row.references {
            0 | 1 => self.delete(Space::Blob, &hash.0),
            references => self.put(Space::Blob, &hash.0, BlobRow { references: references - 1, ..row }.encode()),
        }
        Ok(())
    }

    /// Announces, once the commit is durable, that an account is at `mod_seq` now.
    pub fn announce(&mut self, account: AccountId, mod_seq: ModSeq) {
        self.news.accounts.insert(account, mod_seq);
    }

    /// Announces, once the commit is durable, that queue entries were added or changed.
    pub fn announce_queue(&mut self) {
        self.news.queue = true;
    }

    pub(crate) fn into_parts(self) -> (Overlay, BTreeMap<BlobHash, Body>, News) {
        (self.read.own, self.read.bodies, self.news)
    }
}

impl fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("changes", &self.read.own.len()).finish_non_exhaustive()
    }
}
