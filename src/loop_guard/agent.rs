//! What is remembered of one agent: plain state, with the time passed in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    key::Key,
    outcome::{News, Outcome},
    ping_pong::PingPong,
    policy::Policy,
    streak::Streak,
};

/// How many calls are remembered of one agent.
pub(super) const CALLS: usize = 64;

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

/// How one call has ended, again and again.
#[derive(Debug)]
struct Run {
    key: Key,
    streak: Streak,
    /// When it was last added to.
    at: Instant,
    /// How many attempts of the client's own went with it.
    retries: u32,
    /// The one call that is let through where the next has to wait for it.
    trial: Option<Ticket>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admit {
    /// Nothing is held against it.
    Pass,
    /// It goes with one that was counted.
    Retry,
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
    /// A call that keeps failing.
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
    /// Lets a call through or not. `None` is a call that cannot be compared with others; `retry` says that its client calls it
    /// another attempt at one that it has made before.
    pub(super) fn admit(&mut self, key: Option<Key>, retry: bool, policy: &Policy, now: Instant) -> Admit {
        self.seen = Some(now);
        let place = key.and_then(|key| self.place(key, policy, now));
        let admit = place.map_or(Admit::Pass, |place| self.runs[place].admits(retry, policy, now));
        if let Admit::Loop(_) = admit {
            self.refused += 1;
            return admit;
        }
        if let Err(wait) = self.spend(policy, now) {
            self.refused += 1;
            return Admit::Budget(wait);
        }
        if let Some(place) = place {
            self.runs[place].lets_through(admit);
        }
        admit
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
            (run.streak.same, waits && policy.blocks(run.streak))
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
        if let Some(place) = self.place(key, policy, now) {
            let run = &mut self.runs[place];
            return run.grow(run.streak.and(outcome), policy, now);
        }
        if self.runs.len() >= CALLS
            && let Some((oldest, _)) = self.runs.iter().enumerate().min_by_key(|(_, run)| run.at)
        {
            self.runs.swap_remove(oldest);
        }
        let streak = Streak::of(outcome);
        self.runs.push(Run { key, streak, at: now, retries: 0, trial: None });
        policy.blocks(streak)
    }

    /// Makes a run at least this long. Says whether that blocks the call.
    fn raise(&mut self, key: Key, length: u32, policy: &Policy, now: Instant) -> bool {
        let Some(run) = self.runs.iter_mut().find(|run| run.key == key) else { return false };
        run.grow(Streak { same: run.streak.same.max(length), ..run.streak }, policy, now)
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
    /// What becomes of a call, as far as this run goes.
    fn admits(&self, retry: bool, policy: &Policy, now: Instant) -> Admit {
        if retry && self.retries < policy.settings().client_retries {
            return Admit::Retry;
        }
        match self.wait(policy, now) {
            None => Admit::Pass,
            Some(Duration::ZERO) => Admit::Trial(Ticket::draw()),
            Some(wait) => Admit::Loop(wait),
        }
    }

    const fn lets_through(&mut self, admit: Admit) {
        match admit {
            Admit::Retry => self.retries += 1,
            Admit::Trial(ticket) => self.trial = Some(ticket),
            Admit::Pass | Admit::Loop(_) | Admit::Budget(_) => {}
        }
    }

    /// Says whether this blocks the call, which was not blocked before.
    fn grow(&mut self, streak: Streak, policy: &Policy, now: Instant) -> bool {
        let blocked = policy.blocks(self.streak);
        (self.streak, self.at) = (streak, self.at.max(now));
        !blocked && policy.blocks(streak)
    }

    fn is_over(&self, policy: &Policy, now: Instant) -> bool {
        self.trial.is_none() && now.saturating_duration_since(self.at) >= policy.settings().remember_for
    }

    /// How long the next call has to wait. Zero: it may come, but alone. `None`: it may come.
    fn wait(&self, policy: &Policy, now: Instant) -> Option<Duration> {
        let gap = policy.gap(self.streak);
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
