//! Where a caller stands with a limit.

use std::time::Duration;

use crate::error::Scope;

/// Where a caller stands with one limit, as the limit saw it when it counted the call.
///
/// Says whose limit it is by its [`Scope`] only, so it may be shown to the caller: no tenant's name is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Who shares the limit.
    pub scope: Scope,
    /// How much the limit admits at once.
    pub quota: u32,
    /// The time in which that much comes back.
    pub window: Duration,
    /// How much of it is left.
    pub remaining: u32,
    /// How long until all of it is back, if nothing more is asked meanwhile.
    pub reset: Duration,
}
