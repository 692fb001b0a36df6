use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::Counter;
use tower::Layer;

use super::{Claim, Idempotency, InMemory, Keyed, Reply, Store, store::asked};
use crate::{
    call::{CallParams, Caller, Request, Slot, Target},
    metrics::{IDEMPOTENCY_HITS, Subject},
};

/// Makes calls under one idempotency key once. See the [module](super).
#[derive(Debug, Clone)]
pub struct IdempotencyLayer {
    shared: Arc<Shared>,
}

impl Default for IdempotencyLayer {
    /// Keys are kept in this process, within the default [`Settings`](super::Settings).
    fn default() -> Self {
        Self::new(InMemory::default())
    }
}

impl IdempotencyLayer {
    /// What is known of keys is kept in `store`.
    pub fn new(store: impl Store + 'static) -> Self {
        let in_memory = (&store as &dyn Any).downcast_ref::<InMemory>().cloned();
        Self::with(Arc::new(store), in_memory, false)
    }

    /// Takes all callers of a tenant who name neither principal nor access token for one, and looks at their keys too: right
    /// where the transport has one caller only (stdio, in process), and nowhere else. The store stays the same.
    #[must_use]
    pub fn single_caller(self) -> Self {
        Self::with(self.shared.store.clone(), self.shared.in_memory.clone(), true)
    }

    /// The store in memory, which is its own handle: how many keys it holds, and other settings while calls run. `None`: keys are
    /// kept in a store of your own.
    pub fn in_memory(&self) -> Option<&InMemory> {
        self.shared.in_memory.as_ref()
    }

    fn with(store: Arc<dyn Store>, in_memory: Option<InMemory>, single_caller: bool) -> Self {
        Self { shared: Arc::new(Shared { store, in_memory, single_caller, told: AtomicBool::new(false), slot: Slot::new() }) }
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotency::new(inner, self.shared.clone())
    }
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    store: Arc<dyn Store>,
    in_memory: Option<InMemory>,
    single_caller: bool,
    /// Whether it has been told that keys are not looked at.
    told: AtomicBool,
    slot: Slot<Counters>,
}

impl Shared {
    /// Whether a caller's keys are its own. Who cannot be told from others must not be given their answers.
    pub(super) fn knows(&self, caller: &Caller) -> bool {
        let known = self.single_caller || caller.audience().is_some();
        if !known && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "nobody knows whose an idempotency key is: keys of callers without principal and access token do nothing"
            );
        }
        known
    }

    pub(super) fn claim<P: CallParams>(&self, request: &Request<P>, key: &str) -> Reply<Claim> {
        let head = &request.head;
        self.store.claim(&Keyed {
            head,
            key,
            asked: asked(request),
            repeatable: head.is_idempotent(),
            now: tokio::time::Instant::now(),
        })
    }

    pub(super) fn count(&self, target: &Target, hit: Hit) {
        let counters = target.cell(&self.slot, Counters::default);
        let made = || Subject::of(target).counter(IDEMPOTENCY_HITS, &[hit.as_str()]);
        counters.0[hit as usize].get_or_init(made).increment(1);
    }
}

/// What was known of a key already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    Running,
    Done,
    Unknown,
    Conflict,
    /// The store failed, or has no room.
    Failed,
}

impl Hit {
    const COUNT: usize = 5;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Unknown => "unknown",
            Self::Conflict => "conflict",
            Self::Failed => "store_failed",
        }
    }
}

/// One counter per state, made when a key is first found in it.
#[derive(Debug, Default)]
struct Counters([OnceLock<Counter>; Hit::COUNT]);
