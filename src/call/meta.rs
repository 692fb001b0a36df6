//! What a request says about itself in `_meta`.

use std::sync::Arc;

/// The parts of a request's `_meta` that layers read. Everything else travels untouched in the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta {
    /// The caller's name for the logical call: two requests with one key are one call.
    pub idempotency_key: Option<Arc<str>>,
}
