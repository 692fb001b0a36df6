use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use fastrand::Rng;
use metrics::Counter;
use tower::Layer;

use super::{Fault, FaultService, Plan, plan::Fate};
use crate::{
    call::{Slot, Target},
    metrics::{FAULTS, Subject},
};

/// Breaks calls on purpose. See the [module](super).
#[derive(Debug, Clone)]
pub struct FaultLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Read by every call; all else only while a plan is in force.
    on: AtomicBool,
    plan: Mutex<(Plan, Rng)>,
    slot: Slot<Counters>,
}

impl Default for FaultLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultLayer {
    /// Nothing is broken until the [handle](Self::handle) says so. What is drawn differs from run to run.
    pub fn new() -> Self {
        Self::with(Rng::new())
    }

    /// The same, drawing from a fixed seed.
    pub fn seeded(seed: u64) -> Self {
        Self::with(Rng::with_seed(seed))
    }

    fn with(rng: Rng) -> Self {
        let plan = Mutex::new((Plan::default(), rng));
        Self { shared: Arc::new(Shared { on: AtomicBool::new(false), plan, slot: Slot::new() }) }
    }

    /// What switches this layer on and off.
    pub fn handle(&self) -> FaultHandle {
        FaultHandle { shared: self.shared.clone() }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService::new(inner, self.shared.clone())
    }
}

/// Switches the faults of one [`FaultLayer`] on and off while its services run. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct FaultHandle {
    shared: Arc<Shared>,
}

impl FaultHandle {
    /// Puts a plan in force, in place of any other. Holds for calls that begin from now on.
    pub fn inject(&self, plan: Plan) {
        tracing::warn!(?plan, "FAULTS ARE BEING INJECTED ON PURPOSE");
        self.shared.lock().0 = plan;
        self.shared.on.store(true, Ordering::Release);
    }

    /// Breaks nothing any more, from the next call on.
    pub fn clear(&self) {
        if self.shared.on.swap(false, Ordering::AcqRel) {
            tracing::warn!("no more faults are being injected");
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Plan> {
        self.shared.on.load(Ordering::Acquire).then(|| self.shared.lock().0.clone())
    }
}

impl Shared {
    /// What a call to `target` meets.
    pub(super) fn draw(&self, target: &Target) -> Fate {
        if !self.on.load(Ordering::Acquire) || target.is_exempt() {
            return Fate::default();
        }
        let fate = {
            let mut locked = self.lock();
            let (plan, rng) = &mut *locked;
            plan.draw(target, rng)
        };
        if fate != Fate::default() {
            target.cell(&self.slot, Counters::default).count(target, fate);
        }
        fate
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Plan, Rng)> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counter per kind of fault, made when it first strikes.
#[derive(Debug, Default)]
struct Counters([OnceLock<Counter>; Fault::KINDS.len()]);

impl Counters {
    fn count(&self, target: &Target, fate: Fate) {
        let slow = fate.delay.map(|_| "slow");
        for kind in slow.into_iter().chain(fate.fault.map(Fault::as_str)) {
            if let Some(place) = Fault::KINDS.iter().position(|known| *known == kind) {
                self.0[place].get_or_init(|| Subject::of(target).counter(FAULTS, &[kind])).increment(1);
            }
        }
    }
}
