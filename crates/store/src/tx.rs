//! Transactions: what a closure given to [`crate::Store::read`] or [`crate::Store::write`] works on.
//!
//! The engine's part: keys and values of a [`Space`], and bodies. The nouns of mail (`account`,
//! `mailbox`, `email` …) add their methods in their own files.
//!
//! Invariants
//! - A transaction sees one state of the store; a [`WriteTx`] sees its own changes over it.
//! - Nothing of a [`WriteTx`] whose closure returned an error is ever visible to anybody.
//! - A write closure can run more than once: it has no effect but on its transaction.

use crate::body::{Blob, BlobRow, Body, Location};
use crate::error::{Error, Result};
use crate::feed::News;
use crate::files::{Files, Reading};
use crate::index::overlay;
use crate::index::recent::RecentWriter;
use crate::index::{Direction, KeyRange, Overlay, View, Visit};
use crate::log::record::{BodyRecord, Place};
use crate::roster::Rosters;
use crate::schema::Space;
use mail::{AccountId, BlobHash, MailboxId, ModSeq, Timestamp};
use std::collections::HashMap;
use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of the store is said again in one commit, in octets.
const RESTATE_OCTETS: usize = 256 << 10;

/// One state of the store, for reading.
pub struct ReadTx {
    base: Base,
    /// What earlier transactions of the same group changed.
    earlier: Overlay,
    own: Overlay,
    /// Bodies whose place in the log is not written yet.
    pending: HashMap<BlobHash, Body>,
    files: Arc<Files>,
    /// None: what is seen here may never be committed.
    rosters: Option<Arc<Rosters>>,
    /// How many keys were looked up or walked over.
    keys_read: AtomicU64,
    // Last, so that it is dropped after the view.
    _reading: Reading,
}

enum Base {
    Reader(Box<dyn View>),
    Writer(Box<RecentWriter>),
}

impl ReadTx {
    /// `reading` was taken before the view.
    pub(crate) fn new(view: Box<dyn View>, files: Arc<Files>, reading: Reading, rosters: Arc<Rosters>) -> Self {
        Self { rosters: Some(rosters), ..Self::over(Base::Reader(view), files, reading) }
    }

    fn over(base: Base, files: Arc<Files>, reading: Reading) -> Self {
        let (earlier, own, pending) = (Overlay::default(), Overlay::default(), HashMap::new());
        Self { base, earlier, own, pending, files, rosters: None, keys_read: AtomicU64::new(0), _reading: reading }
    }

    /// What is kept in memory of mailboxes, if this state of the store is a committed one.
    pub(crate) fn rosters(&self) -> Option<&Rosters> {
        self.rosters.as_deref()
    }

    fn view(&self) -> &dyn View {
        match &self.base {
            Base::Reader(view) => &**view,
            Base::Writer(writer) => &**writer,
        }
    }

    /// How many keys this transaction has looked up or walked over: what an operation costs, independent of the
    /// machine.
    pub fn keys_read(&self) -> u64 {
        self.keys_read.load(Ordering::Relaxed)
    }

    /// The value of a key.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.keys_read.fetch_add(1, Ordering::Relaxed);
        match self.own.get(space, key).or_else(|| self.earlier.get(space, key)) {
            Some(change) => Ok(change.clone()),
            None => self.view().get(space, key),
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
        let mut visit = |key: &[u8], value: &[u8]| {
            self.keys_read.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        };
        let mut below = |visit: Visit<'_>| self.view().scan(space, range, direction, visit);
        overlay::scan(&mut below, [&self.own, &self.earlier], space, range, direction, &mut visit)
    }

    /// What is known of a stored body.
    pub fn blob(&self, hash: &BlobHash) -> Result<Option<Blob>> {
        Ok(self.blob_row(hash)?.map(|row| Blob { octets: row.raw_octets, references: row.references }))
    }

    /// Octets of a stored body from `offset` on, at most `octets_max`; fewer only at its end.
    ///
    /// [`Error::NotFound`] when no such body is stored, [`Error::Corrupt`] when it is damaged.
    pub fn blob_read(&self, hash: &BlobHash, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        let row = self.blob_row(hash)?.ok_or_else(|| Error::NotFound(format!("blob {hash}")))?;
        match self.pending.get(hash) {
            Some(body) => body.read(offset, octets_max),
            None => row.read(&self.files, hash, offset, octets_max),
        }
    }

    /// The stored bodies after `after` in the order of their hashes, at most `max`.
    pub fn blobs(&self, after: Option<&BlobHash>, max: usize) -> Result<Vec<(BlobHash, Blob)>> {
        let range = after.map_or_else(KeyRange::all, |hash| KeyRange::all().after(&hash.0));
        let mut blobs = Vec::new();
        self.scan(Space::Blob, &range, Direction::Forward, |key, value| {
            if let (Ok(hash), Some(row)) = (key.try_into(), BlobRow::decode(value)) {
                blobs.push((BlobHash(hash), Blob { octets: row.raw_octets, references: row.references }));
            }
            if blobs.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(blobs)
    }

    /// Reads a whole stored body and compares it with its hash.
    ///
    /// [`Error::Corrupt`] says what is wrong with it.
    pub fn blob_verify(&self, hash: &BlobHash) -> Result<()> {
        let octets = self.blob(hash)?.ok_or_else(|| Error::NotFound(format!("blob {hash}")))?.octets;
        let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
        while offset < octets {
            let part = self.blob_read(hash, offset, 1 << 20)?;
            if part.is_empty() {
                return Err(Error::corrupt(format!("blob {hash}: it ends after {offset} of {octets} octets")));
            }
            hasher.update(&part);
            offset += part.len() as u64;
        }
        if *hasher.finalize().as_bytes() == hash.0 {
            Ok(())
        } else {
            Err(Error::corrupt(format!("blob {hash}: it is not what its hash says")))
        }
    }

    pub(crate) fn blob_row(&self, hash: &BlobHash) -> Result<Option<BlobRow>> {
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
    /// Where the next body record of this transaction will be.
    next: Place,
    appended: Vec<Appended>,
    restated: Overlay,
    news: News,
    /// The disk is full: no new bodies.
    full: bool,
    /// When this is done, if whoever does it says so.
    at: Option<Timestamp>,
}

/// A body that a transaction adds.
pub(crate) enum Appended {
    /// It was not stored before.
    Body(Body),
    /// It was, in a segment that goes.
    Moved(BodyRecord),
}

/// What a transaction has done.
pub(crate) struct Done {
    pub(crate) changes: Overlay,
    pub(crate) appended: Vec<Appended>,
    pub(crate) restated: Overlay,
    pub(crate) news: News,
}

impl Done {
    /// Whether nothing is lost when a power cut undoes it. Places of bodies and numbers that clients were told would be
    /// given out again.
    pub(crate) fn may_be_undone(&self) -> bool {
        let no_bodies = self.appended.is_empty() && self.changes.space(Space::Blob).next().is_none();
        no_bodies && self.restated.is_empty() && self.news.accounts.is_empty() && self.news.mailboxes.is_empty()
    }
}

impl Deref for WriteTx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl WriteTx {
    /// A transaction on the writer's own view. `full`: the disk takes no new bodies.
    pub(crate) fn new(writer: RecentWriter, files: Arc<Files>, full: bool) -> Self {
        let reading = files.reading();
        let next = Place { segment: 0, offset: 0 };
        let read = ReadTx::over(Base::Writer(Box::new(writer)), files, reading);
        Self { read, next, appended: Vec::new(), restated: Overlay::default(), news: News::default(), full, at: None }
    }

    /// Begins the next transaction of the group, whose records will be at `next`.
    pub(crate) fn begin(&mut self, next: Place) {
        self.next = next;
        self.at = None;
    }

    /// Says when this is done: what follows from an act by itself has that time in its trail.
    pub fn happens_at(&mut self, now: Timestamp) {
        self.at = Some(now);
    }

    /// When this is done, if that was said.
    pub(crate) const fn time(&self) -> Option<Timestamp> {
        self.at
    }

    /// Ends this transaction: takes what it has done, which nobody sees any more.
    pub(crate) fn take(&mut self) -> Done {
        Done {
            changes: std::mem::take(&mut self.read.own),
            appended: std::mem::take(&mut self.appended),
            restated: std::mem::take(&mut self.restated),
            news: std::mem::take(&mut self.news),
        }
    }

    /// Shows what an earlier transaction of the group has done to the later ones.
    pub(crate) fn lay(&mut self, changes: Overlay, bodies: &[Appended]) {
        self.read.earlier.merge(changes);
        for body in bodies {
            if let Appended::Body(body) = body {
                self.read.pending.insert(body.hash(), body.clone());
            }
        }
    }

    /// Ends the group: the writer's view and all changes of the group.
    pub(crate) fn into_parts(self) -> (Option<RecentWriter>, Overlay) {
        match self.read.base {
            Base::Writer(writer) => (Some(*writer), self.read.earlier),
            Base::Reader(_) => (None, self.read.earlier),
        }
    }

    /// Sets a key's value.
    pub fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.read.own.put(space, key, value);
    }

    /// Sets the value of a key that is not there. What comes and goes should be added: deleted soon, it leaves no trace.
    pub(crate) fn add(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        debug_assert!(!self.is_there(space, key), "{space:?} {key:?} is there already");
        self.read.own.add(space, key, value);
    }

    /// Whether what room there is on the disk is for wanted mail only.
    pub(crate) fn is_scarce(&self) -> bool {
        self.files.scarce.load(Ordering::Relaxed)
    }

    /// Uncounted, unlike [`ReadTx::get`].
    fn is_there(&self, space: Space, key: &[u8]) -> bool {
        let known = self.own.get(space, key).or_else(|| self.earlier.get(space, key));
        known.map_or_else(|| self.view().get(space, key).is_ok_and(|value| value.is_some()), Option::is_some)
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
        if self.blob_row(&hash)?.is_some() {
            return self.blob_hold(&hash);
        }
        if self.full {
            return Err(Error::Full);
        }
        let row = self.append(body)?;
        self.add(Space::Blob, &hash.0, row.encode());
        Ok(())
    }

    fn append(&mut self, body: &Body) -> Result<BlobRow> {
        let (location, stored_octets) = match (body.record(), body.spilled()) {
            (Some(record), _) => (Location::Log(self.allot(record)), record.record_octets()),
            (None, Some(file)) if file.is_adopted() => return Err(Error::NotFound(format!("the file of blob {}", body.hash()))),
            (None, Some(file)) => (Location::File(file.number), file.stored_octets),
            (None, None) => return Err(Error::Invalid("a body that is nowhere".into())),
        };
        self.appended.push(Appended::Body(body.clone()));
        self.read.pending.insert(body.hash(), body.clone());
        Ok(BlobRow { location, stored_octets, raw_octets: body.octets(), references: 1 })
    }

    /// The place of a record that will be written with this transaction.
    fn allot(&mut self, record: &BodyRecord) -> Place {
        let place = self.next;
        self.next.offset += record.record_octets();
        place
    }

    /// Moves a stored body from `from` to the end of the log; false: it is not there any more.
    pub(crate) fn blob_move(&mut self, hash: &BlobHash, from: Place, record: &BodyRecord) -> Result<bool> {
        let Some(row) = self.blob_row(hash)?.filter(|row| row.location == Location::Log(from)) else { return Ok(false) };
        let location = Location::Log(self.allot(record));
        self.put(Space::Blob, &hash.0, BlobRow { location, ..row }.encode());
        self.appended.push(Appended::Moved(record.clone()));
        Ok(true)
    }

    /// Says again in the log what the keys of a space are from `from` on; the key to go on with, and
    /// how many octets it was.
    pub(crate) fn restate(&mut self, space: Space, from: &[u8]) -> Result<(Option<Vec<u8>>, u64)> {
        let (mut octets, mut next, mut restated) = (0, None, Overlay::default());
        let range = KeyRange { from: from.to_vec(), to: None };
        self.scan(space, &range, Direction::Forward, |key, value| {
            if octets >= RESTATE_OCTETS {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            octets += key.len() + value.len() + 8;
            restated.put(space, key, value.to_vec());
            ControlFlow::Continue(())
        })?;
        self.restated.merge(restated);
        Ok((next, octets as u64))
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

    /// Announces, once the commit is durable, that messages of a mailbox came, went or changed at `mod_seq`.
    pub(crate) fn announce_mailbox(&mut self, account: AccountId, mod_seq: ModSeq, mailbox: MailboxId) {
        self.news.mailboxes.push((account, mod_seq, mailbox));
    }

    /// Announces, once the commit is durable, that queue entries were added or changed.
    pub fn announce_queue(&mut self) {
        self.news.queue = true;
    }
}

impl fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("changes", &self.read.own.len()).finish_non_exhaustive()
    }
}
