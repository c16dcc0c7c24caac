//! One message of a FETCH answer: its items, from the records where they say it and from the octets
//! where only those do.
//!
//! Invariants: no message is parsed here, its digest knows where everything stands; the octets of a
//! large part are not read but noted as [`Piece`]s, to be read when the client takes them.

use crate::imap::commands::fetch::{CHUNK_OCTETS, Item};
use crate::imap::commands::section::{Section, Text};
use crate::imap::response;
use crate::imap::serve::object_id;
use mail::digest::Digest;
use mail::encoding::{self, TransferEncoding};
use mail::section::SectionText;
use mail::{AccountId, BlobHash, header, imap_view};
use std::collections::VecDeque;
use std::ops::Range;
use store::{Message, ReadTx};

/// A stretch of an answer that waits until the client has taken what is before it.
#[derive(Debug)]
pub(crate) enum Piece {
    /// These octets.
    Octets(Vec<u8>),
    /// Octets of a blob.
    Blob(BlobHash, Range<u64>),
}

impl Piece {
    /// Writes pieces until `octets_max` are written; what is left stays.
    pub(crate) fn write(pieces: &mut VecDeque<Self>, tx: &ReadTx, out: &mut Vec<u8>, octets_max: usize) -> store::Result<()> {
        while out.len() < octets_max {
            match pieces.pop_front() {
                None => return Ok(()),
                Some(Self::Octets(octets)) => out.extend_from_slice(&octets),
                Some(Self::Blob(hash, range)) => {
                    let octets = tx.blob_read(&hash, range.start, octets_max.min(length(&range)))?;
                    let next = range.start + octets.len() as u64;
                    if octets.is_empty() {
                        return Err(store::Error::Corrupt { what: format!("blob {hash} ends early") });
                    }
                    out.extend_from_slice(&octets);
                    if next < range.end {
                        pieces.push_front(Self::Blob(hash, next..range.end));
                    }
                }
            }
        }
        Ok(())
    }
}

fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

/// What a section names.
#[derive(Debug)]
pub(crate) enum Part {
    /// A stretch of the message.
    Range(Range<u64>),
    /// Chosen lines of its header.
    Octets(Vec<u8>),
}

/// What a section names, its partial applied; `None` if there is no such part.
pub(crate) fn part(tx: &ReadTx, account: AccountId, message: &Message, section: &Section) -> store::Result<Option<Part>> {
    let (mut out, mut rest) = (Vec::new(), VecDeque::new());
    let mut source = Source::new(tx, account, message, &mut out, &mut rest);
    let Some(range) = source.range(section)? else { return Ok(None) };
    let Text::Fields { names, not } = &section.text else { return Ok(Some(Part::Range(cut(&range, section.partial)))) };
    let chosen = header::select(&source.read(&range)?, names, !not);
    let range = cut(&(0..chosen.len() as u64), section.partial);
    let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    Ok(Some(Part::Octets(bounds.and_then(|(start, end)| chosen.get(start..end)).unwrap_or_default().to_vec())))
}

/// Writes one message.
pub(crate) struct Source<'a> {
    tx: &'a ReadTx,
    account: AccountId,
    message: &'a Message,
    out: &'a mut Vec<u8>,
    rest: &'a mut VecDeque<Piece>,
    digest: Option<Digest>,
    /// All octets of a small message, once some were wanted.
    whole: Option<Vec<u8>>,
    /// A part was to be decoded whose encoding nobody knows.
    undecodable: bool,
}

impl<'a> Source<'a> {
    pub(crate) const fn new(
        tx: &'a ReadTx,
        account: AccountId,
        message: &'a Message,
        out: &'a mut Vec<u8>,
        rest: &'a mut VecDeque<Piece>,
    ) -> Self {
        Self { tx, account, message, out, rest, digest: None, whole: None, undecodable: false }
    }

    /// Where to write: behind a piece that waits, if there is one.
    fn sink(&mut self) -> &mut Vec<u8> {
        if self.rest.is_empty() {
            return self.out;
        }
        if !matches!(self.rest.back(), Some(Piece::Octets(_))) {
            self.rest.push_back(Piece::Octets(Vec::new()));
        }
        match self.rest.back_mut() {
            Some(Piece::Octets(octets)) => octets,
            _ => self.out,
        }
    }

    /// Writes octets as they are.
    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.sink().extend_from_slice(octets);
    }

    /// Turns the space behind the last item into the end of the answer. Whether all could be decoded.
    pub(crate) fn end(mut self) -> bool {
        let sink = self.sink();
        sink.pop();
        sink.extend_from_slice(b")\r\n");
        !self.undecodable
    }

    fn digest(&mut self) -> store::Result<&Digest> {
        let digest = match self.digest.take() {
            Some(digest) => digest,
            None => self.tx.digest(self.account, self.message.email)?,
        };
        Ok(self.digest.insert(digest))
    }

    /// Writes an item.
    pub(crate) fn item(&mut self, item: &Item, recent: bool, utf8: bool) -> store::Result<()> {
        let message = self.message;
        match item {
            Item::Flags => {
                self.octets(b"FLAGS ");
                response::flags(self.sink(), &message.flags, recent);
            }
            Item::Uid => self.number(b"UID ", message.uid.0.into()),
            Item::Size => self.number(b"RFC822.SIZE ", message.octets),
            Item::InternalDate => {
                self.octets(b"INTERNALDATE ");
                response::date_time(self.sink(), message.internal_date);
            }
            Item::SaveDate => {
                self.octets(b"SAVEDATE ");
                response::date_time(self.sink(), message.saved);
            }
            Item::ModSeq => {
                self.number(b"MODSEQ (", message.mod_seq.0);
                self.octets(b")");
            }
            Item::EmailId => self.octets(format!("EMAILID ({})", object_id('E', message.email.0)).as_bytes()),
            Item::ThreadId => self.octets(format!("THREADID ({})", object_id('T', message.thread.0)).as_bytes()),
            Item::Envelope | Item::Body | Item::BodyStructure | Item::Preview => self.digested(item, utf8)?,
            Item::Section(section) => self.section(section)?,
            Item::BinarySize(path) => self.binary_size(path)?,
        }
        Ok(())
    }

    fn number(&mut self, name: &[u8], number: u64) {
        let sink = self.sink();
        sink.extend_from_slice(name);
        response::number(sink, number);
    }

    fn digested(&mut self, item: &Item, utf8: bool) -> store::Result<()> {
        let charset = if utf8 { imap_view::Charset::Utf8 } else { imap_view::Charset::Ascii };
        self.digest()?;
        let Some(digest) = self.digest.take() else { return Ok(()) };
        let sink = self.sink();
        match item {
            Item::Envelope => {
                sink.extend_from_slice(b"ENVELOPE ");
                imap_view::envelope(sink, &digest.envelope, charset);
            }
            Item::Body => {
                sink.extend_from_slice(b"BODY ");
                imap_view::body(sink, &digest.body, charset);
            }
            Item::BodyStructure => {
                sink.extend_from_slice(b"BODYSTRUCTURE ");
                imap_view::body_structure(sink, &digest.body, charset);
            }
            _ => {
                sink.extend_from_slice(b"PREVIEW ");
                response::string(sink, digest.preview.as_bytes(), utf8);
            }
        }
        self.digest = Some(digest);
        Ok(())
    }

    fn section(&mut self, section: &Section) -> store::Result<()> {
        self.octets(&section.label);
        self.octets(b" ");
        if let Some(chosen) = self.listed(section)? {
            self.literal(&chosen, section.partial);
            return Ok(());
        }
        let Some(range) = self.range(section)? else {
            self.octets(b"NIL");
            return Ok(());
        };
        match &section.text {
            Text::Fields { names, not } => {
                let chosen = header::select(&self.read(&range)?, names, !not);
                self.literal(&chosen, section.partial);
            }
            _ if section.decoded => match self.decoded(&section.path, &range)? {
                Some(decoded) => self.literal(&decoded, section.partial),
                None => self.octets(b"NIL"),
            },
            _ => self.stretch(cut(&range, section.partial))?,
        }
        Ok(())
    }

    /// The fields of a section that the digest keeps whole: what listings ask for.
    fn listed(&mut self, section: &Section) -> store::Result<Option<Vec<u8>>> {
        let Text::Fields { names, not: false } = &section.text else { return Ok(None) };
        if !section.path.is_empty() || self.whole.is_some() || !names.iter().all(|name| header::is_listed(name)) {
            return Ok(None);
        }
        let digest = self.digest()?;
        Ok(digest.listed.as_ref().map(|listed| header::select(listed.as_bytes(), names, true)))
    }

    /// Which octets of the message a section names, its partial not yet applied.
    fn range(&mut self, section: &Section) -> store::Result<Option<Range<u64>>> {
        let octets = self.message.octets;
        let text = match &section.text {
            Text::All if section.path.is_empty() => return Ok(Some(0..octets)),
            Text::All => None,
            Text::Header | Text::Fields { .. } => Some(SectionText::Header),
            Text::Text => Some(SectionText::Text),
            Text::Mime => Some(SectionText::Mime),
        };
        if section.path.is_empty() {
            let body_start = self.body_start()?;
            return Ok(Some(if text == Some(SectionText::Text) { body_start..octets } else { 0..body_start }));
        }
        Ok(self.digest()?.body.section_range(&section.path, text))
    }

    /// Where the header ends: of a small message its octets say it, which are wanted next anyway.
    fn body_start(&mut self) -> store::Result<u64> {
        if self.is_small() {
            return Ok(header::body_start(self.whole()?) as u64);
        }
        Ok(self.digest()?.body.body_start)
    }

    fn is_small(&self) -> bool {
        self.message.octets <= CHUNK_OCTETS as u64
    }

    fn whole(&mut self) -> store::Result<&[u8]> {
        let whole = match self.whole.take() {
            Some(whole) => whole,
            None => read_all(self.tx, &self.message.blob, &(0..self.message.octets))?,
        };
        Ok(self.whole.insert(whole))
    }

    fn read(&mut self, range: &Range<u64>) -> store::Result<Vec<u8>> {
        if !self.is_small() {
            return read_all(self.tx, &self.message.blob, range);
        }
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let whole = self.whole()?;
        Ok(bounds.and_then(|(start, end)| whole.get(start..end.min(whole.len()))).unwrap_or_default().to_vec())
    }

    /// Writes a stretch of the message as a literal: now if it is small, else as a piece that waits.
    fn stretch(&mut self, range: Range<u64>) -> store::Result<()> {
        if range.is_empty() {
            self.octets(b"\"\"");
            return Ok(());
        }
        response::literal(self.sink(), range.end - range.start);
        if length(&range) > CHUNK_OCTETS {
            self.rest.push_back(Piece::Blob(self.message.blob, range));
            return Ok(());
        }
        let octets = self.read(&range)?;
        self.octets(&octets);
        Ok(())
    }

    fn literal(&mut self, octets: &[u8], partial: Option<(u64, u64)>) {
        let range = cut(&(0..octets.len() as u64), partial);
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let octets = bounds.and_then(|(start, end)| octets.get(start..end)).unwrap_or_default();
        if octets.is_empty() {
            return self.octets(b"\"\"");
        }
        // RFC 3516 §4.3: NUL stands in literal8 only, and literal8 only where NUL stands.
        if octets.contains(&0) {
            self.octets(b"~");
        }
        response::literal(self.sink(), octets.len() as u64);
        self.octets(octets);
    }

    /// A part without its transfer encoding (RFC 3516 §4.3); `None` if that is unknown.
    fn decoded(&mut self, path: &[u32], range: &Range<u64>) -> store::Result<Option<Vec<u8>>> {
        let token = self.digest()?.body.section(path).map(|part| part.encoding.clone()).unwrap_or_default();
        // The whole message has no encoding of its own.
        if path.is_empty() {
            return self.read(range).map(Some);
        }
        if !TransferEncoding::is_known(&token) {
            self.undecodable = true;
            return Ok(None);
        }
        Ok(Some(encoding::decode(TransferEncoding::parse(&token), &self.read(range)?)))
    }

    fn binary_size(&mut self, path: &[u32]) -> store::Result<()> {
        let section = Section { path: path.to_vec(), text: Text::All, partial: None, peek: true, decoded: true, label: Vec::new() };
        self.octets(b"BINARY.SIZE[");
        for (at, number) in path.iter().enumerate() {
            self.number(if at > 0 { b"." } else { b"" }, u64::from(*number));
        }
        let octets = match self.range(&section)? {
            Some(range) => self.decoded(path, &range)?.map_or(0, |decoded| decoded.len()),
            None => 0,
        };
        self.number(b"] ", octets as u64);
        Ok(())
    }
}

/// The part of a range that a partial names; empty behind its end (RFC 9051 §6.4.5).
fn cut(range: &Range<u64>, partial: Option<(u64, u64)>) -> Range<u64> {
    let Some((first, octets)) = partial else { return range.clone() };
    let start = range.start.saturating_add(first).min(range.end);
    start..start.saturating_add(octets).min(range.end)
}

/// All octets of a range of a blob.
pub(crate) fn read_all(tx: &ReadTx, blob: &BlobHash, range: &Range<u64>) -> store::Result<Vec<u8>> {
    let mut octets = tx.blob_read(blob, range.start, length(range))?;
    while octets.len() < length(range) {
        let start = range.start + octets.len() as u64;
        let more = tx.blob_read(blob, start, length(&(start..range.end)))?;
        if more.is_empty() {
            return Err(store::Error::Corrupt { what: format!("blob {blob} ends early") });
        }
        octets.extend(more);
    }
    Ok(octets)
}
