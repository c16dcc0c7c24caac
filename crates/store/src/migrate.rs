//! Bringing an older store up to this program's format, step by step.
//!
//! Each step is one commit that also writes the format it leads to, so that a crash repeats at most
//! the step it struck.

use crate::error::{Error, Result};
use crate::log::OpenError;
use crate::schema::Space;
use crate::tx::WriteTx;

/// What makes a store of the format before into one of format `to`.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) to: u32,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&mut WriteTx) -> Result<()>,
}

/// All steps there ever were, in order.
pub(crate) const STEPS: &[Step] = &[
    Step { to: 2, what: "the queue is ordered by lanes", run: crate::lane::reorder },
    Step { to: 3, what: "what waits in the queue is found by its lane", run: crate::lane::wait_by_lane },
];

const FORMAT: &[u8] = b"format";

/// What to do at open: nothing is written when the store is new to this program already.
pub(crate) fn plan(found: Option<u32>, known: u32, steps: &[Step]) -> std::result::Result<Vec<Step>, OpenError> {
    match found {
        None => Ok(vec![Step { to: known, what: "a new store", run: |_| Ok(()) }]),
        Some(found) if found > known => Err(OpenError::NewerFormat { found, known }),
        Some(found) => Ok(steps.iter().filter(|step| step.to > found && step.to <= known).copied().collect()),
    }
}

impl Step {
    /// The whole step, as one transaction.
    pub(crate) fn apply(&self, tx: &mut WriteTx) -> Result<()> {
        (self.run)(tx)?;
        tx.put(Space::Meta, FORMAT, self.to.to_be_bytes().to_vec());
        Ok(())
    }
}

/// The format a store has; none for a new one.
pub(crate) fn found(tx: &WriteTx) -> Result<Option<u32>> {
    let Some(value) = tx.get(Space::Meta, FORMAT)? else { return Ok(None) };
    value.try_into().map(|octets| Some(u32::from_be_bytes(octets))).map_err(|_| Error::corrupt("the format of the store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_missing_steps_are_taken() {
        let step = |to| Step { to, what: "", run: |_| Ok(()) };
        let steps = [step(2), step(3), step(4)];
        let plan = |found| plan(found, 4, &steps).map(|plan| plan.iter().map(|step| step.to).collect::<Vec<_>>());
        assert_eq!(plan(None).unwrap(), [4]);
        assert_eq!(plan(Some(1)).unwrap(), [2, 3, 4]);
        assert_eq!(plan(Some(3)).unwrap(), [4]);
        assert_eq!(plan(Some(4)).unwrap(), Vec::<u32>::new());
        assert!(matches!(plan(Some(5)), Err(OpenError::NewerFormat { found: 5, known: 4 })));
    }
}
