//! Holds the tables of `docs/simulation.md` to the keys and faults that there are (`UPDATE=1` writes them).
#![allow(clippy::unwrap_used, reason = "a test: its purpose is to fail")]

use sim::scenario::keys::{FAULTS, KEYS};
use std::fmt::Write as _;

const KEYS_BEGIN: &str = "<!-- keys -->\n";
const FAULTS_BEGIN: &str = "<!-- faults -->\n";
const END: &str = "<!-- end -->\n";

fn keys() -> String {
    let mut page = String::new();
    let mut section = None;
    for key in KEYS {
        let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if section != Some(table) {
            section = Some(table);
            let heading = match table.strip_suffix("[]") {
                _ if table.is_empty() => "At the top".to_owned(),
                Some(list) => format!("`[[{list}]]`"),
                None => format!("`[{table}]`"),
            };
            let _ = write!(page, "\n### {heading}\n\n| key | default | meaning |\n|---|---|---|\n");
        }
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let _ = writeln!(page, "| `{name}` | {default} | {} |", key.meaning);
    }
    page + "\n"
}

fn faults() -> String {
    FAULTS
        .iter()
        .fold("\n| kind | what goes wrong |\n|---|---|\n".to_owned(), |page, (kind, words)| format!("{page}| `{kind}` | {words} |\n"))
        + "\n"
}

/// The page with the text between a mark and the next end exchanged.
fn with(page: &str, begin: &str, text: &str) -> String {
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    format!("{before}{begin}{text}{END}{after}")
}

#[test]
fn the_page_tells_every_key_and_every_fault() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulation.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let wanted = with(&with(&page, KEYS_BEGIN, &keys()), FAULTS_BEGIN, &faults());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(page, wanted, "UPDATE=1 cargo test -p postrider-sim writes it anew");
    }
}
