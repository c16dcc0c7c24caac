//! Address lists of header fields as they are really written (RFC 5322 §3.4, §4.4; RFC 6854 groups).
//!
//! Not the addresses of an envelope: those are [`crate::Address`], and valid.
//!
//! Invariants: any text is read without an error in linear time; encoded words stay as they are; a mailbox
//! always has a host, empty when none was written, so that nothing broken is taken for a group.

use crate::digest::AddressItem;

/// Octets within which an encoded word or a domain literal must end to be read in one piece.
const WORD_OCTETS_MAX: usize = 256;

#[derive(Debug, PartialEq)]
enum Token<'a> {
    /// Atoms with their dots, and encoded words.
    Atom(&'a str),
    /// The inside of a quoted string, unescaped.
    Quoted(String),
    /// The inside of a comment, unescaped.
    Comment(String),
    /// A domain literal with its brackets.
    Literal(&'a str),
    /// `<`, `>`, `@`, `,`, `;`, `:`, and strays.
    Special(char),
}

/// A token and whether white space or a comment stands before it.
struct Spaced<'a> {
    token: Token<'a>,
    space: bool,
}

/// The entries of a list, at most `max`, groups flattened as [`AddressItem`] says.
pub(crate) fn parse(text: &str, max: usize) -> Vec<AddressItem> {
    let mut list = List { items: Vec::new(), in_group: false, pending: Pending::default() };
    let mut tokens = Lexer { rest: text };
    // Room is left for the mailbox at hand and the end of its group.
    while let Some(token) = tokens.next().filter(|_| list.items.len() + 2 < max) {
        list.take(token);
    }
    list.finish();
    list.items.truncate(max);
    list.items
}

struct List<'a> {
    items: Vec<AddressItem>,
    in_group: bool,
    pending: Pending<'a>,
}

/// What is known of the mailbox that is being read.
#[derive(Default)]
struct Pending<'a> {
    /// Words outside of angle brackets.
    words: Vec<Spaced<'a>>,
    /// What stands in angle brackets; `None` before they are seen.
    angle: Option<Vec<Spaced<'a>>>,
    in_angle: bool,
    /// Within `<@a,@b:`, where a comma separates no mailboxes.
    in_route: bool,
    comment: Option<String>,
}

impl<'a> List<'a> {
    fn take(&mut self, spaced: Spaced<'a>) {
        match &spaced.token {
            Token::Comment(text) => self.pending.comment = Some(text.clone()),
            Token::Special('>') => self.pending.in_angle = false,
            Token::Special(',' | ';') if self.pending.in_route => self.pending.push(spaced),
            Token::Special(',') => self.mailbox(),
            Token::Special(';') => self.finish(),
            Token::Special('<') if self.pending.angle.is_none() => {
                self.pending.angle = Some(Vec::new());
                self.pending.in_angle = true;
            }
            Token::Special(':') if !self.in_group && self.pending.angle.is_none() => self.group(),
            _ => self.pending.push(spaced),
        }
    }

    fn group(&mut self) {
        let name = phrase(&self.pending.words);
        self.items.push(AddressItem { mailbox: Some(name), ..AddressItem::default() });
        self.in_group = true;
        self.pending = Pending::default();
    }

    fn mailbox(&mut self) {
        std::mem::take(&mut self.pending).mailboxes(&mut self.items);
    }

    /// The end of the list or of a group.
    fn finish(&mut self) {
        self.mailbox();
        if std::mem::take(&mut self.in_group) {
            self.items.push(AddressItem::default());
        }
    }
}

impl<'a> Pending<'a> {
    fn push(&mut self, spaced: Spaced<'a>) {
        match &mut self.angle {
            Some(angle) if self.in_angle => {
                self.in_route = !spaced.is(':') && (self.in_route || (angle.is_empty() && spaced.is('@')));
                angle.push(spaced);
            }
            _ => self.words.push(spaced),
        }
    }

    fn mailboxes(self, items: &mut Vec<AddressItem>) {
        let comment = self.comment.filter(|comment| !comment.is_empty());
        let Some(angle) = self.angle else {
            return bare(&self.words, comment, items);
        };
        let name = Some(phrase(&self.words)).filter(|name| !name.is_empty()).or(comment);
        let (route, rest) = split_route(&angle);
        items.push(AddressItem { name, route, ..address(rest) });
    }
}

/// Mailboxes without angle brackets: one as a rule. Where commas were forgotten there are several, and where
/// the brackets were, the words before the address are its name.
fn bare(words: &[Spaced<'_>], comment: Option<String>, items: &mut Vec<AddressItem>) {
    if words.is_empty() {
        return;
    }
    if !words.iter().any(|word| word.is('@')) {
        return items.push(AddressItem { name: comment, mailbox: Some(phrase(words)), host: Some(String::new()), route: None });
    }
    let mut name = String::new();
    for run in words.chunk_by(|a, b| !b.space || a.joins(b)) {
        if run.iter().any(|word| word.is('@')) {
            let named = Some(std::mem::take(&mut name)).filter(|name| !name.is_empty());
            items.push(AddressItem { name: named.or_else(|| comment.clone()), ..address(run) });
        } else {
            name.push_str(if name.is_empty() { "" } else { " " });
            name.push_str(&phrase(run));
        }
    }
}

impl Spaced<'_> {
    fn is(&self, special: char) -> bool {
        self.token == Token::Special(special)
    }

    /// Whether white space before `next` stands within one address: around `@` and dots (RFC 5322 §4.4).
    fn joins(&self, next: &Self) -> bool {
        let dot_before = matches!(self.token, Token::Atom(atom) if atom.ends_with('.'));
        let dot_behind = matches!(next.token, Token::Atom(atom) if atom.starts_with('.'));
        self.is('@') || next.is('@') || dot_before || dot_behind
    }
}

fn is_special(spaced: Option<&Spaced<'_>>, special: char) -> bool {
    spaced.is_some_and(|spaced| spaced.is(special))
}

/// `@a,@b:` before an address (RFC 5322 §4.4 obs-route).
fn split_route<'t, 'a>(angle: &'t [Spaced<'a>]) -> (Option<String>, &'t [Spaced<'a>]) {
    let colon = angle.iter().position(|spaced| spaced.is(':')).filter(|_| is_special(angle.first(), '@'));
    match colon.and_then(|at| angle.split_at_checked(at)) {
        Some((route, rest)) => (Some(joined(route)), rest.get(1..).unwrap_or_default()),
        None => (None, angle),
    }
}

/// `local-part@domain`, or a lone word.
fn address(words: &[Spaced<'_>]) -> AddressItem {
    let at = words.iter().rposition(|spaced| spaced.is('@'));
    let (mailbox, host) = match at.and_then(|at| words.split_at_checked(at)) {
        Some((local, domain)) => (joined(local), joined(domain.get(1..).unwrap_or_default())),
        None => (phrase(words), String::new()),
    };
    AddressItem { mailbox: Some(mailbox), host: Some(host), ..AddressItem::default() }
}

/// Words with single spaces where there was white space.
fn phrase(words: &[Spaced<'_>]) -> String {
    join(words, " ")
}

/// Words with nothing between them.
fn joined(words: &[Spaced<'_>]) -> String {
    join(words, "")
}

fn join(words: &[Spaced<'_>], space: &str) -> String {
    let mut out = String::new();
    for (at, Spaced { token, space: spaced }) in words.iter().enumerate() {
        if at > 0 && *spaced {
            out.push_str(space);
        }
        match token {
            Token::Atom(text) | Token::Literal(text) => out.push_str(text),
            Token::Quoted(text) => out.push_str(text),
            Token::Special(c) => out.push(*c),
            Token::Comment(_) => {}
        }
    }
    out
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Spaced<'a>;

    fn next(&mut self) -> Option<Spaced<'a>> {
        let text = self.rest.trim_ascii_start();
        let space = text.len() < self.rest.len();
        let first = text.chars().next()?;
        let (token, rest) = match first {
            '"' => enclosed(text, None).map(|(inside, rest)| (Token::Quoted(inside), rest)),
            '(' => enclosed(text, Some('(')).map(|(inside, rest)| (Token::Comment(inside), rest)),
            '[' => literal(text),
            _ => None,
        }
        .or_else(|| atom(text))
        .unwrap_or_else(|| (Token::Special(first), text.get(first.len_utf8()..).unwrap_or_default()));
        self.rest = rest;
        Some(Spaced { token, space })
    }
}

/// Reads a quoted string, or with `open` a comment that may hold others; what is never closed goes to the end.
fn enclosed(text: &str, open: Option<char>) -> Option<(String, &str)> {
    let close = if open.is_some() { ')' } else { '"' };
    let (mut inside, mut depth, mut escaped) = (String::new(), 0_usize, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            c if c == close && depth == 0 => return Some((inside, text.get(at + 1..)?)),
            c if c == close => depth -= 1,
            c if Some(c) == open => depth += 1,
            _ => {}
        }
        inside.push(c);
    }
    Some((inside, ""))
}

fn literal(text: &str) -> Option<(Token<'_>, &str)> {
    let window = text.get(..text.floor_char_boundary(WORD_OCTETS_MAX))?;
    let (literal, rest) = text.split_at_checked(window.find(']')? + 1)?;
    Some((Token::Literal(literal), rest))
}

fn atom(text: &str) -> Option<(Token<'_>, &str)> {
    let end = encoded_word(text).unwrap_or_else(|| {
        let stops = |c: char| c.is_ascii_whitespace() || "()<>[]:;@,\"".contains(c);
        text.find(stops).unwrap_or(text.len())
    });
    let (atom, rest) = text.split_at_checked(end)?;
    (!atom.is_empty()).then_some((Token::Atom(atom), rest))
}

/// Where the encoded word ends that the text starts with.
///
/// Deviation: commas and quotes in it are let through, which RFC 2047 §5 forbids: Apple Mail writes them.
fn encoded_word(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("=?")?;
    let window = inner.get(..inner.floor_char_boundary(WORD_OCTETS_MAX))?;
    let word = window.split(|c: char| c.is_ascii_whitespace()).next()?;
    let charset = word.find('?')?;
    let encoding = word.get(charset + 1..)?.find('?')? + charset + 1;
    let end = word.get(encoding + 1..)?.find("?=")? + encoding + 1;
    Some(2 + end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(item: &AddressItem) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
        format!("{}|{}|{}|{}", part(&item.name), part(&item.route), part(&item.mailbox), part(&item.host))
    }

    fn check(input: &str, want: &[&str]) {
        assert_eq!(parse(input, 1000).iter().map(show).collect::<Vec<_>>(), want, "{input}");
    }

    #[test]
    fn lists_of_the_rfc_are_read() {
        check("John Doe <jdoe@machine.example>", &["John Doe|-|jdoe|machine.example"]);
        check("\"Joe Q. Public\" <john.q.public@example.com>", &["Joe Q. Public|-|john.q.public|example.com"]);
        check("Joe Q. Public <john.q.public@example.com>", &["Joe Q. Public|-|john.q.public|example.com"]);
        check(
            "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            &["Mary Smith|-|mary|x.test", "-|-|jdoe|example.org", "Who?|-|one|y.test"],
        );
        check(
            "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
            &["-|-|boss|nil.test", "Giant; \"Big\" Box|-|sysservices|example.net"],
        );
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["Pete|-|pete|silly.test"]);
        check(
            "Mary Smith <@node.test,@x:mary@example.net>, , jdoe@test  . example",
            &["Mary Smith|@node.test,@x|mary|example.net", "-|-|jdoe|test.example"],
        );
        check("John Doe <jdoe@machine(comment).  example>", &["John Doe|-|jdoe|machine.example"]);
        check("jdoe@x.test (John Doe)", &["John Doe|-|jdoe|x.test"]);
        check("\"a b\"@x.test, \"c\\\"d\" . e@[192.0.2.1]", &["-|-|a b|x.test", "-|-|c\"d.e|[192.0.2.1]"]);
        check("=?ISO-8859-1?Q?Andr=E9?= Pirard <PIRARD@vm1.ulg.ac.be>", &["=?ISO-8859-1?Q?Andr=E9?= Pirard|-|PIRARD|vm1.ulg.ac.be"]);
    }

    #[test]
    fn groups_are_flattened() {
        check("A Group:Ed Jones <c@a.test>,joe@where.test;", &["-|-|A Group|-", "Ed Jones|-|c|a.test", "-|-|joe|where.test", "-|-|-|-"]);
        check("Undisclosed recipients:;", &["-|-|Undisclosed recipients|-", "-|-|-|-"]);
        check("(Empty)Hidden  :(nobody(I know))  ;", &["-|-|Hidden|-", "-|-|-|-"]);
        check("L: a@b, c@d; \"M\": e@f; g@h", &["-|-|L|-", "-|-|a|b", "-|-|c|d", "-|-|-|-", "-|-|M|-", "-|-|e|f", "-|-|-|-", "-|-|g|h"]);
        check("open: a@b", &["-|-|open|-", "-|-|a|b", "-|-|-|-"]);
    }

    #[test]
    fn broken_lists_are_read_as_far_as_they_make_sense() {
        check("", &[]);
        check(" , ,, ", &[]);
        check("root", &["-|-|root|"]);
        check("<>", &["-|-||"]);
        check("a@b@c.test", &["-|-|a@b|c.test"]);
        check("<a@b.test", &["-|-|a|b.test"]);
        check("phil@example.com <phil@example.com>", &["phil@example.com|-|phil|example.com"]);
        check("\"unclosed <a@b.test>", &["-|-|unclosed <a@b.test>|"]);
        check("x (unclosed <a@b.test>", &["unclosed <a@b.test>|-|x|"]);
        check("<a@b.com> Doe", &["Doe|-|a|b.com"]);
        check("=?utf-8?Q?Doe,_\"J\"?= <a@b>", &["=?utf-8?Q?Doe,_\"J\"?=|-|a|b"]);
        check("=?utf-8?Q?Doe, J <a@b>", &["-|-|=?utf-8?Q?Doe|", "J|-|a|b"]);
        check("Big Bug bb@bug.com", &["Big Bug|-|bb|bug.com"]);
        check("tim@a.test ann@b.test (both)", &["both|-|tim|a.test", "both|-|ann|b.test"]);
        check("bär@bücher.example", &["-|-|bär|bücher.example"]);
        check("<mailto:a@b>", &["-|-|mailto:a|b"]);
        check("a@[b", &["-|-|a|[b"]);
    }

    #[test]
    fn hostile_lists_cost_no_more_than_their_length() {
        for piece in ["=?,", "(", "\"", "<@", "<a@b>,", "[", ":;", "=?a?q?", "a@", "\\"] {
            let text = piece.repeat(100_000 / piece.len());
            assert!(parse(&text, 100).len() <= 100);
        }
    }
}
