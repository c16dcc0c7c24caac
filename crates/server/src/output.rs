//! How a command prints: tables for people, JSON for scripts.
//!
//! Not logging. Results go to standard output, everything else to standard error.
//!
//! Invariant: JSON is the same whatever the terminal; a list is an array, one thing an object, an
//! error `{"error":{"code","message","hint"}}`.

use crate::failure::Failure;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

/// Prints a command's results.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// The form.
    pub format: Format,
    /// Whether messages that say nothing but "done" are left out.
    pub quiet: bool,
    /// Whether colour and bold may be used.
    pub colour: bool,
}

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
    whole: bool,
}

/// A column of words.
pub const fn words(title: &'static str) -> Column {
    Column { title, right: false, whole: false }
}

/// A column of words that are never broken over lines: ids and addresses.
pub const fn whole(title: &'static str) -> Column {
    Column { title, right: false, whole: true }
}

/// A column of numbers.
pub const fn number(title: &'static str) -> Column {
    Column { title, right: true, whole: true }
}

impl Printer {
    /// Prints a list: a table with a row for each item, or an array.
    pub fn list<T: Serialize>(self, items: &[T], columns: &[Column], row: impl Fn(&T) -> Vec<String>) {
        match self.format {
            Format::Json => print_json(&items),
            Format::Ndjson => items.iter().for_each(print_json_line),
            Format::Table if items.is_empty() => self.say("none"),
            Format::Table => print(&self.table(columns, items.iter().map(row)).to_string()),
        }
    }

    /// Prints a list whose rows each end in a remark that can be long. A terminal gets it on a line of its
    /// own, so that nothing else must be broken for it.
    pub fn list_with_remarks<T: Serialize>(self, items: &[T], columns: &[Column], remark: &'static str, row: impl Fn(&T) -> Vec<String>) {
        if self.format != Format::Table || items.is_empty() || !std::io::stdout().is_terminal() {
            let columns: Vec<Column> = columns.iter().copied().chain([words(remark)]).collect();
            return self.list(items, &columns, row);
        }
        let (rows, remarks): (Vec<_>, Vec<_>) = items.iter().map(row).filter_map(|mut cells| cells.pop().map(|last| (cells, last))).unzip();
        let columns: Vec<Column> = columns.iter().map(|column| Column { whole: true, ..*column }).collect();
        let table = self.table(&columns, rows.into_iter()).to_string();
        print(&remarked(&table, &remarks));
    }

    /// Prints one thing: lines of name and value, or an object.
    pub fn one<T: Serialize>(self, item: &T, lines: &[(&str, String)]) {
        match self.format {
            Format::Json => print_json(item),
            Format::Ndjson => print_json_line(item),
            Format::Table => {
                let rows = lines.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
                print(&self.table(&[whole(""), words("")], rows).to_string());
            }
        }
    }

    /// Prints what a change did: a sentence, or an object.
    pub fn done<T: Serialize>(self, item: &T, sentence: &str) {
        match self.format {
            Format::Json => print_json(item),
            Format::Ndjson => print_json_line(item),
            Format::Table => self.say(sentence),
        }
    }

    /// A sentence for people; nothing in JSON or when quiet.
    pub fn say(self, sentence: &str) {
        if self.format == Format::Table && !self.quiet {
            print(sentence);
        }
    }

    /// A word of warning for people and scripts alike, on standard error.
    pub fn warn(self, sentence: &str) {
        if !self.quiet {
            eprint(&format!("warning: {sentence}"));
        }
    }

    /// Why it failed: on standard error for people, on standard output as an object for scripts.
    pub fn failure(self, failure: &Failure) {
        match self.format {
            Format::Table => {
                eprint(&format!("error: {}", failure.message));
                if let Some(hint) = &failure.hint {
                    eprint(&format!("hint: {hint}"));
                }
            }
            Format::Json | Format::Ndjson => print_json_line(&serde_json::json!({ "error": failure })),
        }
    }

    fn table(self, columns: &[Column], rows: impl Iterator<Item = Vec<String>>) -> Table {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if columns.iter().any(|column| !column.title.is_empty()) {
            table.set_header(columns.iter().map(|column| self.header(*column)).collect::<Vec<_>>());
        }
        for cells in rows {
            let aligned = cells.into_iter().zip(columns).map(|(text, column)| Cell::new(text).set_alignment(alignment(*column)));
            table.add_row(Row::from(aligned.collect::<Vec<_>>()));
        }
        for (place, column) in columns.iter().enumerate() {
            if let Some(shown) = table.column_mut(place) {
                shown.set_padding((0, 2));
                if column.whole {
                    shown.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        table
    }

    fn header(self, column: Column) -> Cell {
        let cell = Cell::new(column.title).set_alignment(alignment(column));
        if self.colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }
}

/// A table's lines, each behind the heading followed by its remark.
fn remarked(table: &str, remarks: &[String]) -> String {
    let mut lines = table.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for (line, remark) in lines.zip(remarks) {
        text.extend(["\n", line]);
        if !remark.is_empty() {
            text.extend(["\n    ", remark]);
        }
    }
    text
}

const fn alignment(column: Column) -> CellAlignment {
    if column.right { CellAlignment::Right } else { CellAlignment::Left }
}

/// Prints an item as indented JSON.
pub fn print_json<T: Serialize>(item: &T) {
    print(&serde_json::to_string_pretty(item).unwrap_or_default());
}

/// Prints an item as one line of JSON.
pub fn print_json_line<T: Serialize>(item: &T) {
    print(&serde_json::to_string(item).unwrap_or_default());
}

/// Prints lines to standard output, without the spaces a table leaves at their ends. A reader that
/// has gone away is no error: what it wanted it has.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let text = text.strip_suffix('\n').unwrap_or(text);
    let _gone = text.split('\n').try_for_each(|line| writeln!(out, "{}", line.trim_end())).and_then(|()| out.flush());
}

fn eprint(line: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{line}");
}

/// `3 min ago`, `in 2 h`; the absolute time is in the JSON.
pub fn relative(at: mail::Timestamp, now: mail::Timestamp) -> String {
    let (span, past) = if at <= now { (now.since(at), true) } else { (at.since(now), false) };
    let seconds = span.as_secs();
    let nearest = |unit: u64| (seconds + unit / 2) / unit;
    let shown = match seconds {
        0..1 if past => return "now".to_owned(),
        0..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", nearest(60)),
        6_000..172_800 => format!("{} h", nearest(3_600)),
        _ => format!("{} d", nearest(86_400)),
    };
    if past { format!("{shown} ago") } else { format!("in {shown}") }
}

/// `4.2 MiB`
pub fn size(octets: u64) -> String {
    let mut unit = ("B", 1_u64);
    for next in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)] {
        if octets >= next.1 {
            unit = next;
        }
    }
    if unit.1 == 1 {
        return format!("{octets} B");
    }
    let tenths = u128::from(octets) * 10 / u128::from(unit.1);
    format!("{}.{} {}", tenths / 10, tenths % 10, unit.0)
}

/// `1 message`, `2 messages`, `3 bodies`, `4 mailboxes`
pub fn plural(count: u64, noun: &str) -> String {
    match noun {
        _ if count == 1 => format!("1 {noun}"),
        _ if noun.ends_with('y') => format!("{count} {}ies", noun.trim_end_matches('y')),
        _ if noun.ends_with('x') => format!("{count} {noun}es"),
        _ => format!("{count} {noun}s"),
    }
}

/// RFC 3339 in UTC, to the millisecond: `2026-11-21T20:48:00.123Z`.
pub fn rfc3339(at: mail::Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::Timestamp;

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_seconds(1_000_000);
        for (seconds, want) in [
            (1_000_000, "now"),
            (999_970, "30 s ago"),
            (1_000_030, "in 30 s"),
            (999_000, "17 min ago"),
            (1_007_200, "in 2 h"),
            (1_431_999, "in 5 d"),
            (500_000, "6 d ago"),
        ] {
            assert_eq!(relative(Timestamp::from_seconds(seconds), now), want);
        }
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        for (octets, want) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (4_404_019, "4.1 MiB"), (u64::MAX, "16777215.9 TiB")] {
            assert_eq!(size(octets), want);
        }
    }

    #[test]
    fn remarks_stand_under_their_rows() {
        let remarks = ["late".to_owned(), String::new()];
        assert_eq!(remarked("id\n1\n2", &remarks), "id\n1\n    late\n2");
    }

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(rfc3339(Timestamp(1_795_294_080_123)), "2026-11-21T20:48:00.123Z");
    }
}
