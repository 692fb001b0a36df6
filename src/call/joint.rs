//! A call that is made for more than one caller.

use std::sync::Arc;

use super::Deadline;
use crate::sync::{Mutex, PoisonError};

/// Marks a call that is made for all who ask the same, and not for the one who asked first; says when the last of them has to
/// have an answer.
///
/// Such a call has nobody to speak to and no caller whose leaving would end it: it ends when nobody waits for it any more. A
/// handler must not tie it to the request that happens to have brought it.
#[derive(Debug, Clone)]
pub struct Joint(Arc<Mutex<Deadline>>);

impl Joint {
    /// A call that so far is made for one.
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self(Arc::new(Mutex::new(deadline)))
    }

    /// One more waits for it, until `deadline`.
    pub(crate) fn join(&self, deadline: Deadline) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = |deadline: &Deadline| deadline.end(None).map(|(end, _)| end);
        // Without an end is later than any end.
        *latest = match (end(&latest), end(&deadline)) {
            (Some(known), Some(new)) if new > known => deadline,
            (Some(_), None) => deadline,
            _ => *latest,
        };
    }

    /// The deadline of whoever may wait longest. It may move.
    pub fn deadline(&self) -> Deadline {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
