//! The store in memory.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::Gauge;
use tokio::{sync::watch, time::Instant};

use super::{Claim, End, Kept, Keyed, Lease, Reply, Settings, SettingsError, Store, Wait};
use crate::{
    call::{Digest, Slot},
    metrics::{IDEMPOTENCY_KEYS, upstream},
};

/// Keeps what is known of keys in this process, within bounds. Clones are the same store.
#[derive(Clone)]
pub struct InMemory(Arc<Shared>);

struct Shared {
    gauge: Slot<Gauge>,
    state: Mutex<State>,
}

/// Longer than any process runs, and not too long for any clock.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

struct State {
    settings: Settings,
    keys: HashMap<u128, Key>,
    /// When keys are forgotten, the next one first. Those of calls under way are not in here.
    ends: BTreeSet<(Instant, u128)>,
    tenants: HashMap<Digest, Share>,
    bytes: usize,
}

/// What is known of one key.
struct Key {
    tenant: Digest,
    asked: Digest,
    known: Known,
    _held: Held,
}

/// One of the keys that the gauge shows, for as long as it is known.
struct Held(Gauge);

impl Held {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

enum Known {
    Running {
        before: Before,
        /// Dropped when the call ends, which wakes those who wait. Made for the first of them.
        ended: Option<watch::Sender<()>>,
    },
    Resting {
        what: Resting,
        until: Instant,
    },
}

/// What is known of a key without a call under way.
enum Resting {
    Paused,
    Done(Kept),
    Unknown,
}

/// What was known of a key when its call began.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Paused,
    Unknown,
}

/// What one tenant has of the store.
#[derive(Default)]
struct Share {
    keys: usize,
    bytes: usize,
}

/// There is no room for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of idempotency keys is full")]
pub struct Full;

impl Default for InMemory {
    fn default() -> Self {
        Self::with(Settings::default())
    }
}

impl InMemory {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that contradicts its range or another setting, with the values of both.
    pub fn try_new(settings: Settings) -> Result<Self, SettingsError> {
        settings.checked().map(Self::with)
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Shared { gauge: Slot::new(), state: Mutex::new(State::new(settings)) }))
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.0.lock().settings
    }

    /// Sets others, while calls run. What is known already stays known for as long as it was to be, also where it is more than
    /// there would be room for.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new); then nothing is changed.
    pub fn set(&self, settings: Settings) -> Result<(), SettingsError> {
        self.0.lock().settings = settings.checked()?;
        Ok(())
    }

    /// How many keys are known, calls under way included.
    pub fn keys(&self) -> usize {
        self.0.lock().keys.len()
    }

    /// How many of them have a call under way.
    pub fn running(&self) -> usize {
        let state = self.0.lock();
        state.keys.len() - state.ends.len()
    }

    /// How many bytes the kept answers take.
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }
}

impl Store for InMemory {
    fn claim(&self, call: &Keyed<'_>) -> Reply<Claim> {
        let (scope, target) = (call.scope().bits(), &call.head.target);
        let gauge = target.cell(&self.0.gauge, || IDEMPOTENCY_KEYS.gauge([upstream(target)]));
        let claim = self.0.lock().claim(scope, call, gauge);
        Reply::now(match claim {
            Some(Taken::Mine) => Ok(Claim::Run(Box::new(Hold { shared: self.0.clone(), scope, ended: false }))),
            Some(Taken::Known(claim)) => Ok(claim),
            None => Err(Full.into()),
        })
    }
}

/// What a claim has come to.
enum Taken {
    Mine,
    Known(Claim),
}

impl State {
    fn new(settings: Settings) -> Self {
        Self { settings, keys: HashMap::new(), ends: BTreeSet::new(), tenants: HashMap::new(), bytes: 0 }
    }

    /// `None`: there is no room.
    fn claim(&mut self, scope: u128, call: &Keyed<'_>, gauge: &Gauge) -> Option<Taken> {
        self.forget_until(call.now);
        let Some(key) = self.keys.get_mut(&scope) else {
            let tenant = call.head.caller.tenant_digest();
            let share = self.tenants.get(&tenant).map_or(0, |share| share.keys);
            if self.keys.len() >= self.settings.keys || share >= part(self.settings.keys, self.is_alone(&tenant)) {
                return None;
            }
            self.tenants.entry(tenant).or_default().keys += 1;
            let known = Known::Running { before: Before::Nothing, ended: None };
            self.keys.insert(scope, Key { tenant, asked: call.asked, known, _held: Held::new(gauge.clone()) });
            return Some(Taken::Mine);
        };
        if key.asked != call.asked {
            return Some(Taken::Known(Claim::Conflict));
        }
        let (before, until) = match &mut key.known {
            Known::Running { ended, .. } => return Some(Taken::Known(Claim::Running(wait(ended, self.settings.waiting)))),
            Known::Resting { what: Resting::Done(kept), .. } => return Some(Taken::Known(Claim::Done(kept.clone()))),
            Known::Resting { what: Resting::Unknown, .. } if !call.repeatable => return Some(Taken::Known(Claim::Unknown)),
            Known::Resting { what: Resting::Unknown, until } => (Before::Unknown, *until),
            Known::Resting { what: Resting::Paused, until } => (Before::Paused, *until),
        };
        key.known = Known::Running { before, ended: None };
        self.ends.remove(&(until, scope));
        Some(Taken::Mine)
    }

    /// Whether no other tenant holds a key.
    fn is_alone(&self, tenant: &Digest) -> bool {
        self.tenants.len() == usize::from(self.tenants.contains_key(tenant))
    }

    fn end(&mut self, scope: u128, end: End, now: Instant) {
        let Some(tenant) = self.keys.get(&scope).map(|key| key.tenant) else { return };
        let own_part = part(self.settings.bytes, self.is_alone(&tenant));
        let Some(key) = self.keys.get_mut(&scope) else { return };
        let Known::Running { before, .. } = key.known else { return };
        let what = match (end, before) {
            (End::Nothing, Before::Nothing) => {
                self.remove(scope);
                return;
            }
            (End::Nothing, Before::Paused) | (End::Paused, _) => Resting::Paused,
            (End::Nothing, Before::Unknown) | (End::Unknown, _) => Resting::Unknown,
            (End::Done(kept), _) => {
                let share = self.tenants.entry(key.tenant).or_default();
                let [all, own] = [self.bytes, share.bytes].map(|bytes| bytes.saturating_add(kept.weight()));
                if all > self.settings.bytes || own > own_part {
                    // It has happened, and must not happen again, although nobody will be able to say how it ended.
                    Resting::Unknown
                } else {
                    (self.bytes, share.bytes) = (all, own);
                    Resting::Done(kept)
                }
            }
        };
        let until = now + self.settings.keep_for.min(FOR_EVER);
        key.known = Known::Resting { what, until };
        self.ends.insert((until, scope));
    }

    fn forget_until(&mut self, now: Instant) {
        while let Some(&(until, scope)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.remove(scope);
        }
    }

    fn remove(&mut self, scope: u128) {
        let Some(key) = self.keys.remove(&scope) else { return };
        let bytes = match &key.known {
            Known::Resting { what: Resting::Done(kept), .. } => kept.weight(),
            _ => 0,
        };
        self.bytes -= bytes;
        if let Some(share) = self.tenants.get_mut(&key.tenant) {
            (share.keys, share.bytes) = (share.keys - 1, share.bytes - bytes);
            if share.keys == 0 {
                self.tenants.remove(&key.tenant);
            }
        }
    }
}

/// What one tenant may have of `all`: half of it where others hold keys too. Alone it may have more, though not all: nothing is
/// forgotten to make room, and who comes next has to find some.
const fn part(all: usize, alone: bool) -> usize {
    if alone { all - all / 8 } else { all / 2 }
}

/// Until the call under way has ended, unless as many wait as may.
fn wait(ended: &mut Option<watch::Sender<()>>, most: usize) -> Option<Wait> {
    if ended.as_ref().map_or(0, watch::Sender::receiver_count) >= most {
        return None;
    }
    let mut ended = ended.get_or_insert_with(|| watch::Sender::new(())).subscribe();
    Some(Wait::until(async move {
        // An error: the sender is gone, as it is once the call has ended.
        let _ = ended.changed().await;
    }))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a call under way.
struct Hold {
    shared: Arc<Shared>,
    scope: u128,
    ended: bool,
}

impl Hold {
    fn tell(&mut self, end: End, now: Instant) {
        self.ended = true;
        self.shared.lock().end(self.scope, end, now);
    }
}

impl Lease for Hold {
    fn end(mut self: Box<Self>, end: End, now: Instant) -> Reply<()> {
        self.tell(end, now);
        Reply::now(Ok(()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(End::Unknown, Instant::now());
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("settings", &self.settings()).field("keys", &self.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
