use std::{any::Any, sync::Arc};

use metrics::Counter;
use tower::Layer;

use super::PanicGuard;
use crate::{
    call::{Slot, Target},
    error::Panicked,
    metrics::{PANICS, Subject},
};

/// Turns panics into errors. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct PanicLayer {
    slot: Slot<Counter>,
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

/// Where a panic is written down.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub(super) target: Arc<Target>,
    pub(super) slot: Slot<Counter>,
}

impl Witness {
    pub(super) fn saw(&self, panic: &(dyn Any + Send)) -> Panicked {
        let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let (upstream, label) = (self.target.upstream(), self.target.label());
        tracing::error!(upstream, tool = label, panic = words.unwrap_or("not a string"), "the handler panicked");
        self.target.cell(&self.slot, || Subject::of(&self.target).counter(PANICS, &[])).increment(1);
        Panicked
    }
}
