//! The time, as a value that can be replaced.
//!
//! Not a timer: waiting is tokio's, whose paused time [`VirtualClock`] follows.

use mail::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The monotonic time, for deadlines.
    fn now(&self) -> Instant;
    /// The time of day, for dates and the store.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).after(since_epoch)
    }
}

/// A clock that moves with tokio's time, paused or not: five days pass in no time.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    started: Instant,
    wall_at_start: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `wall` now. Call it inside the runtime whose time it is to follow.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { started: tokio::time::Instant::now().into_std(), wall_at_start: wall }
    }

    fn elapsed(&self) -> Duration {
        self.now().saturating_duration_since(self.started)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> Timestamp {
        self.wall_at_start.after(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_follows_the_runtime() {
        let clock = VirtualClock::starting_at(Timestamp::from_seconds(1000));
        let before = clock.now();
        tokio::time::sleep(Duration::from_hours(120)).await;
        assert_eq!(clock.now() - before, Duration::from_hours(120));
        assert_eq!(clock.wall(), Timestamp::from_seconds(1000 + 120 * 3600));
    }
}
