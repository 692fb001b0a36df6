use std::sync::{Arc, OnceLock};

use metrics::Counter;
use tower::Layer;

use super::{Claim, Idempotency, InMemory, Keyed, Reply, Store};
use crate::{
    call::{CallParams, Request, Slot, Target},
    metrics::{IDEMPOTENCY_HITS, labels_of},
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
        Self { shared: Arc::new(Shared { store: Box::new(store), slot: Slot::new() }) }
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
    store: Box<dyn Store>,
    slot: Slot<Counters>,
}

impl Shared {
    pub(super) fn claim<P: CallParams>(&self, request: &Request<P>, key: &str) -> Reply<Claim> {
        let head = &request.head;
        self.store.claim(&Keyed {
            head,
            key,
            arguments: request.params.arguments(),
            repeatable: head.is_safe(),
            now: tokio::time::Instant::now(),
        })
    }

    pub(super) fn count(&self, target: &Target, hit: Hit) {
        let counters = target.cell(&self.slot, Counters::default);
        let labels = || labels_of(target).into_iter().chain([hit.as_str().into()]);
        counters.0[hit as usize].get_or_init(|| IDEMPOTENCY_HITS.counter(labels())).increment(1);
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
