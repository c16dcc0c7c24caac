//! Changes that are not in the index yet, laid over a view of it.
//!
//! A transaction's own changes, and those of the transactions before it in the same group. Deleted
//! keys are present with no value, so that they hide what is below.

use super::{Direction, KeyRange, Visit};
use crate::error::Result;
use crate::schema::Space;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

/// What a map needs for an entry beside its octets: two vectors and its part of a node.
const ENTRY_OCTETS: usize = 64;

/// A key's new value; none: the key is deleted.
pub(crate) type Change = Option<Vec<u8>>;

/// Changed keys by space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overlay {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Change>>,
}

impl Overlay {
    pub(crate) fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        self.spaces.entry(space).or_default().insert(key.to_vec(), Some(value));
    }

    pub(crate) fn delete(&mut self, space: Space, key: &[u8]) {
        self.spaces.entry(space).or_default().insert(key.to_vec(), None);
    }

    /// What is known here of a key: nothing, or its change.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<&Change> {
        self.spaces.get(&space)?.get(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spaces.values().all(BTreeMap::is_empty)
    }

    /// About how much memory it takes: keys, values, and what a map needs for each.
    pub(crate) fn octets(&self) -> usize {
        self.iter().map(|(_, key, change)| key.len() + change.as_ref().map_or(0, Vec::len) + ENTRY_OCTETS).sum()
    }

    /// How many keys are changed.
    pub(crate) fn len(&self) -> usize {
        self.spaces.values().map(BTreeMap::len).sum()
    }

    /// All changes, by space and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Space, &Vec<u8>, &Change)> {
        self.spaces.iter().flat_map(|(space, keys)| keys.iter().map(move |(key, change)| (*space, key, change)))
    }

    /// The changes of one space, by key.
    pub(crate) fn space(&self, space: Space) -> impl Iterator<Item = (&Vec<u8>, &Change)> {
        self.spaces.get(&space).into_iter().flatten()
    }

    /// Lays `later` on top of this.
    pub(crate) fn merge(&mut self, later: Overlay) {
        for (space, keys) in later.spaces {
            self.spaces.entry(space).or_default().extend(keys);
        }
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

type Range<'a> = std::collections::btree_map::Range<'a, Vec<u8>, Change>;

enum Entries<'a> {
    None,
    Forward(Range<'a>),
    Back(std::iter::Rev<Range<'a>>),
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a Vec<u8>, &'a Change);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::None => None,
            Self::Forward(entries) => entries.next(),
            Self::Back(entries) => entries.next(),
        }
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
