//! What every layer must do. Each check is a function over any layer, and says how the layer broke it.

pub mod allocations;
pub mod drops;
pub mod readiness;
pub mod refusals;
pub mod retries;
pub mod sharing;
pub mod spin;

use std::{error::Error, fmt};

/// How a layer broke the contract.
pub struct Violation(pub String);

/// What a check ends in.
pub type Checked = Result<(), Violation>;

/// A test that fails prints its error by `Debug`.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So that `?` works on whatever a call ends in; hence a `Violation` is no `Error` itself.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Violation {
    fn from(error: E) -> Self {
        Self(format!("a call ended in an error: {:?}", error.into()))
    }
}

/// Ends the check unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::checks::Violation(format!($($words)+)));
        }
    };
}
pub(crate) use ensure;
