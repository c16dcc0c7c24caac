//! The languages of what people may read in replies (RFC 6856 §3).
//!
//! Not codes, numbers and listings: programs read those.
//!
//! Invariant: every sentence that the session says is in the table; a test reads the sources for it.

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `de`
    German,
}

/// What is said behind `+OK` or `-ERR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A sentence of the table, in English.
    Fixed(&'static str),
    /// What is the same in every language.
    Data(String),
    /// So many messages and octets.
    Totals(u64, u64),
    /// Octets that follow.
    Octets(u64),
    /// How many messages are gone at the end.
    Removed(u64),
    /// How a command is written.
    Expected(&'static str),
    /// The language from now on.
    Chosen,
}

impl From<&'static str> for Words {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl Language {
    /// Every language, the default first.
    pub(super) const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its tag (RFC 5646).
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// Its name in itself.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// The language that a basic language range (RFC 4647 §2.1) asks for; `*` is the default. `de-AT` finds `de`.
    pub(super) fn matching(range: &str, default: Self) -> Option<Self> {
        if range == "*" {
            return Some(default);
        }
        let first = range.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(first))
    }

    pub(super) fn say(self, words: &Words) -> String {
        match self {
            Self::English => english(words),
            Self::German => german(words),
        }
    }
}

fn english(words: &Words) -> String {
    match words {
        Words::Fixed(text) => (*text).to_owned(),
        Words::Data(text) => text.clone(),
        Words::Totals(messages, octets) => format!("{} ({octets} octets)", counted(*messages, "message", "messages")),
        Words::Octets(octets) => format!("{octets} octets"),
        Words::Removed(messages) => format!("bye, {} removed", counted(*messages, "message", "messages")),
        Words::Expected(usage) => format!("expected: {usage}"),
        Words::Chosen => "en English it is".to_owned(),
    }
}

fn german(words: &Words) -> String {
    match words {
        Words::Fixed(text) => translated(text).unwrap_or(text).to_owned(),
        Words::Data(text) => text.clone(),
        Words::Totals(messages, octets) => format!("{} ({octets} Oktette)", counted(*messages, "Nachricht", "Nachrichten")),
        Words::Octets(octets) => format!("{octets} Oktette"),
        Words::Removed(messages) => format!("bis bald, {} entfernt", counted(*messages, "Nachricht", "Nachrichten")),
        Words::Expected(usage) => format!("erwartet: {usage}"),
        Words::Chosen => "de Ab jetzt auf Deutsch".to_owned(),
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// The German for a sentence.
fn translated(english: &str) -> Option<&'static str> {
    Some(match english {
        "TLS is active already" => "TLS ist schon aktiv",
        "TLS is not offered here" => "TLS wird hier nicht angeboten",
        "begin TLS" => "TLS kann beginnen",
        "send PASS" => "weiter mit PASS",
        "passwords are not taken in clear: use STLS first" => "Passwörter nicht unverschlüsselt: erst STLS",
        "passwords are not taken in clear" => "Passwörter nicht unverschlüsselt",
        "too many failed logins; try again later" => "zu viele Anmeldungen sind fehlgeschlagen, bitte später noch einmal",
        "USER first" => "erst USER",
        "this mechanism is not offered; see CAPA" => "dieses Verfahren wird nicht angeboten, siehe CAPA",
        "the initial response is not base64" => "die erste Antwort ist kein Base64",
        "the response is not base64" => "die Antwort ist kein Base64",
        "cancelled" => "abgebrochen",
        "this login may not act as that identity" => "diese Anmeldung darf nicht für diese Identität handeln",
        "login or password is wrong" => "Anmeldename oder Passwort falsch",
        "the response makes no sense" => "die Antwort ist nicht zu verstehen",
        "this cannot be checked now; try again later" => "das lässt sich gerade nicht prüfen, bitte später wieder",
        "this account is switched off; ask your administrator" => "dieses Konto ist abgeschaltet, bitte an die Verwaltung wenden",
        "too many errors" => "zu viele Fehler",
        "the line is too long" => "die Zeile ist zu lang",
        "lines end in CRLF" => "Zeilen enden mit CRLF",
        "unknown command" => "unbekannter Befehl",
        "not UTF-8" => "kein UTF-8",
        "already logged in" => "schon angemeldet",
        "nothing done" => "nichts getan",
        "bye" => "bis bald",
        "UTF-8 is always welcome" => "UTF-8 ist immer willkommen",
        "log in first" => "erst anmelden",
        "another session has this maildrop; try again when it is done" => "eine andere Sitzung hat dieses Postfach, bitte danach wieder",
        "mail was fetched a moment ago; wait longer between logins" => "die Post wurde gerade erst geholt, bitte länger warten",
        "the deleted messages could not be removed; all are kept" => {
            "die gelöschten Nachrichten ließen sich nicht entfernen, alle sind noch da"
        }
        "this cannot be done now; try again later" => "das geht gerade nicht, bitte später wieder",
        "the server is stopping; nothing was removed" => "der Server hält an, nichts wurde entfernt",
        "deleted at QUIT" => "wird mit QUIT gelöscht",
        "unique ids follow" => "die Kennungen folgen",
        "somebody removed this message in the meantime" => "diese Nachricht ist inzwischen entfernt worden",
        "the message cannot be read now; try again later" => "die Nachricht lässt sich gerade nicht lesen, bitte später wieder",
        "no such message" => "diese Nachricht gibt es nicht",
        "languages follow" => "die Sprachen folgen",
        "this language is not spoken here; see LANG" => "diese Sprache wird hier nicht gesprochen, siehe LANG",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_find_languages() {
        for (range, want) in [
            ("*", Some(Language::German)),
            ("en", Some(Language::English)),
            ("DE", Some(Language::German)),
            ("de-AT", Some(Language::German)),
            ("den", None),
            ("MUL", None),
            ("", None),
        ] {
            assert_eq!(Language::matching(range, Language::German), want, "{range}");
        }
    }

    /// Every text behind `ok(`, `error(` and `coded(Code::…,` in the sources.
    #[test]
    fn every_sentence_has_its_translation() {
        let sources = [include_str!("authorization.rs"), include_str!("session.rs"), include_str!("transaction.rs")].concat();
        let starts = ["ok(\"", "error(\"", "broken_line(\"", "{ \""].into_iter().map(str::to_owned);
        let coded = ["InUse", "SysTemp", "SysPerm", "Auth", "Utf8", "LoginDelay"].map(|code| format!("coded(Code::{code}, \""));
        let mut sentences = 0;
        for start in starts.chain(coded) {
            for (at, _) in sources.match_indices(&start) {
                let text = sources[at + start.len()..].split('"').next().unwrap();
                sentences += 1;
                assert!(translated(text).is_some(), "{text:?} has no German");
            }
        }
        assert!(sentences > 30, "{sentences}");
    }
}
