//! A set of Uids (or of sequence numbers) as sorted ranges: IMAP's sequence-set without `*`.
//!
//! Not a sequence-set as a client wrote it: `*` and the order of its parts are the grammar's business.
//!
//! A copy shares its ranges with the original until one of them changes: many sessions look at one mailbox.
//!
//! Invariants: runs are sorted, disjoint and not adjacent; 0 is in no set; each run knows how many
//! members stand before it, so that sequence number and Uid are found from each other by halving.

use crate::id::{SeqNum, Uid};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// A set of Uids; small when they are dense, whatever their number.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct UidSet {
    /// None: empty, so that an empty set allocates nothing.
    shared: Option<Arc<Vec<Run>>>,
}

impl PartialEq for UidSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.runs() == other.runs()
    }
}

impl Eq for UidSet {}

impl Hash for UidSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.runs().hash(state);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Run {
    first: u32,
    last: u32,
    /// Members in the runs before this one.
    before: u32,
}

/// The text is no sequence-set of numbers from 1 to 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a set of numbers such as 1:3,7")]
pub struct NotAUidSet;

impl Run {
    const fn len(self) -> u32 {
        self.last - self.first + 1
    }
}

impl UidSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { shared: None }
    }

    fn runs(&self) -> &[Run] {
        self.shared.as_ref().map_or(&[], |runs| runs.as_slice())
    }

    /// The ranges to change; copied first if others have them too.
    fn runs_mut(&mut self) -> &mut Vec<Run> {
        Arc::make_mut(self.shared.get_or_insert_default())
    }

    /// Whether both share their ranges, which costs nothing to find out.
    fn is_same(&self, other: &Self) -> bool {
        self.shared.as_ref().zip(other.shared.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Every Uid from the lower of the two to the higher; 0 is left out.
    pub fn range(from: Uid, to: Uid) -> Self {
        Self::from_spans(vec![(from.0, to.0)])
    }

    /// Sorts and merges, so that no order of the input costs more than any other.
    fn from_spans(mut spans: Vec<(u32, u32)>) -> Self {
        for span in &mut spans {
            *span = (span.0.min(span.1).max(1), span.0.max(span.1));
        }
        spans.retain(|span| span.1 > 0);
        spans.sort_unstable();
        let mut set = Self::new();
        for (first, last) in spans {
            set.push(first, last);
        }
        set
    }

    /// Adds a run that starts at or after the start of the last one.
    fn push(&mut self, first: u32, last: u32) {
        let before = self.len();
        match self.runs_mut().last_mut() {
            Some(run) if first <= run.last.saturating_add(1) => run.last = run.last.max(last),
            _ => self.runs_mut().push(Run { first, last, before }),
        }
    }

    /// Counts anew from run `at` on.
    fn recount(&mut self, at: usize) {
        let mut before = at.checked_sub(1).and_then(|at| self.runs().get(at)).map_or(0, |run| run.before + run.len());
        for run in self.runs_mut().iter_mut().skip(at) {
            run.before = before;
            before += run.len();
        }
    }

    /// The first run that ends at or after `uid`.
    fn seek(&self, uid: u32) -> usize {
        self.runs().partition_point(|run| run.last < uid)
    }

    /// Adds a Uid; cheapest at the end. True if it was not there. 0 is not taken.
    pub fn insert(&mut self, uid: Uid) -> bool {
        if uid.0 == 0 || self.contains(uid) {
            return false;
        }
        self.insert_range(uid, uid);
        true
    }

    /// Adds every Uid from the lower of the two to the higher; 0 is left out.
    pub fn insert_range(&mut self, from: Uid, to: Uid) {
        let (first, last) = (from.0.min(to.0).max(1), from.0.max(to.0));
        if last == 0 {
            return;
        }
        if self.runs().last().is_none_or(|run| run.first <= first) {
            return self.push(first, last);
        }
        // The runs that touch the new one melt into it.
        let start = self.seek(first.saturating_sub(1).max(1));
        let end = start + self.runs().iter().skip(start).take_while(|run| run.first <= last.saturating_add(1)).count();
        let touched = self.runs().get(start..end).unwrap_or_default();
        let run = Run {
            first: touched.first().map_or(first, |run| run.first.min(first)),
            last: touched.last().map_or(last, |run| run.last.max(last)),
            before: 0,
        };
        self.runs_mut().splice(start..end, [run]);
        self.recount(start);
    }

    /// Takes a Uid out. True if it was there.
    pub fn remove(&mut self, uid: Uid) -> bool {
        let at = self.seek(uid.0);
        let Some(run) = self.runs().get(at).copied().filter(|run| run.first <= uid.0) else { return false };
        let left = (run.first < uid.0).then(|| Run { last: uid.0 - 1, ..run });
        let right = (uid.0 < run.last).then(|| Run { first: uid.0 + 1, ..run });
        self.runs_mut().splice(at..=at, left.into_iter().chain(right));
        self.recount(at);
        true
    }

    /// Whether the Uid is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        self.runs().get(self.seek(uid.0)).is_some_and(|run| run.first <= uid.0)
    }

    /// How many Uids there are.
    pub fn len(&self) -> u32 {
        self.runs().last().map_or(0, |run| run.before + run.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs().is_empty()
    }

    /// The lowest Uid.
    pub fn first(&self) -> Option<Uid> {
        self.runs().first().map(|run| Uid(run.first))
    }

    /// The highest Uid.
    pub fn last(&self) -> Option<Uid> {
        self.runs().last().map(|run| Uid(run.last))
    }

    /// The Uid at a sequence number, which counts from 1.
    pub fn nth(&self, number: SeqNum) -> Option<Uid> {
        let index = number.0.checked_sub(1)?;
        let run = self.runs().get(self.runs().partition_point(|run| run.before <= index).checked_sub(1)?)?;
        (index - run.before < run.len()).then(|| Uid(run.first + (index - run.before)))
    }

    /// The sequence number of a Uid in the set, from 1.
    pub fn rank(&self, uid: Uid) -> Option<SeqNum> {
        let run = self.runs().get(self.seek(uid.0)).filter(|run| run.first <= uid.0)?;
        Some(SeqNum(run.before + (uid.0 - run.first) + 1))
    }

    /// Every Uid, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Uid> + '_ {
        self.runs().iter().flat_map(|run| (run.first..=run.last).map(Uid))
    }

    /// The ranges as (first, last), in order, none touching the next.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = (Uid, Uid)> + ExactSizeIterator + '_ {
        self.runs().iter().map(|run| (Uid(run.first), Uid(run.last)))
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => return self.clone(),
            (true, _) => return other.clone(),
            _ if self.is_same(other) => return self.clone(),
            _ => {}
        }
        Self::from_spans(self.runs().iter().chain(other.runs()).map(|run| (run.first, run.last)).collect())
    }

    /// What is in both; costs the ranges of both, not their members.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        if self.is_same(other) {
            return self.clone();
        }
        let mut out = Self::new();
        let (mut left, mut right) = (self.runs().iter().peekable(), other.runs().iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if first <= last {
                out.push(first, last);
            }
            if a.last <= b.last {
                left.next()
            } else {
                right.next()
            };
        }
        out
    }

    /// What is in this set but not in `other`; costs the ranges of both, not their members.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        let mut out = Self::new();
        let mut cuts = other.runs().iter().peekable();
        for run in self.runs() {
            let mut rest = Some(run.first);
            while cuts.next_if(|cut| cut.last < run.first).is_some() {}
            while let (Some(from), Some(cut)) = (rest, cuts.peek().filter(|cut| cut.first <= run.last)) {
                if from < cut.first {
                    out.push(from, cut.first - 1);
                }
                rest = (cut.last < run.last).then(|| cut.last + 1);
                // A cut that reaches over this run may bite the next one too.
                cuts.next_if(|_| rest.is_some());
            }
            if let Some(from) = rest {
                out.push(from, run.last);
            }
        }
        out
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        Self::from_spans(uids.into_iter().map(|uid| (uid.0, uid.0)).collect())
    }
}

impl From<Vec<(u32, u32)>> for UidSet {
    fn from(spans: Vec<(u32, u32)>) -> Self {
        Self::from_spans(spans)
    }
}

impl From<UidSet> for Vec<(u32, u32)> {
    fn from(set: UidSet) -> Self {
        set.runs().iter().map(|run| (run.first, run.last)).collect()
    }
}

impl FromStr for UidSet {
    type Err = NotAUidSet;

    /// Reads `1:3,7`; the ends of a range in either order (RFC 9051 §9, sequence-set).
    fn from_str(text: &str) -> Result<Self, NotAUidSet> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| digits && *number > 0).ok_or(NotAUidSet)
        };
        let span = |text: &str| match text.split_once(':') {
            Some((from, to)) => Ok((number(from)?, number(to)?)),
            None => number(text).map(|one| (one, one)),
        };
        Ok(Self::from_spans(text.split(',').map(span).collect::<Result<_, _>>()?))
    }
}

/// `1:3,7`; nothing for the empty set.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, run) in self.runs().iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}", run.first)?;
            if run.last > run.first {
                write!(f, ":{}", run.last)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn sets_are_read_and_shown() {
        for (input, want) in [
            ("1", Some("1")),
            ("3,1,2", Some("1:3")),
            ("9:7,1:2,8:10", Some("1:2,7:10")),
            ("4294967295,4294967294", Some("4294967294:4294967295")),
            ("1:4294967295", Some("1:4294967295")),
            ("", None),
            ("0", None),
            ("1,", None),
            ("1:*", None),
            ("+1", None),
            ("4294967296", None),
        ] {
            assert_eq!(input.parse::<UidSet>().ok().map(|set| set.to_string()), want.map(str::to_owned), "{input}");
        }
    }

    #[test]
    fn zero_is_in_no_set() {
        let mut set = UidSet::new();
        assert!(!set.insert(Uid(0)));
        set.insert_range(Uid(0), Uid(2));
        assert_eq!(set.to_string(), "1:2");
        assert!(!set.remove(Uid(0)) && !set.contains(Uid(0)) && set.rank(Uid(0)).is_none() && set.nth(SeqNum(0)).is_none());
    }

    #[test]
    fn a_hostile_order_costs_no_more_than_another() {
        let text = (1..60_000u32).rev().map(|n| (n * 2).to_string()).collect::<Vec<_>>().join(",");
        let set: UidSet = text.parse().unwrap();
        assert_eq!((set.len(), set.ranges().len()), (59_999, 59_999));
    }

    #[test]
    fn a_copy_is_shared_until_it_changes() {
        let set: UidSet = "1:3,7".parse().unwrap();
        let mut copy = set.clone();
        assert!(copy.is_same(&set));
        assert!(copy.insert(Uid(9)) && !copy.is_same(&set));
        assert_eq!((set.to_string(), copy.to_string()), ("1:3,7".into(), "1:3,7,9".into()));
        assert!(copy.remove(Uid(9)) && copy == set);
        let (mut emptied, hash) = (UidSet::range(Uid(1), Uid(1)), |set: &UidSet| {
            let mut hasher = std::hash::DefaultHasher::new();
            set.hash(&mut hasher);
            hasher.finish()
        });
        emptied.remove(Uid(1));
        assert_eq!((&emptied, hash(&emptied)), (&UidSet::new(), hash(&UidSet::new())));
    }

    fn members() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(prop_oneof![1u32..60, (u32::MAX - 9)..=u32::MAX], 0..40)
    }

    fn uids(set: &BTreeSet<u32>) -> UidSet {
        set.iter().copied().map(Uid).collect()
    }

    fn same(set: &UidSet, model: &BTreeSet<u32>) {
        assert!(set.iter().map(|uid| uid.0).eq(model.iter().copied()), "{set} {model:?}");
        assert_eq!(set, &uids(model), "one set has one form");
        assert_eq!(set.len() as usize, model.len());
        for (at, uid) in model.iter().enumerate() {
            let number = SeqNum(u32::try_from(at).unwrap() + 1);
            assert_eq!((set.nth(number), set.rank(Uid(*uid))), (Some(Uid(*uid)), Some(number)));
        }
        assert_eq!(set.nth(SeqNum(set.len() + 1)), None);
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_tree_of_numbers(start in members(), steps in prop::collection::vec((any::<bool>(), 1u32..60, 0u32..5), 0..40)) {
            let (mut set, mut model) = (uids(&start), start);
            for (add, uid, more) in steps {
                match (add, more) {
                    (true, 0) => assert_eq!(set.insert(Uid(uid)), model.insert(uid)),
                    (true, more) => { set.insert_range(Uid(uid), Uid(uid + more)); model.extend(uid..=uid + more); }
                    (false, _) => assert_eq!(set.remove(Uid(uid)), model.remove(&uid)),
                }
                same(&set, &model);
            }
        }

        #[test]
        fn two_sets_combine(a in members(), b in members()) {
            same(&uids(&a).union(&uids(&b)), &(&a | &b));
            same(&uids(&a).intersect(&uids(&b)), &(&a & &b));
            same(&uids(&a).subtract(&uids(&b)), &(&a - &b));
        }

        #[test]
        fn text_and_back(a in members()) {
            prop_assume!(!a.is_empty());
            same(&uids(&a).to_string().parse().unwrap(), &a);
        }
    }
}
