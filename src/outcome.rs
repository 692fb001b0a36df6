//! A handler's own word on what its backend did with one call.
//!
//! A weather tool whose API answered 429 tells the model so with `isError: true`. To the stack that alone means *the server
//! is alive, do not retry*. Only the handler knows better, and says so here, anywhere while it runs:
//!
//! ```
//! use std::time::Duration;
//! use buttress::outcome;
//!
//! async fn forecast(status: u16) -> Result<String, String> {
//!     match status {
//!         200 => Ok("sunny".into()),
//!         429 => {
//!             outcome::throttled(Duration::from_secs(1));
//!             Err("the weather service is busy".into())
//!         }
//!         _ => {
//!             outcome::ambiguous();
//!             Err("the weather service failed".into())
//!         }
//!     }
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async { assert!(forecast(429).await.is_err()) });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The word goes into a slot that the attempt's future carries and that exists only in this process: it never travels, so
//! there is nothing to forge and nothing to strip. What the stack makes of it, the caller may read in the answer's facts
//! (see [`rescue`](crate::rescue)). It counts with an answer; with an error, only [`ambiguous`] does. A result that says that
//! it is a success takes *throttled* and *not sent* back. It is heard from the task that runs the handler, not from tasks
//! that the handler spawns; there, pass it back and say it in the handler. A plain service, which answers with a
//! [`Response`](crate::call::Response), may also use [`with_word`](crate::call::Response::with_word).

use std::{cell::Cell, time::Duration};

pub use crate::call::Word;

/// The backend refused this call for now (HTTP 429), and named this delay or none. Asserts that nothing has happened yet in
/// this call, so that any tool may be called again.
pub fn throttled(retry_after: impl Into<Option<Duration>>) {
    say(Word::Throttled { retry_after: retry_after.into() });
}

/// The backend never saw this call (connection refused, say). Asserts that nothing has happened yet in this call, so that any
/// tool may be called again.
pub fn not_sent() {
    say(Word::NotSent);
}

/// What the backend did with this call is not known (a reset or a timeout after the request was sent, a 500). Outlasts any
/// other word of the same attempt: once in doubt, always in doubt.
pub fn ambiguous() {
    say(Word::Ambiguous);
}

thread_local! {
    /// The slot of the attempt that is being polled on this thread. `None` outside of any attempt.
    static SLOT: Cell<Option<Option<Word>>> = const { Cell::new(None) };
}

fn say(word: Word) {
    match SLOT.get() {
        None => tracing::debug!(?word, "an outcome was said outside of a call; nobody hears it"),
        Some(said) => SLOT.set(Some(Some(said.map_or(word, |said| said.then(word))))),
    }
}

/// Runs `poll` with `word` as the slot that the functions of this module write to.
#[inline]
pub(crate) fn listen<T>(word: &mut Option<Word>, poll: impl FnOnce() -> T) -> T {
    /// Puts the outer attempt's slot back even if `poll` panics.
    struct Restore<'a> {
        word: &'a mut Option<Word>,
        outer: Option<Option<Word>>,
    }
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            *self.word = SLOT.replace(self.outer).flatten();
        }
    }
    let outer = SLOT.replace(Some(*word));
    let _restore = Restore { word, outer };
    poll()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_from_poll_to_poll_and_doubt_outlasts_all() {
        let mut word = None;
        listen(&mut word, || throttled(Duration::from_secs(1)));
        assert_eq!(word, Some(Word::Throttled { retry_after: Some(Duration::from_secs(1)) }));
        listen(&mut word, ambiguous);
        listen(&mut word, not_sent);
        assert_eq!(word, Some(Word::Ambiguous));
    }

    #[test]
    fn calls_within_calls_do_not_hear_each_other_and_a_panic_restores_the_outer_slot() {
        let (mut outer, mut inner) = (None, None);
        listen(&mut outer, || {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                listen(&mut inner, || {
                    not_sent();
                    panic!("as a handler may");
                })
            }));
            assert!(panicked.is_err());
            throttled(None);
        });
        assert_eq!(inner, Some(Word::NotSent));
        assert_eq!(outer, Some(Word::Throttled { retry_after: None }));
        not_sent();
        assert_eq!(SLOT.get(), None);
    }
}
