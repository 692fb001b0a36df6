//! Who of those that wait gets the next slot: pure policy, with the clock passed in.
//!
//! Each tenant has a [line](line) of its own, and the lines take turns: deficit round robin, where a round gives every tenant the
//! time of a typical call, and a tenant pays with the time that its calls really hold slots. So a tenant has its share of the
//! slots' time however many calls it sends and however slow they are, and none is left idle while anybody waits. Up to
//! [`CARRIED`] rounds are carried over, whoever waits or not: so a tenant that asks for less than its share is served before
//! those that ask for more, and not in turns with them.

mod account;
mod line;
mod standing;

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    time::Duration,
};

use account::{Account, Entry};
pub(super) use line::Due;
use line::{Line, Waiter, leaves_time};
use tokio::time::Instant;

use super::latency::Typical;
use crate::{
    call::{Caller, Criticality, Digest},
    error::Reason,
};

/// How many tenants are told apart at one target; further ones are one tenant.
const MOST_TENANTS: usize = 1024;
/// What a turn is worth where nothing is known of the tool.
const FIRST_TURN: Duration = Duration::from_millis(100);
/// How many rounds a tenant may have in hand: what it may send in a burst after it was quiet.
const CARRIED: i128 = 64;
/// A turn is worth something, or nobody's debt would ever be paid.
const SHORTEST_TURN: Duration = Duration::from_micros(1);

/// Those who wait for the slots of one target.
#[derive(Debug)]
pub(super) struct Queue<T> {
    places: usize,
    /// Of every tenant that waits, that is served from the queue, for which slots are kept, or that has not all in hand that it
    /// may; until the queue is empty.
    accounts: HashMap<Digest, Account<T>>,
    /// The same tenants, in the order of their turns.
    turns: VecDeque<Digest>,
    waiting: usize,
    /// Since when somebody has always been waiting.
    contended_since: Option<Instant>,
    last_id: u64,
    pace: Pace,
    epoch: Instant,
}

/// Somebody who wants a place.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) tenant: Digest,
    pub(super) class: Criticality,
    pub(super) due: Option<Due>,
}

/// Where somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    tenant: Digest,
    class: Criticality,
    id: u64,
}

/// Somebody who is let in.
#[derive(Debug)]
pub(super) struct Granted<T> {
    pub(super) value: T,
    pub(super) waited: Duration,
    pub(super) charge: Charge,
}

/// What a call that was let in from the queue, or a slot that is kept, will be charged by: to be [given back](Queue::settle) at
/// its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    tenant: Digest,
    entry: Entry,
}

/// How fast slots come free: the mean time between two who are let in, of late, while somebody has always been waiting.
#[derive(Debug)]
struct Pace {
    last: Instant,
    gap: Duration,
}

impl Pace {
    /// Somebody has to wait again. The pace is what calls take, which hears of every call: those that were let in from an earlier
    /// queue may have been let in long ago, and slowly.
    fn begin(typical: Option<Typical>, slots: u32, now: Instant) -> Self {
        Self { last: now, gap: typical.map_or(Duration::ZERO, |typical| typical.p50 / slots.max(1)) }
    }

    fn granted(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        self.gap = if self.gap.is_zero() { gap } else { (self.gap * 7 + gap) / 8 };
        self.last = now;
    }
}

impl<T> Queue<T> {
    pub(super) fn new(places: usize, epoch: Instant) -> Self {
        Self {
            places,
            accounts: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            contended_since: None,
            last_id: 0,
            pace: Pace::begin(None, 0, epoch),
            epoch,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    pub(super) const fn places(&self) -> usize {
        self.places
    }

    /// How many tenants wait.
    pub(super) fn tenants(&self) -> usize {
        self.accounts.values().filter(|account| !account.line.is_empty()).count()
    }

    /// Whoever waits already keeps its place.
    pub(super) const fn set_places(&mut self, places: usize) {
        self.places = places;
    }

    /// A place for `arrival`, and who had to make room for it; or why there is none. There are so many `slots`.
    pub(super) fn join(
        &mut self,
        arrival: Arrival,
        value: impl FnOnce() -> T,
        typical: Option<Typical>,
        slots: u32,
        now: Instant,
    ) -> Result<(Key, Option<T>), Reason> {
        let Arrival { tenant, class, due } = arrival;
        let tenant = self.known_as(tenant);
        if let Some(deadline) = due.as_ref().and_then(Due::at) {
            if deadline <= now {
                return Err(Reason::Deadline);
            }
            let half = deadline.saturating_duration_since(now) / 2;
            let begins = now.checked_add(self.estimated_wait(tenant, class, typical, now));
            if begins.is_none_or(|begins| !leaves_time(deadline, half, typical, begins)) {
                return Err(Reason::Shed);
            }
        }
        let displaced = match self.waiting < self.places {
            true => None,
            false => Some(self.make_room(tenant, class).ok_or(Reason::QueueFull)?),
        };
        if self.waiting == 0 {
            self.contended_since = Some(now);
            self.pace = Pace::begin(typical, slots, now);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.account(tenant, typical).line.push(class, Waiter { id, joined: now, due, value: value() }, typical, now);
        self.waiting += 1;
        Ok((Key { tenant, class, id }, displaced))
    }

    /// Whose turn it is. Those who are found to be hopeless on the way go to `shed`.
    pub(super) fn next(&mut self, typical: Option<Typical>, now: Instant, shed: &mut Vec<(T, Reason)>) -> Option<Granted<T>> {
        let (turn, at) = (turn(typical), self.since_epoch(now));
        while self.waiting > 0 {
            let may = |tenant: &Digest| self.accounts.get(tenant).is_some_and(|it| !it.line.is_empty() && it.left(at) >= 0);
            let Some(place) = self.turns.iter().position(may) else {
                self.go_round(turn, at);
                continue;
            };
            let Some(tenant) = self.turns.remove(place) else { break };
            self.turns.push_back(tenant);
            let Some(account) = self.accounts.get_mut(&tenant) else { break };
            let before = account.line.len();
            let served = account.line.pop(typical, now, shed);
            self.waiting -= before - account.line.len();
            if let Some(Waiter { joined, value, .. }) = served {
                let entry = Entry { started: at, paid: turn };
                account.begin(entry);
                self.pace.granted(now);
                self.rest_if_empty();
                let waited = now.saturating_duration_since(joined);
                return Some(Granted { value, waited, charge: Charge { tenant, entry } });
            }
        }
        self.rest_if_empty();
        None
    }

    /// Somebody leaves who waits. `None`: it waits no more.
    pub(super) fn leave(&mut self, key: Key) -> Option<T> {
        let left = self.accounts.get_mut(&key.tenant)?.line.remove(key.class, key.id)?;
        self.waiting -= 1;
        self.rest_if_empty();
        Some(left.value)
    }

    /// A slot is kept for what a tenant's call goes on to do after its attempt. Unlike a call that never had to wait it is
    /// charged with from its beginning: nobody waits for its end, so nothing else holds the tenant back.
    pub(super) fn begin(&mut self, tenant: Digest, typical: Option<Typical>, now: Instant) -> Charge {
        let tenant = self.known_as(tenant);
        let entry = Entry { started: self.since_epoch(now), paid: turn(typical) };
        self.account(tenant, typical).begin(entry);
        Charge { tenant, entry }
    }

    /// What was [begun](Self::begin), or let in from the queue, has ended.
    pub(super) fn settle(&mut self, charge: Charge, now: Instant) {
        let at = self.since_epoch(now);
        if let Some(account) = self.accounts.get_mut(&charge.tenant) {
            account.end(charge.entry, at);
        }
        self.rest_if_empty();
    }

    /// A call that never had to wait has ended, and while others do its tenant is charged with it: with no more than it had
    /// since they are here.
    pub(super) fn charge(&mut self, tenant: Digest, started: Instant, typical: Option<Typical>, now: Instant) {
        let Some(since) = self.contended_since else { return };
        let tenant = self.known_as(tenant);
        self.account(tenant, typical).balance -= nanos(now.saturating_duration_since(started.max(since)));
    }

    /// The account of a tenant. Who has none has been quiet, and has as much in hand as anybody may.
    fn account(&mut self, tenant: Digest, typical: Option<Typical>) -> &mut Account<T> {
        let turns = &mut self.turns;
        self.accounts.entry(tenant).or_insert_with(|| {
            turns.push_back(tenant);
            Account::new(CARRIED * turn(typical))
        })
    }

    /// What a tenant is called here: by its own name as long as there is room for names.
    fn known_as(&self, tenant: Digest) -> Digest {
        let known = self.accounts.len() < MOST_TENANTS || self.accounts.contains_key(&tenant);
        if known { tenant } else { Caller::nobody() }
    }

    /// How long a newcomer will wait, as slots come free. Nothing for the first one: so somebody always gets in, and the pace is
    /// measured anew.
    fn estimated_wait(&self, tenant: Digest, class: Criticality, typical: Option<Typical>, now: Instant) -> Duration {
        let line = self.accounts.get(&tenant).map(|account| &account.line);
        let own = line.map_or(0, |line| line.ahead_of(class, typical, now));
        let others = self.waiting - line.map_or(0, Line::len);
        // Of every other tenant at most as many are served before it as of its own, and it.
        let ahead = own + others.min((own + 1) * self.accounts.len());
        self.pace.gap.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// Drops the least critical there is, if that is less critical than a newcomer of `class`; or as critical, where its tenant
    /// has more waiting. Of several, the longest line loses who came last.
    fn make_room(&mut self, tenant: Digest, class: Criticality) -> Option<T> {
        let own = self.accounts.get(&tenant).map_or(0, |account| account.line.len());
        let yields = |(tenant, account): (&Digest, &Account<T>)| {
            let (least, id) = account.line.least()?;
            let len = account.line.len();
            let yields = least < class || (least == class && len > own + 1);
            yields.then_some((least, Reverse(len), Reverse(id), *tenant))
        };
        let victim = self.accounts.iter().filter_map(yields).min_by_key(|(least, len, id, _)| (*least, *len, *id))?;
        let (class, _, Reverse(id), tenant) = victim;
        let dropped = self.accounts.get_mut(&tenant)?.line.remove(class, id)?;
        self.waiting -= 1;
        Some(dropped.value)
    }

    /// Where all who wait owe something: as many rounds at once as it takes until one owes nothing.
    fn go_round(&mut self, turn: i128, at: i128) {
        let owed_turns = |account: &Account<T>| (-account.left(at) + turn - 1) / turn;
        let waiting = self.accounts.values().filter(|account| !account.line.is_empty());
        let rounds = waiting.map(owed_turns).min().unwrap_or(0).max(1);
        self.accounts.retain(|_, account| {
            let missing = (CARRIED * turn - account.left(at)).max(0);
            account.balance += missing.min(rounds * turn);
            // Who has all in hand is as one who has just come.
            missing > rounds * turn || account.is_running() || !account.line.is_empty()
        });
        self.turns.retain(|tenant| self.accounts.contains_key(tenant));
    }

    /// With nobody waiting, slots are there for the taking: who took more than its share before took it from nobody.
    fn rest_if_empty(&mut self) {
        if self.waiting > 0 {
            return;
        }
        self.contended_since = None;
        self.accounts.retain(|_, account| account.is_running());
        for account in self.accounts.values_mut() {
            account.balance = account.balance.max(0);
        }
        self.turns.retain(|tenant| self.accounts.contains_key(tenant));
    }

    fn since_epoch(&self, now: Instant) -> i128 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

/// What a round gives every tenant.
fn turn(typical: Option<Typical>) -> i128 {
    nanos(typical.map_or(FIRST_TURN, |typical| typical.p50.max(SHORTEST_TURN)))
}

fn nanos(duration: Duration) -> i128 {
    duration.as_nanos().cast_signed()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model_tests;
