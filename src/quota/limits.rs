//! The limits of a layer: what the operator has set, and what can be changed while it runs.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::Duration,
};

use governor::Quota;

use super::{
    Per,
    gcra::{Gcra, nanos},
    store::{Check, Former},
    ticket::{MAX_LIMITS, Ticket},
};
use crate::{
    call::{Head, Standing, Target},
    error::{Allowance, Scope},
    gate::Mode,
};

/// Odd, and with bits all over: tells apart the cells of a quota and of the one that took its place.
const GENERATION: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many quotas before this one are remembered: with each one more, a key that has not called yet is looked for once more.
const MAX_FORMERS: usize = 8;

/// How many limits there may be besides the four that have a name of their own in the layer.
const MAX_OTHERS: usize = MAX_LIMITS - 4;

/// All that a decision needs to know. Never changed: a change puts another in its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// In the order of decision.
    limits: Vec<Limit>,
    pub(super) mode: Mode,
    pub(super) line: Line,
    /// The longest that calls could ever wait: cells may be ahead by that.
    ahead: Duration,
    /// What calls cost that cost more than 1: no burst may be below that. Of the targets of those catalogues that the layer was
    /// checked for, by their ids.
    costs: BTreeMap<u64, Cost>,
    /// How many quotas have been set.
    generations: u64,
}

/// What a call of a target costs.
#[derive(Debug, Clone)]
struct Cost {
    /// Catalogues come and go.
    target: Weak<Target>,
    cost: NonZeroU32,
}

/// How calls may wait for their turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    pub(super) at_most: Duration,
    pub(super) places: u32,
}

/// One limit.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) per: Per,
    pub(super) quota: Quota,
    gcra: Gcra,
    pub(super) allowance: Allowance,
    /// The number of this quota among all that were set: its cells have keys of their own.
    generation: u64,
    /// What was in its place before, the last one first.
    formers: Arc<[Former]>,
}

/// Why limits do not make sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// A call is weighed against all limits at once, and there is room for so many.
    #[error("{0} limits other than those per tenant and target are set, but one layer holds at most {MAX_OTHERS}")]
    TooMany(usize),
    /// No call of this tool, or read of this resource template, could ever pass.
    #[error("a call of {tool:?} costs {cost}, but the burst of the limit per {} is {burst}: none would ever pass", .scope.as_str())]
    Burst {
        /// The tool or resource template.
        tool: String,
        /// What one call of it costs, by the operator's word.
        cost: u32,
        /// Whose limit is too low.
        scope: Scope,
        /// The burst of that limit.
        burst: u32,
    },
}

impl Limits {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    pub(super) fn get(&self, per: Per) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.per.is_like(per))
    }

    /// Sets the limit that counts per these parts, new or changed, if that makes sense.
    pub(super) fn try_set(&mut self, per: Per, quota: Quota, now: u64) -> Result<(), QuotaError> {
        let known = self.costs.values().filter_map(|known| Some((known.target.upgrade()?, known.cost)));
        if let Some((target, cost)) = known.max_by_key(|(_, cost)| *cost) {
            fits(&target, cost, per, quota)?;
        }
        let others = self.limits.iter().filter(|limit| !limit.per.is_named() && !limit.per.is_like(per)).count();
        if !per.is_named() && others >= MAX_OTHERS {
            return Err(QuotaError::TooMany(others + 1));
        }
        self.set(per, quota, now);
        Ok(())
    }

    /// Sets a limit that there is room for. One that is as it was stays as it is.
    pub(super) fn set(&mut self, per: Per, quota: Quota, now: u64) {
        if self.get(per).is_some_and(|known| known.per.is_same(per) && known.quota == quota) {
            return;
        }
        self.generations += 1;
        let (calls, window) = (quota.burst_size().get(), quota.burst_size_replenished_in());
        let allowance = Allowance { calls, per: window, scope: per.scope() };
        let formers = Arc::default();
        let mut limit = Limit { per, quota, gcra: Gcra::new(quota), allowance, generation: self.generations, formers };
        match self.limits.iter_mut().find(|known| known.per.is_like(per)) {
            Some(known) => {
                limit.formers = known.leave(self.generations, now, self.ahead);
                *known = limit;
            }
            None => self.limits.push(limit),
        }
        self.limits.sort_by_key(|limit| limit.per.rank());
    }

    pub(super) fn set_line(&mut self, line: Line) {
        self.line = line;
        self.ahead = self.ahead.max(line.at_most);
    }

    pub(super) fn remove(&mut self, per: Per) {
        self.limits.retain(|limit| !limit.per.is_like(per));
    }

    /// Takes note that a call of `target` may cost so much, unless that is more than a burst. What it cost before counts on,
    /// until it is [`noted`](Self::note) that it does not.
    pub(super) fn expect(&mut self, target: &Arc<Target>, cost: NonZeroU32) -> Result<(), QuotaError> {
        self.limits.iter().try_for_each(|limit| fits(target, cost, limit.per, limit.quota))?;
        if self.costs.get(&target.id()).is_none_or(|known| cost > known.cost) {
            self.charge(target, cost);
        }
        Ok(())
    }

    /// Takes note of what a call of `target` costs now.
    pub(super) fn note(&mut self, target: &Arc<Target>) {
        self.charge(target, target.cost());
    }

    fn charge(&mut self, target: &Arc<Target>, cost: NonZeroU32) {
        self.costs.insert(target.id(), Cost { target: Arc::downgrade(target), cost });
        // No burst is below 1.
        self.costs.retain(|_, known| known.cost > NonZeroU32::MIN && known.target.strong_count() > 0);
    }

    /// What `head` has to pass, but for a limit that it has passed already: a place for each limit.
    #[inline]
    pub(super) fn checks<'a, 'c>(
        &'a self,
        head: &Head,
        now: u64,
        passed: Option<Per>,
        checks: &'c mut [Option<Check<'a>>; MAX_LIMITS],
    ) -> &'c [Option<Check<'a>>] {
        for (place, limit) in checks.iter_mut().zip(&self.limits) {
            if passed.is_none_or(|passed| !passed.is_like(limit.per)) {
                *place = limit.check(head, now);
            }
        }
        checks.get(..self.limits.len()).unwrap_or(checks)
    }

    /// Where the caller stands with the limit that is nearest to refusing it, when it is counted as `ticket` says.
    #[inline]
    pub(super) fn standing(&self, checks: &[Option<Check<'_>>], ticket: &Ticket, now: u64) -> Option<Standing> {
        let mut nearest: Option<(&Limit, u64, u32)> = None;
        let mut cells = ticket.cells().iter();
        for (limit, _) in self.limits.iter().zip(checks).filter(|(_, check)| check.is_some()) {
            let tat = cells.next()?.after;
            let remaining = limit.gcra.remaining(tat, now);
            if nearest.is_none_or(|(.., least)| remaining < least) {
                nearest = Some((limit, tat, remaining));
            }
        }
        nearest.map(|(limit, tat, _)| limit.standing(tat, now))
    }
}

impl Limit {
    /// What the next quota has to know of this one, which ends now, and of those before it.
    ///
    /// Cells do not say under which quota they were written, so those of the next one have other keys, and who has a cell
    /// under an earlier one takes along what it owes.
    fn leave(&self, next: u64, now: u64, ahead: Duration) -> Arc<[Former]> {
        let flip = salt(self.generation) ^ salt(next);
        let forgotten = now.saturating_add(self.gcra.memory_ns()).saturating_add(nanos(ahead));
        let earlier = self.formers.iter().filter(|former| now < former.forgotten);
        let earlier = earlier.map(|former| Former { flip: former.flip ^ flip, ..*former });
        [Former { flip, gcra: self.gcra, until: now, forgotten }].into_iter().chain(earlier).take(MAX_FORMERS).collect()
    }

    #[inline]
    pub(super) fn check(&self, head: &Head, now: u64) -> Option<Check<'_>> {
        let key = self.per.cell(head)? ^ u128::from(salt(self.generation));
        let cost = head.target.cost();
        let remembered = self.formers.iter().rposition(|former| now < former.forgotten).map_or(0, |last| last + 1);
        Some(Check { key, gcra: self.gcra, cost, formers: self.formers.get(..remembered).unwrap_or_default() })
    }

    pub(super) fn standing(&self, tat: u64, now: u64) -> Standing {
        let Allowance { calls, per, scope } = self.allowance;
        let reset = Duration::from_nanos(tat.saturating_sub(now));
        Standing { scope, quota: calls, window: per, remaining: self.gcra.remaining(tat, now), reset }
    }
}

const fn salt(generation: u64) -> u64 {
    generation.wrapping_mul(GENERATION)
}

/// A limit that counts what nobody can know beforehand may never meet the tool.
fn fits(target: &Target, cost: NonZeroU32, per: Per, quota: Quota) -> Result<(), QuotaError> {
    let burst = quota.burst_size();
    if per.is_own() || cost <= burst {
        return Ok(());
    }
    let tool = target.name().unwrap_or_default().to_owned();
    Err(QuotaError::Burst { tool, cost: cost.get(), scope: per.scope(), burst: burst.get() })
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
