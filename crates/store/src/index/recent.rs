//! What was applied lately, in memory, over an index below that gets it in large parts.
//!
//! A message changes a row in many tables, and the rows of one account's next message are on the same
//! pages. An index that is written with every group of commits writes those pages again and again; one
//! that is written once for a thousand messages writes each once.
//!
//! ```text
//! show ──▶ early ──▶ layers, newer over older ──▶ sinking ──▶ the index below
//! apply ─────────────▶
//! view   =  what is early, the layers, what is sinking, and a view of the index below: all of one moment
//! ```
//!
//! What is shown early is not in the log yet. It becomes a layer with the next that is applied, never before: the
//! index below must not know what a power cut can undo.
//!
//! Nothing depends on it after a crash: the log is the truth, and the index below remembers how far in
//! the log it is. A little more of the log is read then.
//!
//! Invariants
//! - A view's index below has nothing newer than the view's layers: whoever takes both looks whether
//!   sinking began or ended meanwhile, and takes them again.
//! - What sinks has sunk whole, with the position of its newest part, or not at all.
//! - At most twice `octets_max` octets wait, and one group of commits more.

use super::overlay::{self, Change};
use super::{Direction, Index, KeyRange, Overlay, Position, View, Visit, Writer};
use crate::error::Result;
use crate::schema::Space;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Layers are united up to this part of what may wait: a large one is not copied for the sake of a
/// small one, and a view has about a dozen.
const UNITED_PART: usize = 8;

/// Shared by readers, the writer and the thread that sinks.
pub(crate) struct Recent {
    below: Arc<dyn Index>,
    writer: Mutex<Box<dyn Writer>>,
    state: Mutex<State>,
    changed: Condvar,
    octets_max: usize,
}

/// Changes that were applied one after another.
#[derive(Clone)]
struct Layer {
    changes: Arc<Overlay>,
    octets: usize,
}

impl Layer {
    fn of(changes: &Arc<Overlay>) -> Self {
        Self { changes: changes.clone(), octets: changes.octets() }
    }
}

/// Layers and how much they are together; older ones first.
#[derive(Default)]
struct Pile {
    layers: Vec<Layer>,
    octets: usize,
}

impl Pile {
    fn push(&mut self, layer: Layer, united_max: usize) {
        self.octets += layer.octets;
        self.layers.push(layer);
        while let [.., lower, upper] = self.layers.as_slice()
            && lower.octets <= 2 * upper.octets
            && lower.octets + upper.octets <= united_max
        {
            self.unite();
        }
    }

    /// Makes one of the two newest layers.
    fn unite(&mut self) {
        let (Some(upper), Some(lower)) = (self.layers.pop(), self.layers.pop()) else { return };
        let mut changes = Arc::unwrap_or_clone(lower.changes);
        let freed = changes.merge(Arc::unwrap_or_clone(upper.changes));
        self.octets = self.octets.saturating_sub(freed);
        self.layers.push(Layer { changes: Arc::new(changes), octets: (lower.octets + upper.octets).saturating_sub(freed) });
    }
}

#[derive(Default)]
struct State {
    /// Counts beginnings and ends of sinking.
    epoch: u64,
    applied: Pile,
    /// Newer than all that is applied; not in the log yet.
    early: Pile,
    /// Of the newest layer that is applied.
    position: Option<Position>,
    /// Older than all `layers`; being written, or could not be.
    sinking: Vec<Layer>,
    /// Up to where it is written below, or being written; none: not known.
    sunk_position: Option<Position>,
    /// The last attempt to sink did not succeed.
    failed: bool,
    /// A thread sinks what waits.
    attended: bool,
    ended: bool,
}

impl State {
    fn all(&self) -> Vec<Arc<Overlay>> {
        self.sinking.iter().chain(&self.applied.layers).chain(&self.early.layers).map(|layer| layer.changes.clone()).collect()
    }
}

impl Recent {
    /// Over an index and its writer; `octets_max`: how much gathers before it sinks.
    pub(crate) fn over(below: Arc<dyn Index>, writer: Box<dyn Writer>, octets_max: usize) -> (Arc<Self>, RecentWriter) {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let recent = Arc::new(Self { below, writer: Mutex::new(writer), state, changed, octets_max });
        let writer = RecentWriter { recent: recent.clone(), moment: None };
        (recent, writer)
    }

    /// Sinks whenever enough has gathered, until [`Recent::end`]: the body of a thread.
    pub(crate) fn attend(&self) {
        self.lock().attended = true;
        while self.wait() {
            // The writer finds that it failed, and says so to whoever commits next.
            if let Err(e) = self.sink() {
                tracing::warn!(error = %e, "the index could not be written; the log has everything");
            }
        }
    }

    /// Ends [`Recent::attend`].
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.attended = false;
        state.ended = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to sink; false: it has ended.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.ended && (state.failed || state.applied.octets < self.octets_max);
        let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self) -> MutexGuard<'_, Box<dyn Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Result<Moment> {
        loop {
            let (layers, epoch) = {
                let state = self.lock();
                (state.all(), state.epoch)
            };
            let below = self.below.view()?;
            if self.lock().epoch == epoch {
                return Ok(Moment { layers, below });
            }
        }
    }

    /// Writes down everything that was applied before.
    fn sink(&self) -> Result<()> {
        let mut below = self.below();
        let Some((layers, position)) = self.begin_sinking() else { return Ok(()) };
        let outcome = below.begin().and_then(|()| below.apply(&layers, position));
        self.end_sinking(outcome.is_ok());
        outcome
    }

    fn begin_sinking(&self) -> Option<(Vec<Arc<Overlay>>, Position)> {
        let mut state = self.lock();
        let applied = std::mem::take(&mut state.applied);
        state.sinking.extend(applied.layers);
        // What came and went leaves no layer, but the log has gone on.
        let position = state.position.filter(|position| !state.sinking.is_empty() || state.sunk_position != Some(*position))?;
        state.sunk_position = Some(position);
        state.epoch += 1;
        Some((state.sinking.iter().map(|layer| layer.changes.clone()).collect(), position))
    }

    fn end_sinking(&self, succeeded: bool) {
        let mut state = self.lock();
        state.failed = !succeeded;
        if succeeded {
            state.sinking.clear();
            state.epoch += 1;
        } else {
            state.sunk_position = None;
        }
    }

    /// More waits than should, or it could not be written: the writer waits, or hears why.
    fn is_stuck(&self) -> bool {
        let state = self.lock();
        state.failed || state.applied.octets >= self.octets_max.saturating_mul(2)
    }

    /// True: it is for the caller to sink.
    fn add(&self, changes: &[Arc<Overlay>], position: Position) -> bool {
        // Measured before the lock: who begins to read waits for it.
        let layers: Vec<Layer> = changes.iter().filter(|changes| !changes.is_empty()).map(Layer::of).collect();
        let mut state = self.lock();
        state.position = Some(position);
        let early = std::mem::take(&mut state.early).layers;
        for layer in early.into_iter().chain(layers) {
            state.applied.push(layer, self.octets_max / UNITED_PART);
        }
        let enough = state.applied.octets >= self.octets_max;
        if enough && state.attended {
            self.changed.notify_all();
        }
        enough && !state.attended
    }

    fn show(&self, changes: &Arc<Overlay>) {
        let layer = Layer::of(changes);
        self.lock().early.push(layer, self.octets_max / UNITED_PART);
    }
}

impl Index for Arc<Recent> {
    fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(self.moment()?))
    }

    fn checkpoint(&self) -> Result<u64> {
        self.sink()?;
        self.below.checkpoint()
    }

    fn octets(&self) -> u64 {
        self.below.octets()
    }

    fn wal_octets(&self) -> u64 {
        self.below.wal_octets()
    }
}

/// The layers over the index below, as they were at one moment.
struct Moment {
    /// Older ones first.
    layers: Vec<Arc<Overlay>>,
    below: Box<dyn View>,
}

impl View for Moment {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let newest: Option<&Change> = self.layers.iter().rev().find_map(|layer| layer.get(space, key));
        newest.map_or_else(|| self.below.get(space, key), |change| Ok(change.clone()))
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        scan(&*self.below, &self.layers, space, range, direction, visit)
    }
}

fn scan(below: &dyn View, layers: &[Arc<Overlay>], space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
    let Some((top, rest)) = layers.split_last() else { return below.scan(space, range, direction, visit) };
    let mut lower = |visit: Visit<'_>| scan(below, rest, space, range, direction, visit);
    overlay::scan(&mut lower, [top, &Overlay::default()], space, range, direction, visit)
}

/// The hand that changes it.
pub(crate) struct RecentWriter {
    recent: Arc<Recent>,
    /// What it sees between [`Writer::begin`] and the end.
    moment: Option<Moment>,
}

impl RecentWriter {
    /// Makes changes visible that are not in the log yet. They stay above all that is applied, and become part of it
    /// with what is applied next.
    pub(crate) fn show(&mut self, changes: &Arc<Overlay>) {
        self.moment = None;
        self.recent.show(changes);
    }
}

impl View for RecentWriter {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.moment {
            Some(moment) => moment.get(space, key),
            None => self.recent.moment()?.get(space, key),
        }
    }

    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
        match &self.moment {
            Some(moment) => moment.scan(space, range, direction, visit),
            None => self.recent.moment()?.scan(space, range, direction, visit),
        }
    }
}

impl Writer for RecentWriter {
    fn begin(&mut self) -> Result<()> {
        if self.moment.is_none() {
            self.moment = Some(self.recent.moment()?);
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Arc<Overlay>], position: Position) -> Result<()> {
        self.moment = None;
        if self.recent.is_stuck() {
            self.recent.sink()?;
        }
        if self.recent.add(changes, position) { self.recent.sink() } else { Ok(()) }
    }

    fn end(&mut self) {
        self.moment = None;
    }

    fn position(&self) -> Result<Option<Position>> {
        let applied = self.recent.lock().position;
        applied.map_or_else(|| self.recent.below().position(), |position| Ok(Some(position)))
    }

    fn clear(&mut self) -> Result<()> {
        self.moment = None;
        let mut below = self.recent.below();
        let mut state = self.recent.lock();
        *state = State { epoch: state.epoch + 1, attended: state.attended, ..State::default() };
        drop(state);
        below.clear()
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.recent.sink()?;
        self.recent.below().checkpoint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::memory::Memory;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    const SPACE: Space = Space::Address;
    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    #[derive(Debug, Clone)]
    enum Act {
        Apply(Vec<(u8, Option<u8>)>),
        Show(Vec<(u8, Option<u8>)>),
        Look,
        Sink,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let changes = prop::collection::vec((0..40u8, prop::option::weighted(0.7, any::<u8>())), 1..6);
        let act = prop_oneof![
            6 => changes.clone().prop_map(Act::Apply),
            2 => changes.prop_map(Act::Show),
            2 => Just(Act::Look),
            1 => Just(Act::Sink),
        ];
        prop::collection::vec(act, 1..60)
    }

    type Known = BTreeMap<Vec<u8>, Vec<u8>>;

    /// The changes, made to what is known too. What is new is said to be so for every other value.
    fn overlay(changes: &[(u8, Option<u8>)], known: &mut Known) -> Overlay {
        let mut overlay = Overlay::default();
        for (key, value) in changes {
            let is_there = known.contains_key(&vec![*key]);
            match value {
                Some(value) if !is_there && value % 2 == 0 => overlay.add(SPACE, &[*key], vec![*value; 3]),
                Some(value) => overlay.put(SPACE, &[*key], vec![*value; 3]),
                None => overlay.delete(SPACE, &[*key]),
            }
            match value {
                Some(value) => drop(known.insert(vec![*key], vec![*value; 3])),
                None => drop(known.remove(&vec![*key])),
            }
        }
        overlay
    }

    fn pairs(view: &dyn View, range: &KeyRange, direction: Direction) -> Pairs {
        let mut pairs = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        view.scan(SPACE, range, direction, visit).unwrap();
        pairs
    }

    fn check(view: &dyn View, expect: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let mut all: Pairs = expect.clone().into_iter().collect();
        assert_eq!(pairs(view, &KeyRange::all(), Direction::Forward), all);
        let some = KeyRange::new(&[9], &[30]);
        let within: Pairs = all.iter().filter(|(key, _)| (&[9][..]..&[30]).contains(&key.as_slice())).cloned().collect();
        assert_eq!(pairs(view, &some, Direction::Forward), within);
        all.reverse();
        assert_eq!(pairs(view, &KeyRange::all(), Direction::Back), all);
        for key in 0..40 {
            assert_eq!(view.get(SPACE, &[key]).unwrap(), expect.get(&vec![key]).cloned());
        }
    }

    fn position(sequence: u64) -> Position {
        Position { segment: 1, offset: sequence * 10, sequence }
    }

    proptest! {
        #[test]
        fn it_is_as_if_everything_had_been_applied_below(acts in acts(), octets_max in 0..400usize) {
            let below = Memory::default();
            let (recent, mut writer) = Recent::over(Arc::new(below.clone()), Box::new(below.clone()), octets_max);
            let (mut expect, mut applied, mut last) = (Known::new(), Known::new(), None);
            let mut looks = Vec::new();
            for (number, act) in (1..).zip(&acts) {
                match act {
                    Act::Apply(changes) => {
                        writer.begin().unwrap();
                        writer.apply(&[Arc::new(overlay(changes, &mut expect))], position(number)).unwrap();
                        applied.clone_from(&expect);
                        last = Some(position(number));
                    }
                    Act::Show(changes) => writer.show(&Arc::new(overlay(changes, &mut expect))),
                    Act::Look => looks.push((recent.view().unwrap(), expect.clone())),
                    Act::Sink => {
                        recent.sink().unwrap();
                        check(&below, &applied);
                    }
                }
                prop_assert_eq!(writer.position().unwrap(), last);
                check(&writer, &expect);
            }
            // Whatever was applied or has sunk since, a view is as it was.
            for (view, expect) in &looks {
                check(&**view, expect);
            }
            writer.checkpoint().unwrap();
            check(&below, &applied);
            prop_assert_eq!(Writer::position(&below).unwrap(), writer.position().unwrap());
        }
    }

    #[test]
    fn what_came_and_went_moves_the_index_on_in_the_log() {
        let below = Memory::default();
        let (_, mut writer) = Recent::over(Arc::new(below.clone()), Box::new(below.clone()), 400);
        writer.begin().unwrap();
        writer.apply(&[Arc::new(overlay(&[(1, Some(1)), (1, None)], &mut Known::new()))], position(1)).unwrap();
        writer.checkpoint().unwrap();
        assert_eq!(Writer::position(&below).unwrap(), Some(position(1)));
    }

    /// An index below that refuses while it is told to.
    struct Broken(Memory, Arc<std::sync::atomic::AtomicBool>);

    impl View for Broken {
        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.0.get(space, key)
        }

        fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()> {
            View::scan(&self.0, space, range, direction, visit)
        }
    }

    impl Writer for Broken {
        fn begin(&mut self) -> Result<()> {
            Ok(())
        }

        fn apply(&mut self, changes: &[Arc<Overlay>], position: Position) -> Result<()> {
            if self.1.load(std::sync::atomic::Ordering::Relaxed) { Err(crate::Error::Full) } else { self.0.apply(changes, position) }
        }

        fn end(&mut self) {}

        fn position(&self) -> Result<Option<Position>> {
            Writer::position(&self.0)
        }

        fn clear(&mut self) -> Result<()> {
            self.0.clear()
        }

        fn checkpoint(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_stays_visible_and_is_written_later() {
        let (below, broken) = (Memory::default(), Arc::new(std::sync::atomic::AtomicBool::new(true)));
        let hand = Broken(below.clone(), broken.clone());
        let (recent, mut writer) = Recent::over(Arc::new(below.clone()), Box::new(hand), 1);
        let one = [Arc::new(overlay(&[(1, Some(1))], &mut Known::new()))];
        assert!(writer.apply(&one, position(1)).is_err(), "it says so");
        assert!(writer.apply(&one, position(1)).is_err(), "and again");
        check(&*recent.view().unwrap(), &[(vec![1], vec![1; 3])].into());
        check(&below, &BTreeMap::new());
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        writer.apply(&[Arc::new(overlay(&[(2, Some(2))], &mut Known::new()))], position(2)).unwrap();
        check(&below, &[(vec![1], vec![1; 3]), (vec![2], vec![2; 3])].into());
        assert_eq!(Writer::position(&below).unwrap(), Some(position(2)));
    }

    #[test]
    fn a_thread_sinks_while_others_look() {
        let below = Memory::default();
        let (recent, mut writer) = Recent::over(Arc::new(below.clone()), Box::new(below.clone()), 64);
        std::thread::scope(|scope| {
            scope.spawn(|| recent.attend());
            scope.spawn(|| {
                // Both keys always change together.
                while recent.lock().position != Some(position(2000)) {
                    let view = recent.view().unwrap();
                    let [a, b] = [1, 2].map(|key| view.get(SPACE, &[key]).unwrap());
                    assert_eq!(a, b);
                }
            });
            let mut known = Known::new();
            for number in 1..=2000 {
                let value = (number % 251) as u8;
                let both = overlay(&[(1, Some(value)), (2, Some(value))], &mut known);
                writer.apply(&[Arc::new(both)], position(number)).unwrap();
            }
            recent.end();
        });
        recent.checkpoint().unwrap();
        assert_eq!(Writer::position(&below).unwrap(), Some(position(2000)));
        check(&below, &[(vec![1], vec![(2000 % 251) as u8; 3]), (vec![2], vec![(2000 % 251) as u8; 3])].into());
    }
}
