//! A limit that learns how many calls may be in flight: it asks whether throughput follows concurrency, never how slow the calls
//! are.
//!
//! While callers wait, the limit is moved a step, and the latency of the calls begun since is held against that of those before.
//! By Little's law, `d ln X / d ln N = 1 - d ln R / d ln N`: where latency stays as it was, throughput has followed, and there is
//! room; where latency grows as much as the limit does, the target is full. Latency is read rather than throughput since it is
//! known one round trip after a change instead of two. A target that is merely slow gives the same answer at 50 ms as at 5 s.
//!
//! While nobody waits, the limit comes down to what is used and some room to spare. So a limit that is far too high has learnt
//! before the crowd comes.
//!
//! Pure: it reads no clock. The queue tells it what happens, obeys [`limit`](Adaptive::limit), and asks
//! [`may_start`](Adaptive::may_start) before it lets in one who waits.

mod bounds;
mod group;
mod pace;
mod search;

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

pub use bounds::{Bounds, BoundsError};
use group::{Group, Reading, Seen};
use pace::Pace;

/// Under pressure are callers that wait while at least half of the slots are held.
const PRESSED: f64 = 0.5;

/// How an attempt ended, as far as the limit cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The target answered, well or not.
    Answered,
    /// A timeout or a plea for mercy (429, 503): counts, and too many of them shrink the limit.
    Overload,
    /// The caller left: the attempt would have taken longer than it has.
    Cut,
    /// Says nothing about the target.
    Nothing,
}

/// How many slots of a target are held, and how many calls wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crowd {
    /// The slots held.
    pub in_flight: u32,
    /// The calls that wait.
    pub waiting: u32,
}

/// Which way the next step goes, or the one under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// The limit of one target. Times are in seconds since `epoch`.
#[derive(Debug)]
pub(super) struct Adaptive {
    bounds: Bounds,
    epoch: Instant,
    /// The limit that has proved itself. Where a probe shows nothing good, it is the limit again.
    home: f64,
    limit: f64,
    probing: bool,
    way: Way,
    /// Steps are factors; this is the logarithm of the next one.
    step: f64,
    /// What the last group at `home` showed. `None` while nobody waits.
    base: Option<Seen>,
    /// Probes since the last that was good, how many groups are watched between two, and how many are left to be watched.
    fruitless: u32,
    patience: u32,
    idle: u32,
    /// The most in flight of late while nobody waited.
    busy: f64,
    /// The best latency since the world last changed, and the arrivals a second.
    best: f64,
    demand: f64,
    group: Group,
    pace: Pace,
    in_flight: f64,
    waiting: f64,
    clock: f64,
    /// Seconds under pressure, since the beginning.
    pressed: f64,
    last_end: f64,
}

impl Adaptive {
    /// Begins at `bounds.initial()`.
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        let limit = f64::from(bounds.initial());
        Self {
            bounds,
            epoch: now,
            home: limit,
            limit,
            probing: false,
            way: Way::Up,
            step: search::WIDEST,
            base: None,
            fruitless: 0,
            patience: 0,
            idle: 0,
            busy: 0.0,
            best: f64::INFINITY,
            demand: f64::INFINITY,
            group: Group::new(limit),
            pace: Pace::new(),
            in_flight: 0.0,
            waiting: 0.0,
            clock: 0.0,
            pressed: 0.0,
            last_end: 0.0,
        }
    }

    /// How many may be in flight now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds")]
    pub(super) fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(self.limit.round() as u32).unwrap_or(NonZeroU32::MIN)
    }

    /// When one of those who wait may start: now, or a little later.
    pub(super) fn may_start(&self, now: Instant) -> Instant {
        let wait = self.pace.due(self.limit, self.waiting) - self.seconds(now);
        Duration::try_from_secs_f64(wait).ok().and_then(|wait| now.checked_add(wait)).unwrap_or(now)
    }

    /// A call came; where it must wait, it is among those who do.
    pub(super) fn arrived(&mut self, crowd: Crowd, now: Instant) {
        self.pass_time(crowd, now);
        self.group.arrivals = self.group.arrivals.saturating_add(1);
    }

    /// An attempt starts, and is among those in flight.
    pub(super) fn started(&mut self, crowd: Crowd, now: Instant) {
        self.pass_time(crowd, now);
        self.pace.started(self.limit, self.waiting, self.clock);
        // A step up is half done before calls say anything about it.
        let climbing = self.limit > self.home && self.in_flight < f64::midpoint(self.home, self.limit);
        if self.group.has_begun() || !climbing {
            self.group.started(self.in_flight, self.pressed, self.clock);
        }
    }

    /// An attempt that began at `started` is over, and not among those in flight any more.
    pub(super) fn ended(&mut self, started: Instant, outcome: Outcome, crowd: Crowd, now: Instant) {
        self.pass_time(crowd, now);
        let now = self.clock;
        let started = self.seconds(started);
        let took = (now - started).max(0.0);
        let silence = now - self.last_end;
        self.last_end = now;
        let known = match outcome {
            Outcome::Answered | Outcome::Overload => true,
            // No shorter than most are: what it would have taken belongs to the slowest quarter in any case.
            Outcome::Cut => self.base.is_some_and(|base| took >= base.quantile),
            Outcome::Nothing => false,
        };
        if known {
            self.pace.ended(took);
        }
        if !self.group.has_begun() {
            return;
        }
        self.group.ends = self.group.ends.saturating_add(1);
        if let (true, Way::Up, Some(base)) = (self.probing, self.way, self.base) {
            // Longer than a step worth taking would need: no use waiting for the rest.
            let enough = 1.2 * base.quantile * (self.limit / self.home).sqrt();
            if self.group.is_overdue(enough, now) {
                return self.reject();
            }
        }
        self.group.ended(started, known.then_some(took), outcome == Outcome::Overload);
        let (probing, base, way, step) = (self.probing, self.base, self.way, self.step);
        let clear = |seen: &Seen| probing && base.is_some_and(|base| search::is_clear(seen, &base, way, step));
        match self.group.read(silence, self.step / 8.0, clear, now) {
            Reading::NotYet => {}
            Reading::Stale => self.group.restart(self.limit),
            Reading::Void => self.settle(self.home),
            Reading::Done(seen) => self.judge(seen),
        }
    }

    fn pass_time(&mut self, crowd: Crowd, now: Instant) {
        let now = self.seconds(now).max(self.clock);
        if self.waiting > 0.0 && self.in_flight >= self.limit * PRESSED {
            self.pressed += now - self.clock;
        }
        (self.in_flight, self.waiting, self.clock) = (f64::from(crowd.in_flight), f64::from(crowd.waiting), now);
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.epoch).as_secs_f64()
    }
}

#[cfg(test)]
mod tests;
