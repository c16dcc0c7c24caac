//! What waits for a thread: a bounded queue whose senders wait without a runtime.

use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::unconstrained;

/// The queue. Any number may send, any number of threads may take.
pub(crate) struct Backlog<T> {
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

struct Waiting<T> {
    items: VecDeque<(T, OwnedSemaphorePermit)>,
    closed: bool,
}

impl<T> Backlog<T> {
    /// At most `waiting_max` items wait inside; their senders wait outside.
    pub(crate) fn new(waiting_max: usize) -> Arc<Self> {
        let waiting = Mutex::new(Waiting { items: VecDeque::new(), closed: false });
        Arc::new(Self { room: Arc::new(Semaphore::new(waiting_max.max(1))), waiting, arrived: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, waiting for room if need be.
    pub(crate) async fn push(&self, item: T) -> Result<()> {
        let permit = self.room.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Closed);
        }
        waiting.items.push_back((item, permit));
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next item, waiting for it; none when the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some((item, _permit)) = waiting.items.pop_front() {
                return Some(item);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item, if there is one and `wanted` likes it.
    pub(crate) fn pop_if(&self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut waiting = self.lock();
        if waiting.items.front().is_some_and(|(item, _)| wanted(item)) { waiting.items.pop_front().map(|(item, _)| item) } else { None }
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Takes no more items; what waits inside is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.arrived.notify_all();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future that needs no runtime, in this thread.
///
/// The thread may be one that runs a task: that task's share of its runtime does not count here. When it is used up,
/// tokio's futures say that they are not ready until the task pauses, which it cannot while it waits.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_and_the_rest_after_closing() {
        let backlog = Backlog::new(4);
        for item in 0..4 {
            block_on(backlog.push(item)).unwrap();
        }
        let sender = backlog.clone();
        let blocked = std::thread::spawn(move || block_on(sender.push(4)));
        assert_eq!(backlog.pop(), Some(0));
        blocked.join().unwrap().unwrap();
        assert_eq!((backlog.pop_if(|item| *item == 9), backlog.pop_if(|item| *item == 1)), (None, Some(1)));
        backlog.close();
        assert!(matches!(block_on(backlog.push(9)), Err(Error::Closed)));
        assert_eq!((0..4).map_while(|_| backlog.pop()).collect::<Vec<_>>(), [2, 3, 4]);
    }

    /// A task may do 128 things without a pause, says its runtime; a thread that only waits needs none.
    #[test]
    fn a_task_that_waits_in_its_thread_needs_no_pause() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let task = async {
                let backlog = Backlog::new(1);
                for item in 0..1_000 {
                    block_on(backlog.push(item)).unwrap();
                    assert_eq!(backlog.pop(), Some(item));
                }
            };
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for ever");
    }
}
