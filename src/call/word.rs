//! A handler's own word.

use std::time::Duration;

use super::Verdict;

/// What a handler may say of its outcome, by the functions of [`outcome`](crate::outcome) or in its
/// [`Response`](super::Response).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Word {
    /// The backend refused for now, and nothing has happened in this call.
    Throttled {
        /// The delay that the backend named.
        retry_after: Option<Duration>,
    },
    /// The backend never saw the call: nothing has happened.
    NotSent,
    /// It may or may not have happened.
    Ambiguous,
}

impl Word {
    /// The verdict that this word stands for.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Throttled { retry_after } => Verdict::Throttled { retry_after },
            Self::NotSent => Verdict::NotSent,
            Self::Ambiguous => Verdict::AMBIGUOUS,
        }
    }

    /// This word, and then a later one: once in doubt, always in doubt; else the later one holds.
    #[must_use]
    pub const fn then(self, later: Self) -> Self {
        match self {
            Self::Ambiguous => Self::Ambiguous,
            Self::Throttled { .. } | Self::NotSent => later,
        }
    }
}
