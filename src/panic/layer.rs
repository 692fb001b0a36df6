use std::{any::Any, sync::Arc};

use metrics::Counter;
use tokio::time::Instant;
use tower::Layer;

use super::PanicGuard;
use crate::{
    call::{Slot, Target},
    error::Panicked,
    logs::Sparingly,
    metrics::{PANICS, Subject},
};

/// Turns panics into errors. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct PanicLayer {
    slot: Slot<Panics>,
}

impl PanicLayer {
    /// A guard against panics.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for PanicLayer {
    type Service = PanicGuard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanicGuard::new(inner, self.slot)
    }
}

/// What is known of the panics of one target.
pub(super) struct Panics {
    counter: Counter,
    told: Sparingly,
}

impl Panics {
    fn new(target: &Target) -> Self {
        Self { counter: Subject::of(target).counter(PANICS, &[]), told: Sparingly::new() }
    }
}

/// Where a panic is written down.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub(super) target: Arc<Target>,
    pub(super) slot: Slot<Panics>,
}

impl Witness {
    pub(super) fn saw(&self, panic: &(dyn Any + Send)) -> Panicked {
        let panics = self.target.cell(&self.slot, || Panics::new(&self.target));
        panics.counter.increment(1);
        if let Some(unsaid) = panics.told.happens(Instant::now()) {
            let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let (upstream, label) = (self.target.upstream(), self.target.label());
            tracing::error!(upstream, tool = label, panic = words.unwrap_or("not a string"), unsaid, "the handler panicked");
        }
        Panicked
    }
}
