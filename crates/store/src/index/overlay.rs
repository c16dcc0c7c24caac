//! Changes that are not in the index yet, laid over a view of it.
//!
//! A transaction's own changes, and those of the transactions before it in the same group. Deleted
//! keys are present with no value, so that they hide what is below.
//!
//! What is known to be new hides nothing: deleted again, it leaves no trace. So what comes and goes, such as a
//! message's places in the queue, is not walked over later and never reaches the index.

use super::{Direction, KeyRange, Visit};
use crate::error::Result;
use crate::schema::Space;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

/// What a map needs for an entry beside its octets: two vectors and its part of a node.
const ENTRY_OCTETS: usize = 64;

/// A key's new value; none: the key is deleted.
pub(crate) type Change = Option<Vec<u8>>;

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    change: Change,
    /// Below there was no such key, or it is hidden there already.
    is_new: bool,
}

impl Entry {
    fn octets(&self, key: &[u8]) -> usize {
        key.len() + self.change.as_ref().map_or(0, Vec::len) + ENTRY_OCTETS
    }
}

/// Changed keys by space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overlay {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Entry>>,
}

impl Overlay {
    pub(crate) fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.lay(space, key, Entry { change: Some(value), is_new: false });
    }

    /// The same for a key that is not there: neither here nor below.
    pub(crate) fn add(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.lay(space, key, Entry { change: Some(value), is_new: true });
    }

    pub(crate) fn delete(&mut self, space: Space, key: &[u8]) {
        self.lay(space, key, Entry { change: None, is_new: false });
    }

    fn lay(&mut self, space: Space, key: &[u8], entry: Entry) {
        lay(self.spaces.entry(space).or_default(), key.to_vec(), entry);
    }

    /// What is known here of a key: nothing, or its change.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<&Change> {
        self.spaces.get(&space)?.get(key).map(|entry| &entry.change)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spaces.values().all(BTreeMap::is_empty)
    }

    /// About how much memory it takes: keys, values, and what a map needs for each.
    pub(crate) fn octets(&self) -> usize {
        self.spaces.values().flatten().map(|(key, entry)| entry.octets(key)).sum()
    }

    /// How many keys are changed.
    pub(crate) fn len(&self) -> usize {
        self.spaces.values().map(BTreeMap::len).sum()
    }

    /// All changes, by space and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Space, &Vec<u8>, &Change)> {
        self.spaces.iter().flat_map(|(space, keys)| keys.iter().map(move |(key, entry)| (*space, key, &entry.change)))
    }

    /// The changes of one space, by key.
    pub(crate) fn space(&self, space: Space) -> impl Iterator<Item = (&Vec<u8>, &Change)> {
        self.spaces.get(&space).into_iter().flatten().map(|(key, entry)| (key, &entry.change))
    }

    /// Lays `later` on top of this; how many octets of both are not needed any more.
    pub(crate) fn merge(&mut self, later: Overlay) -> usize {
        let mut freed = 0;
        for (space, later) in later.spaces {
            let keys = self.spaces.entry(space).or_default();
            freed += later.into_iter().map(|(key, entry)| lay(keys, key, entry)).sum::<usize>();
        }
        freed
    }

    fn range(&self, space: Space, range: &KeyRange, direction: Direction) -> Entries<'_> {
        let Some(keys) = self.spaces.get(&space) else { return Entries::None };
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let entries = keys.range::<[u8], _>((Bound::Included(range.from.as_slice()), to));
        match direction {
            Direction::Forward => Entries::Forward(entries),
            Direction::Back => Entries::Back(entries.rev()),
        }
    }
}

/// Lays a change over what is known of a key; how many octets are not needed any more.
fn lay(keys: &mut BTreeMap<Vec<u8>, Entry>, key: Vec<u8>, upper: Entry) -> usize {
    match keys.entry(key) {
        MapEntry::Vacant(place) => {
            place.insert(upper);
            0
        }
        // It came and it went.
        MapEntry::Occupied(lower) if lower.get().is_new && upper.change.is_none() => {
            let key_octets = lower.key().len();
            lower.remove().octets(&[]) + upper.octets(&[]) + 2 * key_octets
        }
        // Below it is as it was there before either change.
        MapEntry::Occupied(mut lower) => {
            let is_new = lower.get().is_new;
            let freed = lower.insert(Entry { is_new, ..upper });
            freed.octets(lower.key())
        }
    }
}

type Range<'a> = std::collections::btree_map::Range<'a, Vec<u8>, Entry>;

enum Entries<'a> {
    None,
    Forward(Range<'a>),
    Back(std::iter::Rev<Range<'a>>),
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a Vec<u8>, &'a Change);

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self {
            Self::None => None,
            Self::Forward(entries) => entries.next(),
            Self::Back(entries) => entries.next(),
        };
        next.map(|(key, entry)| (key, &entry.change))
    }
}

/// A scan of the same range, in the same direction, of what is below.
pub(crate) type Below<'a> = &'a mut dyn FnMut(Visit<'_>) -> Result<()>;

/// Two overlays in key order; where both know a key, `upper` is right.
struct Merged<'a> {
    upper: Peekable<Entries<'a>>,
    lower: Peekable<Entries<'a>>,
    direction: Direction,
}

impl<'a> Merged<'a> {
    fn peek(&mut self) -> Option<(&'a Vec<u8>, &'a Change)> {
        match (self.upper.peek().copied(), self.lower.peek().copied()) {
            (Some(upper), Some(lower)) if in_order(self.direction, lower.0, upper.0) == Ordering::Less => Some(lower),
            (Some(upper), _) => Some(upper),
            (None, lower) => lower,
        }
    }

    fn next(&mut self) -> Option<(&'a Vec<u8>, &'a Change)> {
        let first = self.peek()?;
        self.upper.next_if(|entry| entry.0 == first.0);
        self.lower.next_if(|entry| entry.0 == first.0);
        Some(first)
    }
}

fn in_order(direction: Direction, a: &[u8], b: &[u8]) -> Ordering {
    match direction {
        Direction::Forward => a.cmp(b),
        Direction::Back => b.cmp(a),
    }
}

/// Scans what `below` scans as if `lower`, and `upper` over it, had been applied.
pub(crate) fn scan(
    below: Below<'_>,
    [upper, lower]: [&Overlay; 2],
    space: Space,
    range: &KeyRange,
    direction: Direction,
    visit: Visit<'_>,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut changes = Merged {
        upper: upper.range(space, range, direction).peekable(),
        lower: lower.range(space, range, direction).peekable(),
        direction,
    };
    if changes.peek().is_none() {
        return below(visit);
    }
    let mut flow = ControlFlow::Continue(());
    below(&mut |key, value| {
        flow = with_changes_before(&mut changes, key, visit);
        if flow.is_continue() {
            flow = match changes.peek() {
                Some((same, change)) if same == key => {
                    changes.next();
                    change.as_ref().map_or(ControlFlow::Continue(()), |value| visit(key, value))
                }
                _ => visit(key, value),
            };
        }
        flow
    })?;
    while flow.is_continue() {
        let Some((key, change)) = changes.next() else { break };
        flow = change.as_ref().map_or(ControlFlow::Continue(()), |value| visit(key, value));
    }
    Ok(())
}

/// Visits the changed keys that come before `key`.
fn with_changes_before(changes: &mut Merged<'_>, key: &[u8], visit: Visit<'_>) -> ControlFlow<()> {
    while let Some((first, change)) = changes.peek() {
        if in_order(changes.direction, first, key) != Ordering::Less {
            break;
        }
        changes.next();
        if let Some(value) = change {
            visit(first, value)?;
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space::Meta;

    /// One letter a change of the one key, the earlier first: `a`dd, `p`ut, `d`elete.
    fn overlay(changes: &str) -> Overlay {
        let mut overlay = Overlay::default();
        for change in changes.chars() {
            match change {
                'a' => overlay.add(SPACE, b"k", vec![b'a']),
                'p' => overlay.put(SPACE, b"k", vec![b'p']),
                _ => overlay.delete(SPACE, b"k"),
            }
        }
        overlay
    }

    fn shown(overlay: &Overlay) -> &'static str {
        match overlay.get(SPACE, b"k") {
            None => "nothing",
            Some(None) => "deleted",
            Some(Some(value)) if value == b"a" => "added",
            Some(Some(_)) => "put",
        }
    }

    #[test]
    fn what_came_and_went_leaves_no_trace_unless_something_may_be_below() {
        for (changes, want) in [
            ("a", "added"),
            ("ad", "nothing"),
            ("apd", "nothing"),
            ("ap", "put"),
            ("pd", "deleted"),
            ("d", "deleted"),
            ("da", "added"),
            ("dad", "deleted"),
            ("pdad", "deleted"),
            ("ada", "added"),
            ("adad", "nothing"),
        ] {
            assert_eq!(shown(&overlay(changes)), want, "{changes}");
            for (at, _) in changes.char_indices() {
                let (lower, upper) = changes.split_at(at);
                let mut merged = overlay(lower);
                let (below, above) = (merged.octets(), overlay(upper).octets());
                let freed = merged.merge(overlay(upper));
                assert_eq!((shown(&merged), merged.octets() + freed), (want, below + above), "{lower} {upper}");
            }
        }
    }
}
