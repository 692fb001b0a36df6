//! An answer that is kept.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::call::{CallResult, Response, Served};

/// An answer that is kept in this process, whatever the handler's result type. Cheap to clone.
#[derive(Clone)]
pub struct Kept {
    /// A `Mutex<Response<R>>`: results are `Send`, and need not be `Sync`.
    answer: Arc<dyn Any + Send + Sync>,
    weight: usize,
}

impl Kept {
    pub(super) fn of<R: CallResult + Send + 'static>(response: &Response<R>) -> Self {
        let (result, weight) = match &response.result {
            Ok(result) => (Ok(result.clone()), result.weight()),
            Err(error) => {
                let data = error.data.as_ref().map_or(0, |data| data.to_string().len());
                (Err(error.clone()), error.message.len() + data)
            }
        };
        let mut answer = Response::from_result(result);
        answer.verdict = response.verdict;
        answer.served = Served::Replay;
        Self { answer: Arc::new(Mutex::new(answer)), weight: weight.saturating_add(size_of::<Response<R>>()) }
    }

    /// The answer to another call under the same key. `None`: it is of another type.
    pub(super) fn replay<R: CallResult + Send + 'static>(&self) -> Option<Response<R>> {
        let answer: &Mutex<Response<R>> = self.answer.downcast_ref()?;
        Some(answer.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// About how many bytes of memory it takes.
    pub const fn weight(&self) -> usize {
        self.weight
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("weight", &self.weight).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::ErrorObject;

    #[test]
    fn an_answer_weighs_what_it_says() {
        let of = |result| Kept::of(&Response::<String>::from_result(result)).weight();
        let error = |message: &'static str, data| of(Err(ErrorObject { code: 7, message: message.into(), data }));
        let (text, empty) = (|length| of(Ok("x".repeat(length))), error("", None));
        assert!(empty > 0);
        assert_eq!((text(100) - text(0), error("worse", None) - empty), (100, 5));
        assert_eq!(error("worse", Some(json!({ "a": 1 }))) - empty, 5 + 7);
    }
}
