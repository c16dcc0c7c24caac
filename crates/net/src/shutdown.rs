//! Tells everybody that the server is about to stop.
//!
//! One [`Shutdown`] belongs to the process; each connection and each long-running task holds a
//! [`Stop`]. A `Stop` has its own waker, so that ten thousand idle connections share no lock while
//! they wait.
//!
//! Not a supervisor: it neither owns nor ends tasks.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The switch. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    told: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    wakers: HashMap<u64, Arc<Mutex<Option<Waker>>>>,
}

impl Shutdown {
    /// A switch that nobody has thrown yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everyone who holds a [`Stop`], now and later.
    pub fn tell(&self) {
        self.0.told.store(true, Ordering::SeqCst);
        let wakers: Vec<_> = lock(&self.0.waiting).wakers.values().cloned().collect();
        for waker in wakers {
            if let Some(waker) = lock(&waker).take() {
                waker.wake();
            }
        }
    }

    /// Whether [`Shutdown::tell`] was called.
    pub fn is_told(&self) -> bool {
        self.0.told.load(Ordering::SeqCst)
    }

    /// A handle that hears of it.
    pub fn stop(&self) -> Stop {
        let waker = Arc::new(Mutex::new(None));
        let mut waiting = lock(&self.0.waiting);
        let number = waiting.next;
        waiting.next += 1;
        waiting.wakers.insert(number, Arc::clone(&waker));
        drop(waiting);
        Stop(Some(Registration { switch: Arc::clone(&self.0), number, waker }))
    }
}

/// Hears that the server stops. One waiter each: clone the [`Shutdown`] for more.
#[derive(Debug)]
pub struct Stop(Option<Registration>);

#[derive(Debug)]
struct Registration {
    switch: Arc<Switch>,
    number: u64,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Stop {
    /// One that never hears anything.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Whether the server is stopping.
    pub fn is_told(&self) -> bool {
        self.0.as_ref().is_some_and(|registration| registration.switch.told.load(Ordering::SeqCst))
    }

    /// Ready when the server is stopping; otherwise the task is woken when it does.
    pub fn poll_told(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(registration) = &self.0 else { return Poll::Pending };
        if self.is_told() {
            return Poll::Ready(());
        }
        registration.remember(context.waker());
        if self.is_told() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until the server is stopping.
    pub async fn told(&self) {
        poll_fn(|context| self.poll_told(context)).await;
    }
}

impl Registration {
    fn remember(&self, waker: &Waker) {
        let mut known = lock(&self.waker);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.switch.waiting).wakers.remove(&self.number);
    }
}

/// A panic cannot leave these maps half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_even_who_comes_late() {
        let shutdown = Shutdown::new();
        let early = shutdown.stop();
        let waiting = tokio::spawn(async move { early.told().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        shutdown.tell();
        waiting.await.unwrap();
        shutdown.stop().told().await;
        assert!(shutdown.is_told());
    }

    #[test]
    fn a_dropped_stop_leaves_nothing_behind() {
        let shutdown = Shutdown::new();
        drop(shutdown.stop());
        assert!(lock(&shutdown.0.waiting).wakers.is_empty());
        assert!(!Stop::never().is_told());
    }
}
