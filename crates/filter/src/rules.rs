//! What speaks for or against a message before anybody has taught anything.
//!
//! Every rule has a name, a weight in hundredths of a point and a sentence. The weights of phrases and style were fitted
//! (`docs/filter.md`, example `calibrate`); the others were set by hand. No rule about style reaches the threshold of
//! five points alone; only what nobody sends with good intent does: a program under a document's name, a sender's domain
//! that imitates the reader's own.
//!
//! Invariant: a rule looks at the message alone; who it is from is weighed in `verdict`.

use crate::features::{Features, extension};
use crate::lookalike;
use crate::wording;

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// Hundredths of a point; above zero against the message.
    pub weight: i32,
    /// What was found, for a person.
    pub found: String,
    /// Of a rule with several weights, which it is: 1 and up; 0 of others.
    pub level: usize,
}

/// Files that run when they are opened.
const PROGRAMS: [&str; 39] = [
    "exe",
    "scr",
    "com",
    "pif",
    "bat",
    "cmd",
    "msi",
    "msp",
    "mst",
    "cpl",
    "hta",
    "js",
    "jse",
    "vbs",
    "vbe",
    "vb",
    "ws",
    "wsf",
    "wsc",
    "wsh",
    "sct",
    "ps1",
    "ps2",
    "psc1",
    "lnk",
    "scf",
    "inf",
    "reg",
    "jar",
    "iso",
    "img",
    "vhd",
    "vhdx",
    "one",
    "chm",
    "hlp",
    "gadget",
    "appref-ms",
    "library-ms",
];
/// Documents with programs in them.
const MACROS: [&str; 9] = ["docm", "dotm", "xlsm", "xltm", "xlam", "pptm", "potm", "ppam", "xll"];
/// Pages that open in a browser with the reader's trust.
const PAGES: [&str; 6] = ["html", "htm", "shtml", "xhtml", "svg", "mht"];
/// What a program's name ends with in front of its real end, to look like a document.
const DOCUMENTS: [&str; 12] = ["pdf", "doc", "docx", "xls", "xlsx", "txt", "jpg", "jpeg", "png", "zip", "mp3", "rtf"];

/// Everything that the rules find.
#[must_use]
pub fn findings(features: &Features) -> Vec<Finding> {
    signs(features).into_iter().filter(|finding| finding.weight != 0).collect()
}

/// The same with what weighs nothing: for fitting the weights.
#[must_use]
pub fn signs(features: &Features) -> Vec<Finding> {
    [files(features), links(features), author(features), shape(features), wording(features), style(features)].concat()
}

const fn finding(rule: &'static str, weight: i32, found: String) -> Finding {
    Finding { rule, weight, found, level: 0 }
}

fn files(features: &Features) -> Vec<Finding> {
    let strongest = features.files.iter().filter_map(|name| file(name)).max_by_key(|found| found.weight);
    strongest.into_iter().collect()
}

fn file(name: &str) -> Option<Finding> {
    let end = extension(name);
    let before = name.trim_end().rsplit_once('.').map_or(String::new(), |(stem, _)| extension(stem));
    let named = format!("the file {name:?}");
    match end.as_str() {
        end if PROGRAMS.contains(&end) && DOCUMENTS.contains(&before.as_str()) => {
            Some(finding("disguised-program", 800, format!("{named} is a program under a document's name")))
        }
        end if PROGRAMS.contains(&end) => Some(finding("program", 500, format!("{named} is a program"))),
        end if MACROS.contains(&end) => Some(finding("macro", 200, format!("{named} has programs in it"))),
        end if PAGES.contains(&end) => Some(finding("page", 120, format!("{named} opens in a browser"))),
        _ => None,
    }
}

fn links(features: &Features) -> Vec<Finding> {
    let links = &features.links;
    let misleading = links.iter().find(|link| link.misleads()).map(|link| {
        let shown = link.shown.as_deref().unwrap_or_default();
        // Newsletters that count their readers do so too: a hint, no proof.
        finding("misleading-link", 150, format!("a link shows {shown} and leads to {}", link.host))
    });
    let numeric =
        links.iter().find(|link| link.is_numeric()).map(|link| finding("numeric-link", 200, format!("a link leads to {}", link.host)));
    let user =
        links.iter().find(|link| link.has_user).map(|link| finding("user-in-link", 250, format!("a link hides its host {}", link.host)));
    let mixed = links.iter().find(|link| lookalike::is_mixed(&link.host));
    let mixed = mixed.map(|link| finding("mixed-link", 300, format!("a link leads to {}, which mixes scripts", link.host)));
    [misleading, numeric, user, mixed].into_iter().flatten().collect()
}

fn author(features: &Features) -> Vec<Finding> {
    let domain = features.author_domain.as_deref().unwrap_or_default();
    let mixed = lookalike::is_mixed(domain).then(|| finding("mixed-author", 400, format!("the author's domain {domain} mixes scripts")));
    let shown = features.author_name.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"' | '\'' | ','));
    let shown = shown.filter_map(|word| word.rsplit_once('@')).map(|(_, host)| host.to_lowercase()).find(|host| host.contains('.'));
    let other = shown.filter(|host| host != domain && !domain.ends_with(&format!(".{host}")));
    let other = other.map(|host| finding("address-in-name", 200, format!("the author's name shows an address at {host}")));
    [mixed, other].into_iter().flatten().collect()
}

fn shape(features: &Features) -> Vec<Finding> {
    let missing = features.missing.iter().map(|name| {
        let weight = if *name == "from" { 200 } else { 80 };
        finding("missing-field", weight, format!("it has no {name} field"))
    });
    let letters = features.subject.chars().filter(|c| c.is_alphabetic()).count();
    let capitals = features.subject.chars().filter(|c| c.is_uppercase()).count();
    let reply = features.reply_domain.as_ref().zip(features.author_domain.as_ref());
    let shapes = [
        (letters > 8 && capitals * 5 > letters * 4, "capitals", 100, "its subject is in capitals"),
        (features.subject.contains("!!") || features.subject.contains("$$"), "shouting", 80, "its subject shouts"),
        (features.is_html_only, "html-only", 60, "it has HTML and no plain text"),
        (features.images > 0 && features.text_chars < 200, "picture", 120, "it has pictures instead of text"),
        (features.has_hidden_text, "hidden-text", 60, "it has text that is not to be seen"),
        (features.fee_phrases >= 3, "advance-fee", 300, "it reads like a letter that promises money for a fee"),
        (features.fee_phrases == 2, "advance-fee", 120, "it has words of letters that promise money for a fee"),
        (reply.is_some_and(|(reply, author)| reply != author), "other-reply", 40, "replies go to another domain than the author's"),
    ];
    let shapes = shapes.into_iter().filter(|(holds, ..)| *holds).map(|(_, rule, weight, found)| finding(rule, weight, found.to_owned()));
    missing.chain(shapes).collect()
}

/// Weights of a subject's wording: one phrase, two, three or more. Fitted.
const WORDING: [(&str, [i32; 3]); wording::SUBJECTS.len()] = [
    ("wording-money", [110, 120, 300]),
    ("wording-sale", [60, 60, 60]),
    ("wording-removal", [140, 150, 230]),
    ("wording-excuse", [70, 160, 210]),
    ("wording-body", [0, 0, 80]),
    ("wording-bulk", [0, 0, 140]),
    ("wording-form", [70, 240, 250]),
    ("wording-account", [60, 150, 250]),
];

/// Weights of peculiarities, and what each is in words. Fitted.
const STYLE: [(&str, i32, &str); 19] = [
    ("loud-text", 150, "much of its text is in capitals"),
    ("exclaiming", 80, "its text exclaims much"),
    ("tail-in-subject", 150, "its subject has a tail behind spaces"),
    ("advertisement", 190, "its subject says that it is an advertisement"),
    ("money-in-subject", 120, "its subject speaks of money or percents"),
    ("exclaiming-subject", 100, "its subject exclaims"),
    ("asking-subject", 0, "its subject asks"),
    ("raw-subject", 190, "its subject has letters that should have been encoded"),
    ("nobody-named", 0, "it names nobody whom it is for"),
    ("to-its-author", 50, "it says that it is for its own author"),
    ("numbered-author", 30, "its author has a number for a name"),
    ("nameless-author", 0, "its author has no name"),
    ("hidden-by-encoding", 0, "its text is encoded so that only programs can read it"),
    ("urgent", 60, "it says that it is urgent"),
    ("form", 0, "it has a form to fill in"),
    ("split-words", 100, "its HTML has remarks within words"),
    ("removal-by-mail", 50, "one shall write to be removed"),
    ("large-type", 0, "it is in large type"),
    ("red-type", 0, "it is in red"),
];

fn wording(features: &Features) -> Vec<Finding> {
    let weighed = wording::SUBJECTS.iter().zip(WORDING.iter().map(|(_, weights)| weights));
    weighed.zip(&features.wording).filter_map(|((subject, weights), phrases)| about(subject, weights, phrases)).collect()
}

fn about(subject: &wording::Subject, weights: &[i32; 3], phrases: &[&str]) -> Option<Finding> {
    let level = phrases.len().min(weights.len());
    let weight = *weights.get(level.checked_sub(1)?)?;
    let some = phrases.iter().take(3).map(|phrase| format!("{phrase:?}")).collect::<Vec<_>>().join(", ");
    Some(Finding { level, ..finding(subject.name, weight, format!("it speaks of {}: {some}", subject.about)) })
}

fn style(features: &Features) -> Vec<Finding> {
    let holds = STYLE.iter().filter(|(rule, ..)| features.style.contains(rule));
    holds.map(|(rule, weight, words)| finding(rule, *weight, (*words).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use mail::Digest;

    fn check(message: &str, want: &str) {
        let message = format!("Date: x\r\nMessage-ID: <a@b.example>\r\nTo: c@d.example\r\n{message}");
        let features = Features::of(message.as_bytes(), &Digest::of(message.as_bytes()), &Limits::default());
        let found: Vec<_> = findings(&features).iter().map(|found| found.rule).collect();
        assert_eq!(found.join(" "), want, "{message}");
    }

    #[test]
    fn each_rule_finds_its_own() {
        check("From: a@b.example\r\nSubject: Lunch?\r\n\r\nAt noon.\r\n", "");
        check("From: a@b.example\r\nSubject: LOOK AT THIS NOW!!\r\n\r\nx\r\n", "capitals shouting exclaiming-subject");
        check("Subject: x\r\n\r\nx\r\n", "missing-field");
        check("From: \"Boss boss@here.example\" <x@elsewhere.example>\r\n\r\nx\r\n", "address-in-name");
        check("From: a@pаypal.com\r\n\r\nx\r\n", "mixed-author");
        check(
            "From: a@b.example\r\nReply-To: c@d.example\r\n\r\nI am the next of kin of the deceased; two million dollars.\r\n",
            "advance-fee other-reply",
        );
        check(
            "From: a@b.example\r\nSubject: Save 50%\r\n\r\nRefinance your mortgage: act now!\r\n",
            "wording-money wording-sale money-in-subject",
        );
        check("From: a@b.example\r\nSubject: ADV: x\r\n\r\nx\r\n", "advertisement");
        let html = "From: a@b.example\r\nContent-Type: text/html\r\n\r\n";
        check(&format!("{html}<a href=\"http://evil.example\">www.bank.com</a>"), "misleading-link html-only");
        check(&format!("{html}<a href=\"http://bank.com@192.0.2.1/\">x</a><img src=x>"), "numeric-link user-in-link html-only picture");
        let file = |name: &str| {
            format!(
                "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\r\nx\r\n--b--\r\n"
            )
        };
        check(&file("holiday.jpg"), "");
        check(&file("setup.EXE"), "program");
        check(&file("invoice.pdf.js"), "disguised-program");
        check(&file("sheet.xlsm"), "macro");
        check(&file("invoice.html"), "page");
    }
}
