//! What is logged where a call fails outside of the stack.

use tokio::time::Instant;

use crate::logs::Sparingly;

/// Who tells callers apart has panicked, say: a guard of the stack would have told more.
pub(super) fn edge_panicked() {
    static TOLD: Sparingly = Sparingly::new();
    if let Some(unsaid) = TOLD.happens(Instant::now()) {
        tracing::error!(unsaid, "the edge of the stack panicked");
    }
}

/// A stack has given an error, which its rescue step words away: a type cannot say so, and whoever meets it wants to know.
pub(super) fn out_of_order(error: &(dyn std::error::Error + 'static)) {
    static TOLD: Sparingly = Sparingly::new();
    if let Some(unsaid) = TOLD.happens(Instant::now()) {
        tracing::error!(error, unsaid, "the stack is out of order");
    }
}
