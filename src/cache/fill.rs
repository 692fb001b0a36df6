//! A call that was made since no answer was at hand.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    rules::{Source, Standing, Word},
    store::{Ask, Kept, Store},
};
use crate::{
    call::{CallResult, Response, Verdict},
    error::BoxError,
};

/// What becomes of the call's answer.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) store: Arc<Store>,
    pub(super) ask: Ask,
    /// What was kept, and is not good enough.
    pub(super) kept: Option<Kept>,
}

impl Fill {
    /// Keeps a good answer; for a failure, gives the answer that was kept, if it is not too old.
    pub(super) fn settle<R>(&self, outcome: Result<Response<R>, BoxError>) -> Result<Response<R>, BoxError>
    where
        R: CallResult + Send + Sync + 'static,
    {
        match (self.learn(&outcome), &self.kept) {
            (Word::Silent, Some(kept)) => self.better_than_an_error(kept).map_or(outcome, Ok),
            _ => outcome,
        }
    }

    /// Keeps a good answer, and forgets what is no longer one.
    pub(super) fn learn<R>(&self, outcome: &Result<Response<R>, BoxError>) -> Word
    where
        R: CallResult + Send + Sync + 'static,
    {
        let verdict = Verdict::of(outcome);
        let word = Word::of(verdict);
        match (word, outcome, &self.kept) {
            (Word::Renewed, Ok(response), _) => self.store.keep(&self.ask, response),
            (Word::Gone, _, Some(kept)) => {
                self.store.forget(kept, verdict == Verdict::Denied);
                if verdict == Verdict::ClientFault && self.ask.source == (Source::Server { listed: true }) {
                    // A cursor that was good is not any more: all pages are to be fetched anew (specification, Caching).
                    self.store.cell(&self.ask.target).out_of_date();
                }
            }
            _ => {}
        }
        word
    }

    fn better_than_an_error<R: CallResult + 'static>(&self, kept: &Kept) -> Option<Response<R>> {
        let now = Instant::now();
        if self.store.standing(&self.ask, &kept.entry, now).0 == Standing::Dead {
            return None;
        }
        let answer = kept.entry.answer(now, None)?;
        self.store.cell(&self.ask.target).served_for_an_error();
        Some(answer)
    }
}
