//! Macros: what a milter is told besides a stage itself, by names such as `i` and `{client_addr}`.
//!
//! Each stage has its names, which are Postfix's and Sendmail's unless the milter asks for others. A macro without a value is
//! left out.

use crate::packet::Data;
use std::collections::BTreeMap;

/// The stages of a transaction that have macros; the numbers are `SMFIM_CONNECT` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the stages are SMTP's")]
pub enum Stage {
    Connect = 0,
    Helo = 1,
    Mail = 2,
    Rcpt = 3,
    Data = 4,
    EndOfMessage = 5,
    EndOfHeader = 6,
}

impl Stage {
    const ALL: [Self; 7] = [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfMessage, Self::EndOfHeader];

    /// The letter of the command that the macros are for.
    const fn command(self) -> u8 {
        match self {
            Self::Connect => b'C',
            Self::Helo => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::EndOfMessage => b'E',
            Self::EndOfHeader => b'N',
        }
    }

    /// What a milter is told that does not say what it wants.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &[
                "j",
                "_",
                "v",
                "{daemon_name}",
                "{daemon_addr}",
                "{daemon_port}",
                "{client_addr}",
                "{client_name}",
                "{client_port}",
                "{client_ptr}",
                "{if_addr}",
                "{if_name}",
            ],
            Self::Helo => &["{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"],
            Self::Mail => &["i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}", "{mail_mailer}"],
            Self::Rcpt => &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
            Self::Data | Self::EndOfMessage | Self::EndOfHeader => &["i"],
        }
    }
}

/// Every macro that has a value, by its name: `i`, `{client_addr}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<&'static str, String>);

impl Symbols {
    /// Gives a macro a value; an empty one is none. NUL, which would end it early, becomes a blank.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name, value.replace('\0', " "));
        }
    }

    /// The value of a macro. `{i}` and `i` are the same name (`smfi_getsymval`).
    fn value(&self, name: &str) -> Option<&str> {
        let bare = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).filter(|bare| bare.len() == 1);
        self.0.get(bare.unwrap_or(name)).map(String::as_str)
    }
}

/// Which macros a milter wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted(BTreeMap<Stage, Vec<String>>);

/// Most names that a milter may ask for at one stage; those beyond are not told. Our own bound.
const NAMES_MAX: usize = 64;

impl Wanted {
    /// Reads what stands behind the options of a milter that negotiates: stage and names, again and again (`SMFIF_SETSYMLIST`).
    /// What cannot be read is passed over: macros are never vital.
    pub fn parse(mut data: Data<'_>) -> Self {
        let mut wanted = Self::default();
        while let (Some(number), Some(names)) = (data.number(), data.last_text()) {
            let Some(stage) = Stage::ALL.into_iter().find(|stage| *stage as u32 == number) else { continue };
            let names = String::from_utf8_lossy(names);
            let names = names.split([' ', ',']).filter(|name| !name.is_empty()).take(NAMES_MAX).map(braced).collect();
            wanted.0.insert(stage, names);
        }
        wanted
    }

    /// The data of the packet of macros for a stage; `None` if there is nothing to tell.
    pub(crate) fn packet(&self, stage: Stage, symbols: &Symbols) -> Option<Vec<u8>> {
        let mut data = vec![stage.command()];
        let mut tell = |name: &str| {
            if let Some(value) = symbols.value(name) {
                data.extend_from_slice(name.as_bytes());
                data.push(0);
                data.extend_from_slice(value.as_bytes());
                data.push(0);
            }
        };
        match self.0.get(&stage) {
            Some(names) => names.iter().for_each(|name| tell(name)),
            None => stage.names().iter().for_each(|name| tell(name)),
        }
        (data.len() > 1).then_some(data)
    }
}

/// Names of several letters stand in braces; some milters leave them out.
fn braced(name: &str) -> String {
    if name.len() == 1 || name.starts_with('{') { name.to_owned() } else { format!("{{{name}}}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        let mut symbols = Symbols::default();
        symbols.set("i", "Q1");
        symbols.set("{rcpt_addr}", "ann@a.example");
        symbols.set("{rcpt_host}", "");
        symbols
    }

    fn told(wanted: &Wanted, stage: Stage) -> Option<String> {
        wanted.packet(stage, &symbols()).map(|data| String::from_utf8(data).unwrap().replace('\0', "|"))
    }

    #[test]
    fn macros_with_a_value_are_told() {
        let wanted = Wanted::default();
        assert_eq!(told(&wanted, Stage::Rcpt).as_deref(), Some("Ri|Q1|{rcpt_addr}|ann@a.example|"));
        assert_eq!(told(&wanted, Stage::Helo), None);
    }

    #[test]
    fn a_milter_may_choose_its_macros() {
        let mut data = 3_u32.to_be_bytes().to_vec();
        data.extend_from_slice(b"rcpt_addr {i}, {unknown}\0");
        data.extend_from_slice(&99_u32.to_be_bytes());
        data.extend_from_slice(b"i\0");
        data.extend_from_slice(&2_u32.to_be_bytes());
        data.extend_from_slice(b"\0");
        let wanted = Wanted::parse(Data::new(&data));
        assert_eq!(told(&wanted, Stage::Rcpt).as_deref(), Some("R{rcpt_addr}|ann@a.example|{i}|Q1|"));
        assert_eq!(told(&wanted, Stage::Mail), None, "it wants none");
        assert_eq!(told(&wanted, Stage::Data).as_deref(), Some("Ti|Q1|"), "it did not say");
    }
}
