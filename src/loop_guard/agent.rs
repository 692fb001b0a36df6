//! What is remembered of one agent: plain state, with the time passed in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    outcome::{News, Outcome},
    ping_pong::PingPong,
    policy::Policy,
};

/// How many calls are remembered of one agent.
pub(super) const CALLS: usize = 64;

/// A call, as far as two calls are the same: a digest of its target, its arguments and what it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u128);

/// Names the call that is let through as a trial. No two are equal, also where an agent was forgotten in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    fn draw() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One agent.
#[derive(Debug, Default)]
pub(super) struct Agent {
    runs: Vec<Run>,
    ping_pong: PingPong,
    /// When its budget would be whole again (GCRA's theoretical arrival time).
    whole_at: Option<Instant>,
    /// When it was last heard of.
    seen: Option<Instant>,
    refused: u64,
}

/// How often in a row one call has ended in the same way.
#[derive(Debug)]
struct Run {
    key: Key,
    outcome: Outcome,
    length: u32,
    /// When it was last added to.
    at: Instant,
    /// The one call that is let through where the next has to wait for it.
    trial: Option<Ticket>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admit {
    /// Nothing is held against it.
    Pass,
    /// It is the one that is let through; its end has to be told.
    Trial(Ticket),
    /// It goes in circles, and may come back after this time.
    Loop(Duration),
    /// The agent's budget is used up for this time.
    Budget(Duration),
}

/// What has just been found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A call that keeps failing in the same way.
    Repetition,
    /// Two of them in turn.
    PingPong,
}

impl Found {
    pub(super) const ALL: [Self; 2] = [Self::Repetition, Self::PingPong];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Repetition => "repetition",
            Self::PingPong => "ping_pong",
        }
    }
}

impl Agent {
    /// Lets a call through or not. `None` is a call that cannot be compared with others.
    pub(super) fn admit(&mut self, key: Option<Key>, policy: &Policy, now: Instant) -> Admit {
        self.seen = Some(now);
        let spaced = match key.and_then(|key| self.place(key, policy, now)) {
            Some(place) => match self.runs[place].wait(policy, now) {
                Some(Duration::ZERO) => Some(place),
                Some(wait) => {
                    self.refused += 1;
                    return Admit::Loop(wait);
                }
                None => None,
            },
            None => None,
        };
        if let Err(wait) = self.spend(policy, now) {
            self.refused += 1;
            return Admit::Budget(wait);
        }
        let Some(place) = spaced else { return Admit::Pass };
        let ticket = Ticket::draw();
        self.runs[place].trial = Some(ticket);
        Admit::Trial(ticket)
    }

    /// A call that was let through has ended.
    pub(super) fn settle(
        &mut self,
        key: Key,
        ticket: Option<Ticket>,
        news: News,
        policy: &Policy,
        now: Instant,
    ) -> Option<Found> {
        if let Some(ticket) = ticket {
            self.release(key, ticket);
        }
        self.seen = Some(now);
        let outcome = match news {
            News::Nothing => return None,
            News::Moved => {
                self.ping_pong.ended();
                self.runs.retain(|run| run.key != key);
                return None;
            }
            News::Outcome(outcome) => outcome,
        };
        let mut found = self.add(key, outcome, policy, now).then_some(Found::Repetition);
        match outcome {
            Outcome::Success(_) => self.ping_pong.ended(),
            Outcome::Failure(how) if policy.settings().ping_pong => {
                if let Some((other, length)) = self.ping_pong.failed(key, how) {
                    // Both stand for the pair: whichever comes next is next in its row.
                    let raised = [key, other].map(|key| self.raise(key, length, policy, now));
                    found = found.or(raised.contains(&true).then_some(Found::PingPong));
                }
            }
            Outcome::Failure(_) => {}
        }
        found
    }

    /// A trial that says nothing, since its caller has left.
    pub(super) fn release(&mut self, key: Key, ticket: Ticket) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.key == key && run.trial == Some(ticket)) {
            run.trial = None;
        }
    }

    /// Whether there is nothing worth remembering.
    pub(super) fn is_idle(&self, policy: &Policy, now: Instant) -> bool {
        self.runs.iter().all(|run| run.is_over(policy, now)) && self.whole_at.is_none_or(|at| at <= now)
    }

    /// When it was last heard of.
    pub(super) const fn seen(&self) -> Option<Instant> {
        self.seen
    }

    /// How often it was refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// For each call that is remembered, how often it has ended in the same way, and whether it is blocked.
    pub(super) fn runs(&self, policy: &Policy, now: Instant) -> impl Iterator<Item = (u32, bool)> {
        let lasting = self.runs.iter().filter(move |run| !run.is_over(policy, now));
        lasting.map(move |run| {
            let waits = run.wait(policy, now).is_some_and(|wait| !wait.is_zero());
            (run.length, waits && policy.blocks(run.outcome, run.length))
        })
    }

    /// Where the run of this call stands, if it has one that lasts.
    fn place(&mut self, key: Key, policy: &Policy, now: Instant) -> Option<usize> {
        let place = self.runs.iter().position(|run| run.key == key)?;
        if self.runs[place].is_over(policy, now) {
            self.runs.swap_remove(place);
            return None;
        }
        Some(place)
    }

    /// Adds to the run of this call, or begins a new one. Says whether that blocks it.
    fn add(&mut self, key: Key, outcome: Outcome, policy: &Policy, now: Instant) -> bool {
        match self.place(key, policy, now) {
            Some(place) if self.runs[place].outcome == outcome => {
                let longer = self.runs[place].length.saturating_add(1);
                return self.raise(key, longer, policy, now);
            }
            Some(place) => {
                let run = &mut self.runs[place];
                (run.outcome, run.length, run.at) = (outcome, 1, now.max(run.at));
            }
            None => {
                if self.runs.len() >= CALLS
                    && let Some((oldest, _)) = self.runs.iter().enumerate().min_by_key(|(_, run)| run.at)
                {
                    self.runs.swap_remove(oldest);
                }
                self.runs.push(Run { key, outcome, length: 1, at: now, trial: None });
            }
        }
        policy.blocks(outcome, 1)
    }

    /// Makes a run at least this long. Says whether that blocks the call.
    fn raise(&mut self, key: Key, length: u32, policy: &Policy, now: Instant) -> bool {
        let Some(run) = self.runs.iter_mut().find(|run| run.key == key) else { return false };
        let blocked = policy.blocks(run.outcome, run.length);
        (run.length, run.at) = (run.length.max(length), run.at.max(now));
        !blocked && policy.blocks(run.outcome, run.length)
    }

    /// Counts a call against the budget, or says how long that has to wait.
    fn spend(&mut self, policy: &Policy, now: Instant) -> Result<(), Duration> {
        let Some(budget) = policy.settings().budget else { return Ok(()) };
        let (interval, burst) = (budget.replenish_interval(), budget.burst_size().get());
        let whole_at = self.whole_at.map_or(now, |at| at.max(now)).checked_add(interval).unwrap_or(now);
        let owed = whole_at.saturating_duration_since(now);
        match owed.checked_sub(interval.saturating_mul(burst)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.whole_at = Some(whole_at);
                Ok(())
            }
        }
    }
}

impl Run {
    fn is_over(&self, policy: &Policy, now: Instant) -> bool {
        self.trial.is_none() && now.saturating_duration_since(self.at) >= policy.settings().remember_for
    }

    /// How long the next call has to wait. Zero: it may come, but alone. `None`: it may come.
    fn wait(&self, policy: &Policy, now: Instant) -> Option<Duration> {
        let gap = policy.gap(self.outcome, self.length);
        if gap.is_zero() {
            return None;
        }
        Some(match self.trial {
            // When the trial ends is not known; if it fails, this is the least that there is to wait.
            Some(_) => gap,
            None => gap.saturating_sub(now.saturating_duration_since(self.at)),
        })
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
