//! The tree of a message's parts with the place of each in its octets (RFC 2045, RFC 2046).
//!
//! One pass over the octets: headers are read line by line, bodies are only searched for boundaries.
//! Nothing is decoded here.
//!
//! Invariants: any octets have a tree; it costs time linear in the message, and memory within the limits
//! below; a boundary is a whole line, never a piece of one; parts lie within their parent and in order.

use crate::digest::{BodyPart, Disposition, EnvelopeItem, Inside, Nested};
use crate::header::{self, line_end};
use crate::words;
use memchr::memmem::Finder;

/// Parts of one message, nested ones included; later ones are not listed. Our own bound: mail has under 100.
pub const PARTS_MAX: usize = 1_000;

/// Parts within parts; deeper ones are plain text to us. Our own bound: mail has under 10.
pub const DEPTH_MAX: usize = 64;

/// Octets of one header field that are read; a To field of 1,800 recipients. Our own bound.
pub const FIELD_OCTETS_MAX: usize = 64 * 1024;

/// Octets of all fields for ENVELOPE that are kept; what comes later is cut. Our own bound, for the store's sake.
pub const ENVELOPE_OCTETS_MAX: usize = 128 * 1024;

/// Octets of all fields for BODYSTRUCTURE that are kept. Our own bound.
pub const STRUCTURE_OCTETS_MAX: usize = 128 * 1024;

/// Entries of one address field that are kept. Our own bound.
pub const ADDRESSES_MAX: usize = 2_000;

/// Parameters of one field that are read. Our own bound.
pub const PARAMETERS_MAX: usize = 64;

/// What one pass over a message finds.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) envelope: EnvelopeItem,
    pub(crate) body: BodyPart,
    /// `References`, unfolded.
    pub(crate) references: Option<String>,
}

/// Indexes a message.
pub(crate) fn index(message: &[u8]) -> Index {
    let finder = Finder::new(b"\n--");
    let (envelope_left, structure_left) = (ENVELOPE_OCTETS_MAX, STRUCTURE_OCTETS_MAX);
    let mut indexer = Indexer { message, finder, boundaries: Vec::new(), parts: 0, depth: 0, envelope_left, structure_left };
    let header = indexer.header(0);
    let envelope = indexer.envelope(&header.fields);
    let references = indexer.text(&header.fields, Name::References);
    let (body, _) = indexer.part(0, &header, "plain");
    Index { envelope, body, references }
}

struct Indexer<'m> {
    message: &'m [u8],
    /// Finds lines that start like a boundary.
    finder: Finder<'static>,
    /// The boundaries of the multiparts around this place, outermost first.
    boundaries: Vec<Vec<u8>>,
    parts: usize,
    depth: usize,
    envelope_left: usize,
    structure_left: usize,
}

/// A boundary line.
#[derive(Clone, Copy)]
struct Stop {
    /// Where the line starts.
    at: usize,
    /// Where the next line starts.
    after: usize,
    /// Whose boundary it is: an index of `Indexer::boundaries`.
    level: usize,
    /// Whether it is the last of its multipart.
    closes: bool,
}

/// A header and where it ends: at an empty line, or at a boundary.
struct Header<'m> {
    fields: Known<'m>,
    body_start: usize,
    stop: Option<Stop>,
}

impl<'m> Indexer<'m> {
    fn slice(&self, from: usize, to: usize) -> &'m [u8] {
        self.message.get(from..to).unwrap_or_default()
    }

    /// Reads the header that starts at `start`.
    fn header(&self, start: usize) -> Header<'m> {
        let mut at = start;
        let stop = loop {
            let end = line_end(self.message, at);
            if let Some(stop) = self.boundary_at(at) {
                break Some(stop);
            }
            let line = self.slice(at, end);
            at = end;
            if line.is_empty() || header::is_empty_line(line) {
                break None;
            }
        };
        let body_start = if stop.is_some() { self.body_end(start, stop) } else { at };
        Header { fields: Known::read(self.slice(start, body_start)), body_start, stop }
    }

    /// The boundary line that starts at `at`, if one does; the innermost multipart is asked first.
    fn boundary_at(&self, at: usize) -> Option<Stop> {
        let line = self.message.get(at..)?.strip_prefix(b"--")?;
        self.boundaries.iter().enumerate().rev().find_map(|(level, boundary)| {
            let rest = line.strip_prefix(boundary.as_slice())?;
            let (rest, closes) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
            let end = rest.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
            let width = match rest.get(end..)? {
                [] => 0,
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return None,
            };
            Some(Stop { at, after: self.message.len() - rest.len() + end + width, level, closes })
        })
    }

    /// The next boundary line at or behind the line that starts at `from`.
    fn boundary_after(&self, from: usize) -> Option<Stop> {
        if self.boundaries.is_empty() {
            return None;
        }
        let mut at = from;
        loop {
            if let Some(stop) = self.boundary_at(at) {
                return Some(stop);
            }
            at += self.finder.find(self.message.get(at..)?)? + 1;
        }
    }

    /// Where a body ends that is ended by `stop`: the line end before a boundary belongs to the boundary.
    fn body_end(&self, body_start: usize, stop: Option<Stop>) -> usize {
        let Some(stop) = stop else { return self.message.len() };
        let body = self.slice(body_start, stop.at);
        let body = body.strip_suffix(b"\n").map_or(body, |body| body.strip_suffix(b"\r").unwrap_or(body));
        body_start + body.len()
    }

    /// The part whose header has been read, and the boundary that ended it.
    fn part(&mut self, header_start: usize, header: &Header<'m>, default: &str) -> (BodyPart, Option<Stop>) {
        self.parts += 1;
        let mut part = self.described(&header.fields, default);
        let start = header.body_start;
        let (inside, stop) = match header.stop {
            Some(stop) => (nothing_inside(&part, start), Some(stop)),
            None if part.media == "multipart" => self.multipart(&part, start),
            None if is_message(&part) => self.nested(start),
            None => (Inside::Leaf, self.boundary_after(start)),
        };
        // The empty line that ends a header within is not taken away from it by a boundary right behind it.
        let end = self.body_end(start, stop).max(inside_end(&inside));
        (part.header_start, part.body_start, part.body_end) = (header_start as u64, start as u64, end as u64);
        part.inside = inside;
        if part.media == "text" || part.message().is_some() {
            part.lines = lines(self.slice(start, end));
        }
        (part, stop)
    }

    fn multipart(&mut self, part: &BodyPart, start: usize) -> (Inside, Option<Stop>) {
        let boundary = part.parameter_decoded("boundary").filter(|boundary| !boundary.is_empty());
        let Some(boundary) = boundary.filter(|_| self.depth < DEPTH_MAX) else {
            let stop = self.boundary_after(start);
            return (self.only_text(start, stop), stop);
        };
        let default = if part.subtype == "digest" { "rfc822" } else { "plain" };
        self.boundaries.push(boundary.into_owned().into_bytes());
        self.depth += 1;
        let first = self.boundary_after(start);
        let (parts, stop) = self.parts_from(first, default);
        self.depth -= 1;
        self.boundaries.pop();
        // Ended by its own boundary, it has an epilogue up to somebody else's.
        let stop = match stop {
            Some(own) if own.level >= self.boundaries.len() => self.boundary_after(own.after),
            stop => stop,
        };
        let inside = if parts.is_empty() { self.only_text(start, first.or(stop)) } else { Inside::Parts(parts) };
        (inside, stop)
    }

    /// The parts of the innermost multipart, and the boundary that ended the last of them.
    fn parts_from(&mut self, first: Option<Stop>, default: &str) -> (Vec<BodyPart>, Option<Stop>) {
        let level = self.boundaries.len() - 1;
        let (mut parts, mut stop) = (Vec::new(), first);
        while let Some(own) = stop.filter(|stop| stop.level == level && !stop.closes && self.parts < PARTS_MAX) {
            let header = self.header(own.after);
            let (part, next) = self.part(own.after, &header, default);
            parts.push(part);
            stop = next;
        }
        (parts, stop)
    }

    /// The message in a message part.
    fn nested(&mut self, start: usize) -> (Inside, Option<Stop>) {
        let header = self.header(start);
        let envelope = self.envelope(&header.fields);
        if self.depth >= DEPTH_MAX {
            let stop = header.stop.or_else(|| self.boundary_after(header.body_start));
            let mut body = plain_text(start, header.body_start, self.body_end(header.body_start, stop));
            body.lines = lines(self.slice(header.body_start, self.body_end(header.body_start, stop)));
            return (Inside::Message(Box::new(Nested { envelope, body })), stop);
        }
        self.depth += 1;
        let (body, stop) = self.part(start, &header, "plain");
        self.depth -= 1;
        (Inside::Message(Box::new(Nested { envelope, body })), stop)
    }

    /// A multipart that has no parts is one part of text: IMAP knows no empty multipart, and readers see
    /// what came.
    fn only_text(&self, start: usize, stop: Option<Stop>) -> Inside {
        let end = self.body_end(start, stop);
        let mut part = plain_text(start, start, end);
        part.lines = lines(self.slice(start, end));
        Inside::Parts(vec![part])
    }

    /// A part as its header describes it, at no place yet.
    fn described(&mut self, fields: &Known<'m>, default: &str) -> BodyPart {
        let mut part = plain_text(0, 0, 0);
        if let Some((media, subtype, parameters)) = self.text(fields, Name::ContentType).as_deref().and_then(content_type) {
            (part.media, part.subtype, part.parameters) = (media, subtype, parameters);
        } else if default == "rfc822" {
            (part.media, part.subtype, part.parameters) = ("message".into(), default.into(), Vec::new());
        }
        let encoding = self.text(fields, Name::ContentTransferEncoding);
        if let Some(token) = encoding.as_deref().map(first_token).filter(|token| !token.is_empty()) {
            part.encoding = token.to_ascii_lowercase();
        }
        part.id = self.text(fields, Name::ContentId);
        part.description = self.text(fields, Name::ContentDescription);
        part.md5 = self.text(fields, Name::ContentMd5);
        part.location = self.text(fields, Name::ContentLocation);
        part.disposition = self.text(fields, Name::ContentDisposition).as_deref().and_then(disposition);
        part.language = self.text(fields, Name::ContentLanguage).as_deref().map(languages).unwrap_or_default();
        part
    }

    fn envelope(&mut self, fields: &Known<'m>) -> EnvelopeItem {
        let mut addresses = |name| self.text(fields, name).map(|text| header::addresses(&text, ADDRESSES_MAX)).unwrap_or_default();
        EnvelopeItem {
            from: addresses(Name::From),
            sender: addresses(Name::Sender),
            reply_to: addresses(Name::ReplyTo),
            to: addresses(Name::To),
            cc: addresses(Name::Cc),
            bcc: addresses(Name::Bcc),
            date: self.text(fields, Name::Date),
            subject: self.text(fields, Name::Subject),
            in_reply_to: self.text(fields, Name::InReplyTo),
            message_id: self.text(fields, Name::MessageId),
        }
    }

    /// A field's unfolded value, cut where the limits are reached.
    fn text(&mut self, fields: &Known<'m>, name: Name) -> Option<String> {
        let value = fields.value(name)?;
        let left = if (name as usize) < Name::Date as usize { &mut self.structure_left } else { &mut self.envelope_left };
        let kept = value.get(..FIELD_OCTETS_MAX.min(*left)).unwrap_or(value);
        *left -= kept.len();
        Some(header::unfold(kept))
    }
}

/// What is in a part whose body never started.
fn nothing_inside(part: &BodyPart, at: usize) -> Inside {
    let empty = || plain_text(at, at, at);
    match () {
        () if part.media == "multipart" => Inside::Parts(vec![empty()]),
        () if is_message(part) => Inside::Message(Box::new(Nested { envelope: EnvelopeItem::default(), body: empty() })),
        () => Inside::Leaf,
    }
}

fn is_message(part: &BodyPart) -> bool {
    part.media == "message" && matches!(part.subtype.as_str(), "rfc822" | "global")
}

/// Where the last thing in a part ends.
fn inside_end(inside: &Inside) -> usize {
    let last = match inside {
        Inside::Leaf => None,
        Inside::Parts(parts) => parts.last(),
        Inside::Message(nested) => Some(&nested.body),
    };
    last.and_then(|part| usize::try_from(part.body_end).ok()).unwrap_or(0)
}

/// A part as it is where nothing is said about it (RFC 2045 §5.2).
fn plain_text(header_start: usize, body_start: usize, body_end: usize) -> BodyPart {
    BodyPart {
        media: "text".into(),
        subtype: "plain".into(),
        parameters: vec![("charset".into(), "us-ascii".into())],
        id: None,
        description: None,
        encoding: "7bit".into(),
        md5: None,
        disposition: None,
        language: Vec::new(),
        location: None,
        header_start: header_start as u64,
        body_start: body_start as u64,
        body_end: body_end as u64,
        lines: 0,
        inside: Inside::Leaf,
    }
}

/// Lines of a body; a last line without an end counts.
fn lines(body: &[u8]) -> u64 {
    let ends = memchr::memchr_iter(b'\n', body).count() as u64;
    ends + u64::from(body.last().is_some_and(|last| *last != b'\n'))
}

/// The fields that the index reads; those of the structure come before `Date`.
#[derive(Clone, Copy)]
enum Name {
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentMd5,
    ContentDisposition,
    ContentLanguage,
    ContentLocation,
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    References,
}

/// Their names, in the order of [`Name`].
const NAMES: [&str; 19] = [
    "content-type",
    "content-transfer-encoding",
    "content-id",
    "content-description",
    "content-md5",
    "content-disposition",
    "content-language",
    "content-location",
    "date",
    "subject",
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "in-reply-to",
    "message-id",
    "references",
];

/// The first field of each name, raw.
struct Known<'m> {
    values: [Option<&'m [u8]>; NAMES.len()],
}

impl<'m> Known<'m> {
    fn read(block: &'m [u8]) -> Self {
        let mut known = Self { values: [None; NAMES.len()] };
        for field in header::fields(block) {
            let slot = NAMES.iter().zip(&mut known.values).find(|(name, value)| value.is_none() && field.is(name));
            if let Some((_, value)) = slot {
                *value = Some(field.value);
            }
        }
        known
    }

    fn value(&self, name: Name) -> Option<&'m [u8]> {
        self.values.get(name as usize).copied().flatten()
    }
}

type Parameters = Vec<(String, String)>;

/// Type and subtype in lower case and the parameters of a `Content-Type`; `None` if it names no type.
pub fn content_type(text: &str) -> Option<(String, String, Parameters)> {
    let (media, rest) = token(text, '/');
    let (subtype, rest) = token(skip_comments(rest).strip_prefix('/')?, ';');
    (!media.is_empty() && !subtype.is_empty()).then(|| (media.to_ascii_lowercase(), subtype.to_ascii_lowercase(), parameters(rest)))
}

/// A `Content-Disposition`; `None` if it names no kind (RFC 2183 §2).
fn disposition(text: &str) -> Option<Disposition> {
    let (kind, rest) = token(text, ';');
    (!kind.is_empty()).then(|| Disposition { kind: kind.to_ascii_lowercase(), parameters: parameters(rest) })
}

/// The first word of a value, and what is behind it.
fn token(text: &str, end: char) -> (&str, &str) {
    let text = skip_comments(text);
    text.split_at(text.find(|c: char| c == end || c == ';' || c == '(' || c.is_ascii_whitespace()).unwrap_or(text.len()))
}

fn first_token(text: &str) -> &str {
    token(text, ';').0
}

/// Behind white space and comments, which may nest.
fn skip_comments(text: &str) -> &str {
    let mut depth = 0_usize;
    let starts = |(_, c): &(usize, char)| {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            c => return depth == 0 && !c.is_ascii_whitespace(),
        }
        false
    };
    text.char_indices().find(starts).and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

/// `en, de` (RFC 3282 §2).
fn languages(text: &str) -> Vec<String> {
    text.split(',').map(first_token).filter(|tag| !tag.is_empty()).take(PARAMETERS_MAX).map(str::to_owned).collect()
}

/// Reads parameters: tokens and quoted strings, and what is sent instead of them: values with spaces, missing
/// semicolons, missing quotes at the end. Pieces of one value are joined (RFC 2231 §3).
fn parameters(text: &str) -> Parameters {
    let mut out: Parameters = Vec::new();
    let mut rest = text;
    while out.len() < PARAMETERS_MAX {
        rest = rest.trim_start_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        if rest.is_empty() {
            break;
        }
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let (value, after) = parameter_value(after.trim_start());
        rest = after;
        let name = name.trim().rsplit(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default().to_ascii_lowercase();
        if !name.is_empty() && !out.iter().any(|(known, _)| *known == name) {
            out.push((name, value));
        }
    }
    words::join_continuations(&mut out);
    out
}

fn parameter_value(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_value(quoted),
        None => bare_value(text),
    }
}

fn quoted_value(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, text.get(at + 1..).unwrap_or_default()),
            c => {
                escaped = false;
                value.push(c);
            }
        }
    }
    (value, "")
}

/// Up to a semicolon, or to white space behind which a comment or the next `name=` stands.
fn bare_value(text: &str) -> (String, &str) {
    let value = text.split(';').next().unwrap_or_default();
    let mut end = 0;
    for word in value.split_inclusive(|c: char| c.is_ascii_whitespace()) {
        let named = word.find('=').is_some_and(|at| at > 0);
        if end > 0 && (named || word.starts_with('(')) {
            break;
        }
        end += word.len();
    }
    let (value, rest) = text.split_at(end);
    let rest = rest.strip_prefix('(').map_or(rest, |comment| comment.split_once(')').map_or("", |(_, rest)| rest));
    (value.trim_end().to_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(part: &BodyPart, message: &str, out: &mut String) {
        use std::fmt::Write;
        let body = message.get(usize::try_from(part.body_start).unwrap()..usize::try_from(part.body_end).unwrap()).unwrap();
        let name = if part.media == "text" { &part.subtype } else { &format!("{}/{}", part.media, part.subtype) };
        match &part.inside {
            Inside::Leaf => write!(out, "{name}:{body:?}").unwrap(),
            Inside::Parts(parts) => {
                write!(out, "{name}(").unwrap();
                for (at, part) in parts.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " " });
                    outline(part, message, out);
                }
                out.push(')');
            }
            Inside::Message(nested) => {
                write!(out, "{name}<").unwrap();
                outline(&nested.body, message, out);
                out.push('>');
            }
        }
    }

    /// `input` is written with LF for CRLF and with `B` for the field of a multipart with that boundary.
    fn check(input: &str, want: &str) {
        let message = input.replace("\nMULTI ", "\nContent-Type: multipart/mixed; boundary=").replace('\n', "\r\n");
        let message = message.trim_start_matches("\r\n");
        let mut out = String::new();
        outline(&index(message.as_bytes()).body, message, &mut out);
        assert_eq!(out, want, "{message}");
    }

    #[test]
    fn single_parts() {
        check("", "plain:\"\"");
        check("A: b\n\nbody\n", "plain:\"body\\r\\n\"");
        check("A: b\n", "plain:\"\"");
        check("Content-Type: TEXT/Html; x=y\n\nbody", "html:\"body\"");
        check("Content-Type: garbage\n\nbody", "plain:\"body\"");
        check("Content-Type: image/\n\nbody", "plain:\"body\"");
        check("A: b\n\n--x\nbody", "plain:\"--x\\r\\nbody\"");
    }

    #[test]
    fn multiparts() {
        check(
            "\nMULTI b\n\npre\n--b\n\none\n--b  \nContent-Type: image/gif\n\ntwo\n\n--b--\nepi\n",
            "multipart/mixed(plain:\"one\" image/gif:\"two\\r\\n\")",
        );
        check(
            "\nMULTI b\n\n--b\n\nin --b line\n--bc\n --b\n--b-\n--b",
            "multipart/mixed(plain:\"in --b line\\r\\n--bc\\r\\n --b\\r\\n--b-\" plain:\"\")",
        );
        check("\nMULTI b\n\n--b\n--b\n\n--b\nA: b\n--b--", "multipart/mixed(plain:\"\" plain:\"\" plain:\"\")");
        check("\nMULTI \"a b\"\n\n--a b\n\nx\n--a b--", "multipart/mixed(plain:\"x\")");
        check("\nMULTI a\n\n--a\nMULTI b\n\n--b\n\nx\n--b--\n--a\n\ny\n--a--", "multipart/mixed(multipart/mixed(plain:\"x\") plain:\"y\")");
    }

    #[test]
    fn broken_multiparts() {
        // No boundary anywhere: what came is shown as text.
        check("\nMULTI b\n\nhello\n", "multipart/mixed(plain:\"hello\\r\\n\")");
        check("Content-Type: multipart/mixed\n\n--b\n\nx", "multipart/mixed(plain:\"--b\\r\\n\\r\\nx\")");
        check("\nMULTI b\n\npre\n--b--\nepi", "multipart/mixed(plain:\"pre\")");
        // Cut off within a part, and within a header.
        check("\nMULTI b\n\n--b\n\none\ntwo", "multipart/mixed(plain:\"one\\r\\ntwo\")");
        check("\nMULTI b\n\n--b\nA: b", "multipart/mixed(plain:\"\")");
        // The inner one is never closed.
        check("\nMULTI a\n\n--a\nMULTI b\n\n--b\n\nx\n--a\n\ny\n--a--", "multipart/mixed(multipart/mixed(plain:\"x\") plain:\"y\")");
        // The inner one takes the outer's boundary: it is the innermost's.
        check("\nMULTI a\n\n--a\nMULTI a\n\n--a\n\nx\n--a--\n--a\n\ny\n--a--", "multipart/mixed(multipart/mixed(plain:\"x\") plain:\"y\")");
        check("\nMULTI a\n\n--a\nMULTI b\n--a--", "multipart/mixed(multipart/mixed(plain:\"\"))");
    }

    #[test]
    fn messages_in_messages() {
        check("Content-Type: message/rfc822\n\nSubject: in\n\nbody", "message/rfc822<plain:\"body\">");
        check(
            "\nMULTI a\n\n--a\nContent-Type: message/rfc822\n\nMULTI b\n\n--b\n\nx\n--b--\n\n--a\n\ny\n--a--",
            "multipart/mixed(message/rfc822<multipart/mixed(plain:\"x\")> plain:\"y\")",
        );
        check("\nMULTI a\n\n--a\nContent-Type: message/rfc822\n\nSubject: cut\n--a--", "multipart/mixed(message/rfc822<plain:\"\">)");
        check("\nMULTI a\n\n--a\nContent-Type: message/rfc822\n--a--", "multipart/mixed(message/rfc822<plain:\"\">)");
        check(
            "Content-Type: multipart/digest; boundary=a\n\n--a\n\nFrom: x\n\nin\n--a\nContent-Type: text/plain\n\nt\n--a--",
            "multipart/digest(message/rfc822<plain:\"in\"> plain:\"t\")",
        );
    }

    #[test]
    fn parameters_are_read_as_they_are_sent() {
        let check = |input: &str, want: &str| {
            let (media, subtype, parameters) = content_type(input).unwrap_or_default();
            let shown = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|");
            assert_eq!(format!("{media}/{subtype} {shown}"), want, "{input}");
        };
        check("text/plain; charset =us-ascii (Plain text)", "text/plain charset=us-ascii");
        check(" Text / HTML ;charset= \"a\\\"b\";x=y", "text/html charset=a\"b|x=y");
        check(
            "message/external-body; access-type=mail-server server=\"l@b\"; name=a b.ps",
            "message/external-body access-type=mail-server|server=l@b|name=a b.ps",
        );
        check("image/png; name=foo(1).png", "image/png name=foo(1).png");
        check("image/gif; name==?iso-8859-6?b?5dHNy?=.gif", "image/gif name==?iso-8859-6?b?5dHNy?=.gif");
        check("multipart/mixed\tboundary=\"b c\"", "multipart/mixed boundary=b c");
        check("text/plain ;;;;; = ;; name=\"value", "text/plain name=value");
        check("text/plain; a=1; A=2; b", "text/plain a=1");
        check("x/y; name*1=b; name*0=\"a c\"", "x/y name=a cb");
        check("x/y; f*0*=utf-8''%41; f*1=\" b\"", "x/y f*=utf-8''%41%20b");
        check("text/plain; name=", "text/plain name=");
        check("(hello) text (plain) / (world) plain (eod); x=y", "text/plain x=y");
        for none in ["", "text", "/", "/x", "; a=b", "text/"] {
            check(none, "/ ");
        }
    }

    /// Counts parts and the depth of the tree.
    fn size(part: &BodyPart) -> (usize, usize) {
        let inner: Vec<&BodyPart> = part.parts().iter().chain(part.message().map(|nested| &nested.body)).collect();
        let sizes: Vec<_> = inner.into_iter().map(size).collect();
        (1 + sizes.iter().map(|size| size.0).sum::<usize>(), 1 + sizes.iter().map(|size| size.1).max().unwrap_or(0))
    }

    #[test]
    fn hostile_messages_stay_within_the_limits() {
        let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000);
        let distinct: String =
            (0..10_000).flat_map(|n| [format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n"), format!("--b{n}\r\n")]).collect();
        let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
        let wide = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n".repeat(20_000));
        let dashes = format!("{}{}", distinct.get(..4000).unwrap(), "--b1x\r\n".repeat(20_000));
        let words = format!("Subject: {}\r\n\r\n", "=?utf-8?Q?=C3=A9?= ".repeat(50_000));
        let fields = "a:b\r\n".repeat(50_000);
        let parameters = format!("Content-Type: text/plain{}\r\n\r\n", "; a*0=b".repeat(50_000));
        for message in [nested, distinct, messages, wide, dashes, words, fields, parameters] {
            let (parts, depth) = size(&index(message.as_bytes()).body);
            assert!(parts <= 2 * PARTS_MAX && depth <= DEPTH_MAX + 2, "{parts} parts, {depth} deep");
        }
    }

    #[test]
    fn long_address_lists_do_not_hide_the_structure() {
        let list = "someone@example.org, ".repeat(20_000);
        let message = format!("To: {list}\r\nCc: {list}\r\nBcc: {list}\r\nContent-Type: image/gif\r\n\r\nx");
        let index = index(message.as_bytes());
        assert_eq!(index.body.media, "image");
        assert!(index.envelope.to.len() <= ADDRESSES_MAX && index.envelope.bcc.is_empty());
    }
}
