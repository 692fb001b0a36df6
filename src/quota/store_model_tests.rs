//! The store against a plain model, with calls that wait, leave and are taken back.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::super::gcra::nanos;
use super::*;

const TENANT: (u64, u32) = (700, 4);
const GLOBAL: (u64, u32) = (100, 9);
const PATIENCE_MS: u64 = 1_500;

fn gcra((period_ms, burst): (u64, u32)) -> Gcra {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Gcra::new(governor::Quota::with_period(Duration::from_millis(period_ms)).unwrap().allow_burst(burst))
}

/// Both levels; the global cell is the last, in a shard that one of the tenants shares.
fn checks(tenant: u64, cost: u32) -> [Option<Check<'static>>; 2] {
    let cost = NonZeroU32::new(cost).unwrap();
    [(u128::from(tenant % 3) << 64 | u128::from(tenant), TENANT), (1_000, GLOBAL)]
        .map(|(key, quota)| Some(Check { key, gcra: gcra(quota), cost, formers: &[] }))
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// A call of a tenant, of this cost, that waits or does not.
    Call { tenant: u64, cost: u32, waits: bool },
    /// One of the calls so far is not sent after all, or leaves the line.
    Leave { which: usize },
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let gap = prop_oneof![3 => Just(0), 6 => 0..300u64, 1 => 0..5_000u64];
    let act = prop_oneof![
        4 => (0..5u64, 1..4u32, any::<bool>()).prop_map(|(tenant, cost, waits)| Act::Call { tenant, cost, waits }),
        2 => (0..8usize).prop_map(|which| Act::Leave { which }),
    ];
    prop::collection::vec((gap, act), 1..150)
}

/// Each cell is the pile of what was counted in it and not taken back: who is on top can still be.
#[derive(Default)]
struct Model {
    piles: HashMap<u128, Vec<(usize, u64)>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Passes,
    Waits { index: usize, at: u64 },
    Refused { index: usize, early: u64 },
    Never,
}

impl Model {
    fn tat(&self, key: u128) -> u64 {
        self.piles.get(&key).and_then(|pile| pile.last()).map_or(0, |&(_, tat)| tat)
    }

    fn call(&mut self, id: usize, now: u64, checks: &[Option<Check<'_>>], patience: Option<u64>) -> Said {
        let mut counted = Vec::new();
        let mut turn: Option<(usize, u64, u128, u64)> = None;
        for (index, check) in checks.iter().enumerate() {
            let Some(check) = check else { continue };
            match check.gcra.decide(self.tat(check.key), now, check.cost) {
                Decision::Admit { tat } => counted.push((check.key, tat)),
                Decision::Wait { tat, retry_after } => {
                    let early = nanos(retry_after);
                    let hopeless = match turn {
                        Some((_, first, ..)) => early > first,
                        None => patience.is_none_or(|patience| early > patience),
                    };
                    if hopeless {
                        return Said::Refused { index, early };
                    }
                    turn = turn.or(Some((index, early, check.key, tat)));
                }
                Decision::Never => return Said::Never,
            }
        }
        let said = match turn {
            None => Said::Passes,
            Some((index, early, key, tat)) => {
                counted = vec![(key, tat)];
                Said::Waits { index, at: now + early }
            }
        };
        counted.into_iter().for_each(|(key, tat)| self.piles.entry(key).or_default().push((id, tat)));
        said
    }

    fn leave(&mut self, id: usize) {
        for pile in self.piles.values_mut() {
            if pile.last().is_some_and(|&(top, _)| top == id) {
                pile.pop();
            }
        }
    }
}

/// A call that was let in, or is in the line.
struct Live {
    tenant: u64,
    cost: u32,
    ticket: Ticket,
    /// When it was, or will be, admitted; `None`: it left before.
    admitted: Option<u64>,
}

struct Run {
    store: Store,
    model: Model,
    calls: Vec<Live>,
    /// Calls in the line, by when their turn comes: under which limit, and which call.
    line: BTreeMap<(u64, usize), usize>,
}

impl Run {
    fn new() -> Self {
        Self { store: Store::new(10_000), model: Model::default(), calls: Vec::new(), line: BTreeMap::new() }
    }

    fn ask(
        &mut self,
        id: usize,
        now: u64,
        checks: &[Option<Check<'_>>],
        patience: Option<u64>,
    ) -> Option<(Ticket, Option<Turn>)> {
        let mut ticket = Ticket::default();
        let answer = self.store.admit(now, checks, patience, &mut ticket);
        let said = match &answer {
            Ok(None) => Said::Passes,
            Ok(Some(turn)) => Said::Waits { index: turn.index, at: turn.at },
            Err(Refused { index, retry_after: Some(early) }) => Said::Refused { index: *index, early: nanos(*early) },
            Err(Refused { retry_after: None, .. }) => Said::Never,
        };
        assert_eq!(said, self.model.call(id, now, checks, patience), "at {now}");
        assert!(answer.is_ok() || ticket.cells().is_empty());
        Some((ticket, answer.ok()?))
    }

    /// Those whose turn has come ask the limits that they have not passed.
    fn turns(&mut self, now: u64) {
        while let Some((&(at, id), &index)) = self.line.first_key_value().filter(|((at, _), _)| *at <= now) {
            self.line.pop_first();
            let mut rest = checks(self.calls[id].tenant, self.calls[id].cost);
            rest[index] = None;
            match self.ask(id, at, &rest, None) {
                Some((ticket, _)) => self.calls[id].ticket.join(&ticket),
                None => self.leave(id),
            }
        }
    }

    fn call(&mut self, now: u64, tenant: u64, cost: u32, waits: bool) {
        let id = self.calls.len();
        let patience = waits.then_some(PATIENCE_MS * 1_000_000);
        if let Some((ticket, turn)) = self.ask(id, now, &checks(tenant, cost), patience) {
            let at = turn.map_or(now, |turn| turn.at);
            self.calls.push(Live { tenant, cost, ticket, admitted: Some(at) });
            if let Some(turn) = turn {
                self.line.insert((at, id), turn.index);
            }
        }
    }

    fn leave(&mut self, id: usize) {
        if self.calls[id].admitted.take().is_some() {
            self.store.refund(&self.calls[id].ticket);
            self.model.leave(id);
            self.line.retain(|&(_, waiting), _| waiting != id);
        }
    }
}

fn assert_windows(mut admitted: Vec<(u64, u32)>, (period_ms, burst): (u64, u32)) {
    admitted.sort_unstable();
    for (first, &(start, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for &(end, cost) in &admitted[first..] {
            sum += cost;
            let over = u64::from(sum.saturating_sub(burst)) * period_ms * 1_000_000;
            assert!(over <= end - start, "{sum} admitted in {} ns", end - start);
        }
    }
}

proptest! {
    #[test]
    fn calls_that_wait_leave_and_are_taken_back_break_no_window_and_overtake_nobody(acts in acts()) {
        let mut run = Run::new();
        let mut now = 0;
        for (gap, act) in acts {
            now += gap * 1_000_000;
            run.turns(now);
            match act {
                Act::Call { tenant, cost, waits } => run.call(now, tenant, cost, waits),
                Act::Leave { which } if !run.calls.is_empty() => run.leave(run.calls.len() - 1 - which % run.calls.len()),
                Act::Leave { .. } => {}
            }
        }
        run.turns(u64::MAX);
        let sent = |of: Option<u64>| {
            let of_tenant = run.calls.iter().filter(move |call| of.is_none_or(|tenant| call.tenant == tenant));
            of_tenant.filter_map(|call| Some((call.admitted?, call.cost))).collect::<Vec<_>>()
        };
        assert_windows(sent(None), GLOBAL);
        for tenant in 0..5 {
            // In the order of arrival: whoever is sent is sent in that order, within a tenant that waits for itself only.
            assert_windows(sent(Some(tenant)), TENANT);
        }
    }
}
