//! A few threads that do dear work, and a bounded queue before them.
//!
//! Threads are made when there is work and end when there was none for a while, so that an idle
//! server pays nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for work before it ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// The threads.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads_max: usize,
    waiting_max: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    pub(super) fn new(threads_max: usize, waiting_max: usize) -> Self {
        Self { shared: Arc::default(), threads_max: threads_max.max(1), waiting_max }
    }

    /// Has `work` done as soon as a thread is free; false: too much waits already.
    pub(super) fn take(&self, work: Work) -> bool {
        let mut state = self.shared.state();
        if state.waiting.len() >= self.waiting_max {
            return false;
        }
        state.waiting.push_back(work);
        if state.idle >= state.waiting.len() || state.threads >= self.threads_max {
            self.shared.more.notify_one();
            return true;
        }
        state.threads += 1;
        drop(state);
        self.start()
    }

    fn start(&self) -> bool {
        let shared = self.shared.clone();
        let started = thread::Builder::new().name("auth".into()).spawn(move || run(&shared)).is_ok();
        if !started {
            let mut state = self.shared.state();
            state.threads -= 1;
            // Nobody may be there to do it: what waits is dropped, which its askers see.
            if state.threads == 0 {
                state.waiting.clear();
            }
            return state.threads > 0;
        }
        started
    }
}

fn run(shared: &Shared) {
    while let Some(work) = next(shared) {
        // A panic in one check must not take the thread's place in the count with it.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if done.is_err() {
            tracing::error!("a password check panicked");
        }
    }
}

fn next(shared: &Shared) -> Option<Work> {
    let mut state = shared.state();
    loop {
        if let Some(work) = state.waiting.pop_front() {
            return Some(work);
        }
        state.idle += 1;
        let (after, waited) = shared.more.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
        state = after;
        state.idle -= 1;
        if waited.timed_out() && state.waiting.is_empty() {
            state.threads -= 1;
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_is_done_and_what_is_too_much_is_refused() {
        let workers = Workers::new(1, 2);
        let (gate, opened) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let (done, results) = mpsc::channel();
        assert!(workers.take(Box::new(move || {
            started.send(()).unwrap();
            opened.recv().unwrap();
        })));
        has_started.recv().unwrap();
        let job = |number: u32| {
            let done = done.clone();
            Box::new(move || done.send(number).unwrap())
        };
        assert_eq!([workers.take(job(1)), workers.take(job(2)), workers.take(job(3))], [true, true, false]);
        gate.send(()).unwrap();
        assert_eq!([results.recv().unwrap(), results.recv().unwrap()], [1, 2]);
    }

    #[test]
    fn a_panic_costs_only_its_own_work() {
        let workers = Workers::new(1, 8);
        let (done, results) = mpsc::channel();
        assert!(workers.take(Box::new(|| panic!("on purpose"))));
        assert!(workers.take(Box::new(move || done.send(()).unwrap())));
        results.recv().unwrap();
    }
}
