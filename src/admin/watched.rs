//! What the listener may look at besides the metrics.

use std::sync::Arc;

use crate::{Stack, catalogue::Catalogue, stack::Handles};

/// One stack in front of one upstream.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) handles: Handles,
}

impl Watched {
    pub(super) fn new(stack: &Stack, catalogue: &Arc<Catalogue>) -> Self {
        Self { catalogue: catalogue.clone(), handles: stack.handles() }
    }
}
