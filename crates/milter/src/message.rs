//! Envelope and message while advisers change them: the one place where a modification takes effect.
//!
//! Not who asked for it: milters and hooks come here alike. The body is not held unless it was replaced.
//!
//! Invariants
//! - Fields that are not changed keep every octet, and their order.
//! - A value cannot end the header or begin a field: each of its lines but the first begins with white space.

use crate::advice::Modification;
use mail::binary::with_line_ends;
use mail::{Address, Recipient, ReversePath, header};

/// Envelope and message while advisers change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// Who gets it.
    pub recipients: Vec<Recipient>,
    /// The header.
    pub header: Header,
    /// The body, if it is another by now.
    pub body: Option<Vec<u8>>,
    /// Why it is to be held, if it is.
    pub quarantine: Option<String>,
}

/// Why a modification could not be made; the message is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The name is none of a field.
    Name,
    /// There is no such field.
    NoSuchField,
    /// The address is none.
    Address,
    /// There is no such recipient.
    NoSuchRecipient,
    /// The recipient is there already.
    AlreadyThere,
}

impl Refused {
    /// For the trail.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "no name of a field",
            Self::NoSuchField => "no such field",
            Self::Address => "no address",
            Self::NoSuchRecipient => "no such recipient",
            Self::AlreadyThere => "there already",
        }
    }
}

impl Message {
    /// Makes one modification.
    ///
    /// # Errors
    /// When it makes no sense here; the message stays as it was.
    pub fn apply(&mut self, modification: &Modification) -> Result<(), Refused> {
        match modification {
            Modification::AddHeader { name, value } => self.header.add(name, value),
            Modification::InsertHeader { index, name, value } => self.header.insert(*index, name, value),
            Modification::ChangeHeader { index, name, value } => self.header.change(*index, name, value),
            Modification::DeleteHeader { index, name } => self.header.delete(*index, name),
            Modification::ReplaceBody(body) => {
                self.body = Some(with_line_ends(body));
                Ok(())
            }
            Modification::AddRecipient { address, .. } => self.add_recipient(address),
            Modification::DeleteRecipient(address) => self.delete_recipient(address),
            Modification::ChangeFrom { address, .. } => self.change_from(address),
            Modification::Quarantine(reason) => {
                self.quarantine = Some(reason.clone());
                Ok(())
            }
        }
    }

    fn add_recipient(&mut self, text: &str) -> Result<(), Refused> {
        let address = Address::parse(bare(text)).map_err(|_| Refused::Address)?;
        if self.recipients.iter().any(|recipient| recipient.address.key() == address.key()) {
            return Err(Refused::AlreadyThere);
        }
        self.recipients.push(Recipient::new(address));
        Ok(())
    }

    fn delete_recipient(&mut self, text: &str) -> Result<(), Refused> {
        let key = Address::parse(bare(text)).map_err(|_| Refused::Address)?.key();
        let before = self.recipients.len();
        self.recipients.retain(|recipient| recipient.address.key() != key);
        if self.recipients.len() == before { Err(Refused::NoSuchRecipient) } else { Ok(()) }
    }

    fn change_from(&mut self, text: &str) -> Result<(), Refused> {
        let address = match bare(text) {
            "" => None,
            address => Some(Address::parse(address).map_err(|_| Refused::Address)?),
        };
        self.reverse_path = ReversePath(address);
        Ok(())
    }
}

/// An address without its angle brackets.
fn bare(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).trim()
}

/// A header while it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    lines: Vec<Lines>,
    /// The empty line at its end, if there was one.
    end: Vec<u8>,
}

/// One field with its line ends, or lines that are none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lines {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A field of the message or of an adviser.
    Field,
    /// A field of our own trace that advisers see.
    Trace,
    /// A field of our own trace that they do not see: it could say whatever we know, and no milter counts it.
    Hidden,
    /// No field at all.
    Garbage,
}

impl Header {
    /// The header of a message: `block`, which may end with its empty line, below our own fields, of which advisers see `shown` and not
    /// `hidden`.
    pub fn new(shown: &[u8], hidden: &[u8], block: &[u8]) -> Self {
        let mut lines = fields(shown, Kind::Trace);
        lines.extend(fields(hidden, Kind::Hidden));
        let end = block.len() - empty_line(block).len();
        let (text, empty) = block.split_at_checked(end).unwrap_or((block, b""));
        lines.extend(fields(text, Kind::Field));
        Self { lines, end: empty.to_vec() }
    }

    /// The fields that advisers see, in order: names and values, those with what stands behind the colon and without the last line end.
    pub fn seen(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let seen = self.lines.iter().filter(|lines| matches!(lines.kind, Kind::Field | Kind::Trace));
        seen.filter_map(|lines| header::fields(&lines.bytes).next()).map(|field| (field.name, field.value))
    }

    /// The whole header, our own fields included, with its empty line if it had one.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.lines.iter().map(|lines| lines.bytes.len()).sum::<usize>() + 2);
        for lines in &self.lines {
            out.extend_from_slice(&lines.bytes);
        }
        out.extend_from_slice(&self.end);
        out
    }

    /// The header without our own fields.
    pub fn message_bytes(&self) -> Vec<u8> {
        let own = |lines: &&Lines| !matches!(lines.kind, Kind::Trace | Kind::Hidden);
        let mut out: Vec<u8> = self.lines.iter().filter(own).flat_map(|lines| lines.bytes.iter().copied()).collect();
        out.extend_from_slice(&self.end);
        out
    }

    /// The header below our own fields.
    pub fn below_trace(&self) -> Vec<u8> {
        let below = self.lines.iter().skip(self.place(1));
        let mut out: Vec<u8> = below.flat_map(|lines| lines.bytes.iter().copied()).collect();
        out.extend_from_slice(&self.end);
        out
    }

    /// Gives it the empty line that divides it from a body.
    pub fn close(&mut self) {
        self.end_last_line();
        if self.end.is_empty() {
            self.end.extend_from_slice(b"\r\n");
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let field = written(name, value)?;
        self.end_last_line();
        self.lines.push(Lines { bytes: field, kind: Kind::Field });
        Ok(())
    }

    fn insert(&mut self, index: u32, name: &str, value: &[u8]) -> Result<(), Refused> {
        let bytes = written(name, value)?;
        let place = self.place(index);
        if place == self.lines.len() {
            self.end_last_line();
        }
        self.lines.insert(place, Lines { bytes, kind: Kind::Field });
        Ok(())
    }

    /// Index 0 is above everything, 1 below the last of our own fields.
    fn place(&self, index: u32) -> usize {
        let Some(below) = index.checked_sub(1) else { return 0 };
        let own = self.lines.iter().rposition(|lines| matches!(lines.kind, Kind::Trace | Kind::Hidden));
        let first = own.map_or(0, |last| last + 1);
        let fields = self.lines.iter().enumerate().skip(first).filter(|(_, lines)| lines.kind == Kind::Field);
        let mut ends = fields.map(|(place, _)| place + 1);
        match below {
            0 => first,
            _ => ends.nth(below as usize - 1).unwrap_or(self.lines.len()),
        }
    }

    fn change(&mut self, index: u32, name: &str, value: &[u8]) -> Result<(), Refused> {
        let bytes = written(name, value)?;
        match self.find(index, name) {
            Some(lines) => {
                lines.bytes = bytes;
                Ok(())
            }
            None => self.add(name, value),
        }
    }

    fn delete(&mut self, index: u32, name: &str) -> Result<(), Refused> {
        let lines = self.find(index, name).ok_or(Refused::NoSuchField)?;
        lines.bytes.clear();
        lines.kind = Kind::Garbage;
        Ok(())
    }

    /// Of the fields with a name, the one with this number from 1; 0 means the first, too.
    fn find(&mut self, index: u32, name: &str) -> Option<&mut Lines> {
        let seen = self.lines.iter_mut().filter(|lines| matches!(lines.kind, Kind::Field | Kind::Trace));
        let named = seen.filter(|lines| header::fields(&lines.bytes).next().is_some_and(|field| field.is(name)));
        named.into_iter().nth((index as usize).saturating_sub(1))
    }

    fn end_last_line(&mut self) {
        if let Some(last) = self.lines.iter_mut().rev().find(|lines| !lines.bytes.is_empty())
            && !last.bytes.ends_with(b"\n")
        {
            last.bytes.extend_from_slice(b"\r\n");
        }
    }
}

/// A block's empty line at its end.
fn empty_line(block: &[u8]) -> &[u8] {
    for (end, empty) in [(&b"\n\r\n"[..], 2), (b"\n\n", 1)] {
        if block.ends_with(end) {
            return block.get(block.len() - empty..).unwrap_or_default();
        }
    }
    if matches!(block, b"\r\n" | b"\n") { block } else { b"" }
}

/// Takes a block apart; what stands between fields is kept as it is.
fn fields(block: &[u8], kind: Kind) -> Vec<Lines> {
    let mut found = Vec::new();
    let mut at = 0;
    let garbage = |from: usize, to: usize, found: &mut Vec<Lines>| {
        if let Some(bytes) = block.get(from..to).filter(|bytes| !bytes.is_empty()) {
            found.push(Lines { bytes: bytes.to_vec(), kind: Kind::Garbage });
        }
    };
    for field in header::fields(block) {
        garbage(at, field.start, &mut found);
        found.push(Lines { bytes: block.get(field.range()).unwrap_or_default().to_vec(), kind });
        at = field.end;
    }
    garbage(at, block.len(), &mut found);
    found
}

/// A field with its line end. Lines of the value that would be fields of their own, or end the header, become part of the one.
fn written(name: &str, value: &[u8]) -> Result<Vec<u8>, Refused> {
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':') {
        return Err(Refused::Name);
    }
    let mut out = format!("{name}:").into_bytes();
    let lines = value.split(|octet| matches!(octet, b'\n' | b'\r')).filter(|line| !line.trim_ascii().is_empty());
    for (place, line) in lines.enumerate() {
        if place > 0 {
            out.extend_from_slice(b"\r\n");
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                out.push(b'\t');
            }
        }
        out.extend(line.iter().filter(|octet| **octet != 0));
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: &[u8] = b"From: a@b\r\nSubject: one\r\n folded\r\nnonsense\r\nSubject: two\r\nTo: c@d\r\n\r\n";
    const SHOWN: &[u8] = b"Authentication-Results: mx;\r\n none\r\n";
    const HIDDEN: &[u8] = b"Received: by mx\r\n";

    fn message() -> Message {
        let recipient = |text: &str| Recipient::new(Address::parse(text).unwrap());
        Message {
            reverse_path: ReversePath(Some(Address::parse("a@b.example").unwrap())),
            recipients: vec![recipient("ann@c.example"), recipient("bob@c.example")],
            header: Header::new(SHOWN, HIDDEN, BLOCK),
            body: None,
            quarantine: None,
        }
    }

    fn add(name: &str, value: &str) -> Modification {
        Modification::AddHeader { name: name.to_owned(), value: value.as_bytes().to_vec() }
    }

    fn insert(index: u32, name: &str, value: &str) -> Modification {
        Modification::InsertHeader { index, name: name.to_owned(), value: value.as_bytes().to_vec() }
    }

    fn change(index: u32, name: &str, value: &str) -> Modification {
        Modification::ChangeHeader { index, name: name.to_owned(), value: value.as_bytes().to_vec() }
    }

    fn delete(index: u32, name: &str) -> Modification {
        Modification::DeleteHeader { index, name: name.to_owned() }
    }

    fn check(modification: &Modification, want: Result<&str, Refused>) {
        let mut message = message();
        let made = message.apply(modification);
        let header = String::from_utf8(message.header.bytes()).unwrap();
        let short = header.replace("\r\n", "|").replace("Authentication-Results: mx;| none|", "AR|");
        assert_eq!(made.map(|()| short.as_str()), want, "{modification}");
    }

    #[test]
    fn fields_are_added_inserted_changed_and_deleted() {
        let rest = "From: a@b|Subject: one| folded|nonsense|Subject: two|To: c@d|";
        let own = "AR|Received: by mx|";
        check(&add("X-A", " b"), Ok(&format!("{own}{rest}X-A: b||")));
        check(&insert(0, "X-A", " b"), Ok(&format!("X-A: b|{own}{rest}|")));
        check(&insert(1, "X-A", " b"), Ok(&format!("{own}X-A: b|{rest}|")));
        check(&insert(2, "X-A", " b"), Ok(&format!("{own}From: a@b|X-A: b|Subject: one| folded|nonsense|Subject: two|To: c@d||")));
        check(&insert(4, "X-A", " b"), Ok(&format!("{own}From: a@b|Subject: one| folded|nonsense|Subject: two|X-A: b|To: c@d||")));
        check(&insert(99, "X-A", " b"), Ok(&format!("{own}{rest}X-A: b||")));
        check(&change(1, "subject", " new"), Ok(&format!("{own}From: a@b|subject: new|nonsense|Subject: two|To: c@d||")));
        check(&change(2, "Subject", " new"), Ok(&format!("{own}From: a@b|Subject: one| folded|nonsense|Subject: new|To: c@d||")));
        check(&change(3, "Subject", " new"), Ok(&format!("{own}{rest}Subject: new||")));
        check(&delete(0, "Subject"), Ok(&format!("{own}From: a@b|nonsense|Subject: two|To: c@d||")));
        check(&delete(2, "Subject"), Ok(&format!("{own}From: a@b|Subject: one| folded|nonsense|To: c@d||")));
        check(&delete(3, "Subject"), Err(Refused::NoSuchField));
        check(&delete(1, "Received"), Err(Refused::NoSuchField));
        check(&change(1, "Authentication-Results", " x"), Ok(&format!("Authentication-Results: x|Received: by mx|{rest}|")));
        check(&delete(1, "Authentication-Results"), Ok(&format!("Received: by mx|{rest}|")));
    }

    #[test]
    fn values_cannot_begin_fields_nor_end_the_header() {
        let rest = "AR|Received: by mx|From: a@b|Subject: one| folded|nonsense|Subject: two|To: c@d|";
        check(&add("X-A", " b\n c"), Ok(&format!("{rest}X-A: b| c||")));
        check(&add("X-A", " b\r\nBcc: evil"), Ok(&format!("{rest}X-A: b|\tBcc: evil||")));
        check(&add("X-A", " b\r\n\r\nbody"), Ok(&format!("{rest}X-A: b|\tbody||")));
        check(&add("X-A", "\n\n"), Ok(&format!("{rest}X-A:||")));
        check(&add("X-A", " \0b"), Ok(&format!("{rest}X-A: b||")));
        check(&add("X-A: b\r\nBcc", "x"), Err(Refused::Name));
        check(&add("", "x"), Err(Refused::Name));
    }

    #[test]
    fn the_envelope_changes() {
        let mut message = message();
        let whom = |message: &Message| message.recipients.iter().map(|one| one.address.to_string()).collect::<Vec<_>>().join(" ");
        let new = |address: &str| Modification::AddRecipient { address: address.to_owned(), parameters: String::new() };
        assert_eq!(message.apply(&new("<cyd@c.example>")), Ok(()));
        assert_eq!(message.apply(&new("ann@C.example")), Err(Refused::AlreadyThere));
        assert_eq!(message.apply(&new("nobody")), Err(Refused::Address));
        assert_eq!(message.apply(&Modification::DeleteRecipient("<bob@C.EXAMPLE>".to_owned())), Ok(()));
        assert_eq!(message.apply(&Modification::DeleteRecipient("dan@c.example".to_owned())), Err(Refused::NoSuchRecipient));
        assert_eq!(whom(&message), "ann@c.example cyd@c.example");
        let from = |address: &str| Modification::ChangeFrom { address: address.to_owned(), parameters: String::new() };
        assert_eq!(message.apply(&from("<new@b.example>")), Ok(()));
        assert_eq!(message.reverse_path.to_string(), "new@b.example");
        assert_eq!(message.apply(&from("<>")), Ok(()));
        assert_eq!(message.reverse_path, ReversePath(None));
        assert_eq!(message.apply(&Modification::Quarantine("odd".to_owned())), Ok(()));
        assert_eq!(message.quarantine.as_deref(), Some("odd"));
    }

    #[test]
    fn bodies_get_line_ends_of_mail() {
        for (body, want) in [("a\nb\n", "a\r\nb\r\n"), ("a\r\nb", "a\r\nb"), ("a\rb", "a\r\nb"), ("\r\r\n\n", "\r\n\r\n\r\n"), ("", "")] {
            let mut message = message();
            message.apply(&Modification::ReplaceBody(body.as_bytes().to_vec())).unwrap();
            assert_eq!(message.body.as_deref(), Some(want.as_bytes()), "{body:?}");
        }
    }

    #[test]
    fn headers_without_an_end_or_without_fields_are_kept() {
        for (block, want) in [("", "X: y\r\n"), ("\r\n", "X: y\r\n\r\n"), ("A: b", "A: b\r\nX: y\r\n"), ("A: b\n\n", "A: b\nX: y\r\n\n")] {
            let mut header = Header::new(b"", b"", block.as_bytes());
            assert_eq!(header.bytes(), block.as_bytes());
            header.add("X", b" y").unwrap();
            assert_eq!(String::from_utf8(header.bytes()).unwrap(), want);
            header.close();
            assert!(header.bytes().ends_with(b"\r\n\r\n") || header.bytes().ends_with(b"\n\n"));
        }
    }

    proptest! {
        #[test]
        fn what_is_not_changed_keeps_every_octet(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let header = Header::new(b"A: b\r\n", b"R: x\r\n", &block);
            prop_assert_eq!(header.bytes(), [b"A: b\r\nR: x\r\n", block.as_slice()].concat());
            prop_assert_eq!(header.message_bytes(), block);
        }

        #[test]
        fn an_added_field_is_one_field(name in "[A-Za-z-]{1,10}", value in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut header = Header::new(b"", b"", b"\r\n");
            header.add(&name, &value).unwrap();
            let bytes = header.bytes();
            prop_assert_eq!(mail::header::fields(&bytes).count(), 1);
            prop_assert_eq!(mail::header::body_start(&bytes), bytes.len());
        }
    }
}
