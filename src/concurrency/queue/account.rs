//! What one tenant has had of the slots.

use super::line::Line;

/// One tenant: its line, and how many nanoseconds of slots it may still have, or owes.
#[derive(Debug)]
pub(super) struct Account<T> {
    pub(super) line: Line<T>,
    /// What rounds gave it, less what calls took that have ended.
    pub(super) balance: i128,
    running: Running,
}

/// The calls under way that were let in from the line, and the slots kept, summed up: what they have taken so far can be told at
/// any time.
#[derive(Debug, Default)]
struct Running {
    calls: i128,
    paid: i128,
    started: i128,
}

/// A call let in from the line, or a slot that is kept, as it is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) started: i128,
    pub(super) paid: i128,
}

impl<T> Account<T> {
    pub(super) fn new(balance: i128) -> Self {
        Self { line: Line::default(), balance, running: Running::default() }
    }

    /// What it may still have at `now`. Its running calls count as what they have taken already, and never for less than they
    /// were thought to take: else it could begin many at once before the first is paid for.
    pub(super) fn left(&self, now: i128) -> i128 {
        let Running { calls, paid, started } = self.running;
        self.balance - paid.max(calls * now - started)
    }

    pub(super) fn begin(&mut self, call: Entry) {
        self.running.calls += 1;
        self.running.paid += call.paid;
        self.running.started += call.started;
    }

    pub(super) fn end(&mut self, call: Entry, now: i128) {
        self.running.calls -= 1;
        self.running.paid -= call.paid;
        self.running.started -= call.started;
        self.balance -= (now - call.started).max(0);
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.calls > 0
    }
}
