//! The index in memory, for tests and `sim`: a `BTreeMap` per space.
//!
//! A view shares the maps; applying copies a map only while a view of it is alive.

use super::{Direction, Index, KeyRange, Overlay, Position, View, Visit, Writer};
use crate::error::Result;
use crate::schema::Space;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One state: a map per space, and how far in the log it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    maps: BTreeMap<Space, Arc<Map>>,
    position: Option<Position>,
}

#[cfg(test)]
impl State {
    /// The maps alone.
    pub(crate) fn maps(&self) -> &BTreeMap<Space, Arc<Map>> {
        &self.maps
    }
}

/// Shared by readers and the writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
}

impl Memory {
    /// The state at this moment; cheap.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    /// An index in this state, with nothing in common with the one it was taken from.
    #[cfg(test)]
    pub(crate) fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for Memory {
    fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(self.state()))
    }

    fn checkpoint(&self) -> Result<u64> {
        Ok(0)
    }

    fn octets(&self) -> u64 {
        self.state().maps.values().flat_map(|map| map.iter()).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn wal_octets(&self) -> u64 {
        0
    }
}

impl View for Memory {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lock().get(space, key)
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        self.state().scan(space, range, direction, visit)
    }
}

impl Writer for Memory {
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn apply(&mut self, changes: &[Arc<Overlay>], position: Position) -> Result<()> {
        let mut state = self.lock();
        for (space, key, change) in changes.iter().flat_map(|changes| changes.iter()) {
            let map = Arc::make_mut(state.maps.entry(space).or_default());
            match change {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        state.maps.retain(|_, map| !map.is_empty());
        state.position = Some(position);
        Ok(())
    }

    fn end(&mut self) {}

    fn position(&self) -> Result<Option<Position>> {
        Ok(self.lock().position)
    }

    fn clear(&mut self) -> Result<()> {
        *self.lock() = State::default();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        Ok(())
    }
}

impl View for State {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.maps.get(&space).and_then(|map| map.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        let Some(map) = self.maps.get(&space).filter(|_| !range.is_empty()) else { return Ok(()) };
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = map.range::<[u8], _>((Bound::Included(range.from.as_slice()), to));
        let mut next = || match direction {
            Direction::Forward => entries.next(),
            Direction::Back => entries.next_back(),
        };
        while let Some((key, value)) = next() {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
