//! What was found out about authors' domains, day by day, for the reports that they ask for (RFC 9990), and the
//! reports that others sent us.
//!
//! Not what rows and reports say: `mta` writes and reads them as JSON. A row is counted in the commit of its message.
//!
//! Invariants
//! - At most [`DMARC_DOMAINS_MAX`] domains' days with at most [`DMARC_ROWS_MAX`] rows each: what a stranger's mail can
//!   make grow.
//! - Received reports are bounded; the oldest make room.

use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key::{self, Key};
use crate::record::{Record, corrupt, decode};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// Most days of domains with figures; beyond, a new domain's are not counted. Our own bound.
pub const DMARC_DOMAINS_MAX: u64 = 20_000;
/// Most rows of one domain's day; beyond, new ones are not counted. Our own bound: a report of some 1 MB.
pub const DMARC_ROWS_MAX: u32 = 2_000;
/// Most received aggregate reports that are kept. Our own bound.
pub const DMARC_REPORTS_MAX: usize = 5_000;
/// Most received failure reports that are kept. Our own bound.
pub const FAILURE_REPORTS_MAX: usize = 1_000;

/// How many days of domains have figures.
const DAYS: &[u8] = b"dmarc_days";

/// Messages of one day that are alike in all that a report tells of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DmarcRow {
    pub(crate) row: String,
    pub(crate) messages: u64,
}

impl Record for DmarcRow {
    const SPACE: Space = Space::DmarcRow;
    const NAME: &'static str = "DMARC row";
}

/// A domain's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DmarcDay {
    pub(crate) policy: String,
    pub(crate) rows: u32,
}

impl Record for DmarcDay {
    const SPACE: Space = Space::DmarcDay;
    const NAME: &'static str = "DMARC day";
}

/// An aggregate report that another server sent us, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DmarcReport(pub(crate) String);

impl Record for DmarcReport {
    const SPACE: Space = Space::DmarcReport;
    const NAME: &'static str = "DMARC report";
}

/// A report of one failure that another server sent us, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureReport(pub(crate) String);

impl Record for FailureReport {
    const SPACE: Space = Space::FailureReport;
    const NAME: &'static str = "failure report";
}

/// The figures of one domain's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcFigures {
    /// Its policy as it was last met, JSON.
    pub policy: String,
    /// Rows (JSON) and how many messages each stands for.
    pub rows: Vec<(String, u64)>,
}

fn rows_of(day: u32, domain: &Domain) -> Vec<u8> {
    Key::default().u32(day).text(domain.as_str()).text("\0").done()
}

fn row_key(day: u32, domain: &Domain, row: &str) -> Vec<u8> {
    Key::default().u32(day).text(domain.as_str()).text("\0").u64(key::hash(row)).done()
}

impl ReadTx {
    /// The first day of which there are figures; days since 1970, UTC.
    pub fn dmarc_first_day(&self) -> Result<Option<u32>> {
        let first = self.gather(Space::DmarcDay, &KeyRange::all(), Direction::Forward, 1, |key, _| Ok(key::number_u32(key, 0)))?;
        Ok(first.first().copied().flatten())
    }

    /// The domains of a day.
    pub fn dmarc_domains(&self, day: u32) -> Result<Vec<Domain>> {
        self.gather(Space::DmarcDay, &KeyRange::prefix(&key::day(day)), Direction::Forward, usize::MAX, |key, _| {
            let domain = key::text(key, 4).and_then(|text| Domain::parse(text).ok());
            domain.ok_or_else(|| corrupt(Space::DmarcDay, key, "names no domain"))
        })
    }

    /// The figures of a domain's day.
    pub fn dmarc_figures(&self, day: u32, domain: &Domain) -> Result<Option<DmarcFigures>> {
        let Some(DmarcDay { policy, .. }) = self.record(&key::day_of(day, domain.as_str()))? else { return Ok(None) };
        let rows: Vec<(Vec<u8>, DmarcRow)> = self.records(&KeyRange::prefix(&rows_of(day, domain)))?;
        Ok(Some(DmarcFigures { policy, rows: rows.into_iter().map(|(_, row)| (row.row, row.messages)).collect() }))
    }

    /// The aggregate reports received since, oldest first.
    pub fn dmarc_reports(&self, since: Timestamp) -> Result<Vec<(Timestamp, String)>> {
        self.received::<DmarcReport>(since).map(|found| found.into_iter().map(|(at, report)| (at, report.0)).collect())
    }

    /// The failure reports received since, oldest first.
    pub fn failure_reports(&self, since: Timestamp) -> Result<Vec<(Timestamp, String)>> {
        self.received::<FailureReport>(since).map(|found| found.into_iter().map(|(at, report)| (at, report.0)).collect())
    }

    fn received<R: Record>(&self, since: Timestamp) -> Result<Vec<(Timestamp, R)>> {
        let range = KeyRange { from: key::moment(since, 0), to: None };
        self.gather(R::SPACE, &range, Direction::Forward, usize::MAX, |key, octets| {
            let at = key::moment_read(key).ok_or_else(|| corrupt(R::SPACE, key, "has no time"))?;
            Ok((at, decode::<R>(key, octets)?))
        })
    }
}

impl WriteTx {
    /// Counts a message for a domain's day, under the policy that was met.
    pub fn dmarc_count(&mut self, day: u32, domain: &Domain, policy: &str, row: &str) -> Result<()> {
        let day_key = key::day_of(day, domain.as_str());
        let known = self.record::<DmarcDay>(&day_key)?;
        if known.is_none() {
            let days = self.count(DAYS)?;
            if days >= DMARC_DOMAINS_MAX {
                return Ok(());
            }
            self.count_save(DAYS, days + 1)?;
        }
        let mut of_day = known.unwrap_or(DmarcDay { policy: String::new(), rows: 0 });
        let key = row_key(day, domain, row);
        let counted = self.record::<DmarcRow>(&key)?;
        if counted.is_none() && of_day.rows >= DMARC_ROWS_MAX {
            return Ok(());
        }
        let messages = counted.as_ref().map_or(0, |row| row.messages).saturating_add(1);
        if counted.is_none() || of_day.policy != policy {
            of_day.rows += u32::from(counted.is_none());
            policy.clone_into(&mut of_day.policy);
            self.save(&day_key, &of_day)?;
        }
        self.save(&key, &DmarcRow { row: row.to_owned(), messages })
    }

    /// Forgets the figures of a domain's day.
    pub fn dmarc_forget(&mut self, day: u32, domain: &Domain) -> Result<()> {
        let day_key = key::day_of(day, domain.as_str());
        if self.has(Space::DmarcDay, &day_key)? {
            self.delete(Space::DmarcDay, &day_key);
            self.count_save(DAYS, self.count(DAYS)?.saturating_sub(1))?;
        }
        self.erase(Space::DmarcRow, &KeyRange::prefix(&rows_of(day, domain)))
    }

    /// Keeps an aggregate report that came in.
    pub fn dmarc_report_add(&mut self, at: Timestamp, report: &str) -> Result<()> {
        self.make_room(Space::DmarcReport, DMARC_REPORTS_MAX)?;
        self.save(&key::moment(at, key::hash(report)), &DmarcReport(report.to_owned()))
    }

    /// Keeps a failure report that came in.
    pub fn failure_report_add(&mut self, at: Timestamp, report: &str) -> Result<()> {
        self.make_room(Space::FailureReport, FAILURE_REPORTS_MAX)?;
        self.save(&key::moment(at, key::hash(report)), &FailureReport(report.to_owned()))
    }

    fn make_room(&mut self, space: Space, max: usize) -> Result<()> {
        let known = self.keys(space, &KeyRange::all(), usize::MAX)?;
        for old in known.iter().take((known.len() + 1).saturating_sub(max)) {
            self.delete(space, old);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{now, tx};

    #[test]
    fn messages_that_are_alike_are_one_row() {
        let store = Store::memory();
        let (a, b) = (Domain::parse("a.example").unwrap(), Domain::parse("a.example.b.example").unwrap());
        tx(&store, move |tx| {
            for (domain, row) in [(&a, "1"), (&a, "2"), (&a, "1"), (&b, "1")] {
                tx.dmarc_count(7, domain, "p=none", row)?;
            }
            tx.dmarc_count(8, &a, "p=none", "1")?;
            tx.dmarc_count(7, &a, "p=reject", "1")?;
            assert_eq!((tx.dmarc_first_day()?, tx.dmarc_domains(7)?), (Some(7), vec![a.clone(), b.clone()]));
            let mut figures = tx.dmarc_figures(7, &a)?.unwrap();
            figures.rows.sort();
            assert_eq!(figures, DmarcFigures { policy: "p=reject".into(), rows: vec![("1".into(), 3), ("2".into(), 1)] });
            tx.dmarc_forget(7, &a)?;
            assert_eq!((tx.dmarc_figures(7, &a)?, tx.count(DAYS)?), (None, 2));
            assert_eq!(tx.dmarc_figures(7, &b)?.unwrap().rows, [("1".to_owned(), 1)]);
            tx.dmarc_forget(7, &b)?;
            assert_eq!((tx.dmarc_first_day()?, tx.keys(Space::DmarcRow, &KeyRange::all(), 9)?.len()), (Some(8), 1));
            Ok(())
        });
    }

    #[test]
    fn rows_are_bounded() {
        let store = Store::memory();
        let a = Domain::parse("a.example").unwrap();
        tx(&store, move |tx| {
            for row in 0..DMARC_ROWS_MAX + 5 {
                tx.dmarc_count(7, &a, "", &row.to_string())?;
            }
            tx.dmarc_count(7, &a, "", "3")?;
            let figures = tx.dmarc_figures(7, &a)?.unwrap();
            assert_eq!((figures.rows.len(), figures.rows.iter().map(|(_, messages)| messages).sum::<u64>()), (2_000, 2_001));
            Ok(())
        });
    }

    #[test]
    fn received_reports_are_bounded() {
        let store = Store::memory();
        tx(&store, move |tx| {
            for number in 0..FAILURE_REPORTS_MAX + 3 {
                tx.failure_report_add(Timestamp(now().0 + i64::try_from(number).unwrap()), "x")?;
            }
            tx.dmarc_report_add(now(), "first")?;
            let found = tx.failure_reports(Timestamp(0))?;
            assert_eq!((found.len(), found[0].0, tx.dmarc_reports(now())?.len()), (1_000, Timestamp(now().0 + 3), 1));
            Ok(())
        });
    }
}
