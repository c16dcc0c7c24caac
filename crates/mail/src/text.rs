//! What a person reads in a message: text parts and header fields decoded to UTF-8, for previews and SEARCH.
//!
//! Not for display: HTML is stripped by crude means, which is safe for matching words and for one line of
//! plain text, and for nothing else.
//!
//! Invariant: the work and the memory for one message are bounded by the limits below.

use crate::charset;
use crate::digest::{BodyPart, Digest, Inside};
use crate::encoding::{self, TransferEncoding};
use crate::{header, words};

/// Octets of one text part, encoded, that SEARCH looks at. Our own bound; the text of mail is far below it.
pub const PART_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// Octets of plain text that a preview is made from.
const PREVIEW_PLAIN_OCTETS: usize = 2 * 1024;

/// Octets of HTML that a preview is made from: style sheets come before words.
const PREVIEW_HTML_OCTETS: usize = 16 * 1024;

/// Parts that are tried for a preview.
const PREVIEW_PARTS_MAX: usize = 4;

/// The text parts of a message, those of messages in it included, in order.
pub fn parts(root: &BodyPart) -> Vec<&BodyPart> {
    let mut found = Vec::new();
    gather(root, &mut found);
    found
}

fn gather<'a>(part: &'a BodyPart, found: &mut Vec<&'a BodyPart>) {
    match &part.inside {
        Inside::Leaf if part.media == "text" => found.push(part),
        Inside::Leaf => {}
        Inside::Parts(parts) => parts.iter().for_each(|part| gather(part, found)),
        Inside::Message(nested) => gather(&nested.body, found),
    }
}

/// The text of a part from its body's octets, at most [`PART_OCTETS_MAX`] of them; HTML without its tags.
pub fn decode(part: &BodyPart, body: &[u8]) -> String {
    let body = body.get(..PART_OCTETS_MAX).unwrap_or(body);
    let octets = match TransferEncoding::parse(&part.encoding) {
        TransferEncoding::Identity => body,
        encoding => &encoding::decode(encoding, body),
    };
    let text = charset::decode(&part.parameter_decoded("charset").unwrap_or_default(), octets);
    if part.subtype == "html" { strip_html(&text) } else { text.into_owned() }
}

/// The texts of a whole message in order, for SEARCH BODY.
pub fn texts<'a>(message: &'a [u8], root: &'a BodyPart) -> impl Iterator<Item = String> + 'a {
    parts(root).into_iter().map(move |part| decode(part, body(message, part)))
}

/// The fields of a header block, names as they are and values unfolded and decoded, for SEARCH HEADER and TEXT.
pub fn fields(block: &[u8]) -> impl Iterator<Item = (String, String)> + '_ {
    header::fields(block).map(|field| {
        let value = field.value.get(..PART_OCTETS_MAX).unwrap_or(field.value);
        (String::from_utf8_lossy(field.name).into_owned(), words::decode(&header::unfold(value)).into_owned())
    })
}

fn body<'a>(message: &'a [u8], part: &BodyPart) -> &'a [u8] {
    let range = usize::try_from(part.body_start).ok().zip(usize::try_from(part.body_end).ok());
    range.and_then(|(start, end)| message.get(start..end)).unwrap_or_default()
}

/// The first words of a message on one line, plain text before HTML (RFC 8970 §3).
pub(crate) fn preview(message: &[u8], root: &BodyPart) -> String {
    let parts = parts(root);
    let of_kind = |html: bool| parts.iter().filter(move |part| (part.subtype == "html") == html).take(PREVIEW_PARTS_MAX);
    let tried = of_kind(false).chain(of_kind(true)).map(|part| part_preview(message, part));
    tried.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

fn part_preview(message: &[u8], part: &BodyPart) -> String {
    let octets = if part.subtype == "html" { PREVIEW_HTML_OCTETS } else { PREVIEW_PLAIN_OCTETS };
    let whole = body(message, part);
    let text = decode(part, whole.get(..octets).unwrap_or(whole));
    // What others wrote before is no news, and a cut may have left half a character at the end.
    let lines = text.trim_end_matches('\u{fffd}').lines().filter(|line| !line.starts_with('>'));
    one_line(lines, Digest::PREVIEW_CHARS_MAX)
}

/// Words with single spaces, without the invisible padding of newsletters, at most `chars_max` characters.
fn one_line<'a>(lines: impl Iterator<Item = &'a str>, chars_max: usize) -> String {
    let padding = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    let mut out = String::new();
    let mut chars = 0;
    for word in lines.flat_map(|line| line.split(padding)).filter(|word| !word.is_empty()) {
        let space = usize::from(chars > 0);
        if chars + space >= chars_max {
            break;
        }
        out.push_str(if space == 1 { " " } else { "" });
        let taken = word.chars().take(chars_max - chars - space);
        chars += space + taken.clone().count();
        out.extend(taken);
    }
    out
}

/// Elements whose content is not read by people.
const UNREAD: [&str; 4] = ["style", "script", "head", "title"];

/// Elements that stand within a word.
const WITHIN_WORDS: [&str; 9] = ["a", "b", "i", "u", "em", "strong", "span", "font", "wbr"];

/// HTML without tags, comments, styles and scripts, and with its commonest entities as characters.
pub fn strip_html(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some((words, tag)) = rest.split_once('<') {
        push_entities(words, &mut out);
        rest = after_tag(tag, &mut out).unwrap_or_default();
    }
    push_entities(rest, &mut out);
    out
}

/// What is behind a tag or comment, or behind the whole of an element nobody reads; `None` if it has no end.
fn after_tag<'a>(tag: &'a str, out: &mut String) -> Option<&'a str> {
    if let Some(comment) = tag.strip_prefix("!--") {
        return comment.split_once("-->").map(|(_, rest)| rest);
    }
    if !tag.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
        out.push('<');
        return Some(tag);
    }
    let (inside, rest) = tag.split_once('>')?;
    let name = inside.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    if !WITHIN_WORDS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        out.push(' ');
    }
    if !inside.starts_with('/') && UNREAD.iter().any(|unread| name.eq_ignore_ascii_case(unread)) {
        return behind_element(rest, name);
    }
    Some(rest)
}

fn behind_element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = rest.split_once("</")?.1;
        if rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return rest.split_once('>').map(|(_, rest)| rest);
        }
    }
}

/// Longest entity between `&` and `;`, octets.
const ENTITY_OCTETS_MAX: usize = 10;

fn push_entities(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let window = after.get(..after.floor_char_boundary(ENTITY_OCTETS_MAX + 1)).unwrap_or_default();
        let found = window.split_once(';').and_then(|(name, _)| Some((entity(name)?, after.get(name.len() + 1..)?)));
        out.push(found.map_or('&', |(c, _)| c));
        rest = found.map_or(after, |(_, rest)| rest);
    }
    out.push_str(rest);
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hex = number.strip_prefix(['x', 'X']);
        let code = hex.map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "shy" => '\u{ad}',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "euro" => '€',
        "copy" => '©',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_stripped() {
        for (input, want) in [
            ("a<b>b</b>c<br>d", "abc d"),
            ("<style>p{}</style>x<script>if (a</b) </SCRIPT >y", " x y"),
            ("x<!-- <p> -->y", "xy"),
            ("1 < 2 &amp;&lt;&#65;&#x42;&bogus;&", "1 < 2 &<AB&bogus;&"),
            ("x<unclosed", "x"),
            ("x<style>never closed", "x "),
            ("&#0;&#xd800;", "&#0;&#xd800;"),
        ] {
            assert_eq!(strip_html(input), want, "{input}");
        }
    }

    #[test]
    fn hostile_html_costs_no_more_than_its_length() {
        for piece in ["<", "<style>", "</", "&", "<!--", "<a", "<style></"] {
            strip_html(&piece.repeat(300_000 / piece.len()));
        }
    }

    #[test]
    fn previews_are_one_line_of_what_is_new() {
        let check = |message: &str, want: &str| assert_eq!(Digest::of(message.replace('\n', "\r\n").as_bytes()).preview, want, "{message}");
        check("A: b\n\nHello,\n\n> old\nworld \t!\n", "Hello, world !");
        check("Content-Transfer-Encoding: base64\n\nSGVsbG8=\n", "Hello");
        check("Content-Type: text/html\n\n<title>no</title><p>Hi&nbsp;&zwnj; <b>t</b>here", "Hi there");
        check("Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>h\n--b\n\nplain\n--b--", "plain");
        check("Content-Type: multipart/alternative; boundary=b\n\n--b\n\n \n--b\nContent-Type: text/html\n\n<p>h\n--b--", "h");
        check("Content-Type: image/gif\n\nGIF", "");
        check(&format!("\n\n{}", "é".repeat(3000)), &"é".repeat(200));
        check(&format!("\n\n{}", "four ".repeat(300)), "four ".repeat(40).trim_end());
    }

    #[test]
    fn search_sees_decoded_texts_and_fields() {
        let message = b"Subject: =?utf-8?Q?caf=C3=A9?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nna=EFve";
        let digest = Digest::of(message);
        assert_eq!(texts(message, &digest.body).collect::<Vec<_>>(), ["naïve"]);
        assert_eq!(fields(message).next(), Some(("Subject".to_owned(), "café".to_owned())));
    }
}
