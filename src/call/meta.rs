//! What a request says about itself in `_meta`.

use std::sync::Arc;

/// The key in a request's `_meta` under which a caller names its logical call.
pub const IDEMPOTENCY_KEY: &str = "dev.buttress/idempotencyKey";

/// The parts of a request's `_meta` that layers read. Everything else travels untouched in the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta {
    /// The caller's name for the logical call, from [`IDEMPOTENCY_KEY`]: two requests with one key are one call.
    pub idempotency_key: Option<Arc<str>>,
}
