//! What a failed call means: a word to the stack, and words to the model.

use buttress::outcome;
use rmcp::ErrorData;

use crate::open_meteo::ApiError;

/// What the weather service had been asked for when it failed.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// To tell something, by a call that only reads.
    Read,
    /// To tell something that a write needs to know first: the write itself has not been sent.
    BeforeWrite,
    /// To write.
    Write,
}

impl Asked {
    /// For `map_err` in a tool: speaks to the stack, and words the `isError` result.
    pub fn explain(self) -> impl FnOnce(ApiError) -> String {
        move |error| self.told(&error)
    }

    /// The same where there is no `isError`: in a resource or a prompt.
    pub fn error(self) -> impl FnOnce(ApiError) -> ErrorData {
        move |error| {
            let text = self.told(&error);
            match error {
                // The request is at fault, and the code says so.
                ApiError::UnknownCity(_) | ApiError::Rejected { .. } => ErrorData::invalid_params(text, None),
                // The code alone would leave it in doubt whether anything happened; the word that was said does not.
                ApiError::Throttled { .. } | ApiError::NotSent | ApiError::Ambiguous => ErrorData::internal_error(text, None),
            }
        }
    }

    fn told(self, error: &ApiError) -> String {
        match (error, self) {
            // Two answers: nobody is ill, so there is nothing to say to the stack.
            (ApiError::UnknownCity(city), _) => {
                format!("No city called {city:?} is known. Check the spelling, or try a larger city nearby.")
            }
            (ApiError::Rejected { .. }, _) => format!("{} Nothing was done.", sentence(error)),
            (ApiError::Throttled { retry_after }, _) => {
                outcome::throttled(*retry_after);
                format!("{} Nothing was done.", sentence(error))
            }
            (ApiError::NotSent, _) => {
                outcome::not_sent();
                "The weather service cannot be reached. Nothing was done; try again later.".to_owned()
            }
            (ApiError::Ambiguous, Self::Read) => {
                outcome::ambiguous();
                "The weather service failed. You may ask again.".to_owned()
            }
            // Whatever became of the question, what it was asked for never left.
            (ApiError::Ambiguous, Self::BeforeWrite) => {
                outcome::not_sent();
                "The city could not be looked up, so nothing was reported. You may report it again.".to_owned()
            }
            (ApiError::Ambiguous, Self::Write) => {
                outcome::ambiguous();
                "The weather service failed before it confirmed the report. Look for its note in weather://observations \
                 before you report it again."
                    .to_owned()
            }
        }
    }
}

/// An error's text as a sentence.
fn sentence(error: &ApiError) -> String {
    let text = error.to_string();
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}
