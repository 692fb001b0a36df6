//! What is known about a call that failed.

use std::time::Duration;

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

/// Characters of a reason that are passed on.
const LONGEST_REASON: usize = 200;

/// A failed call, told apart by whether it was delivered. The texts are fit
/// for a model to read: they name no hosts and no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The call was answered: there is no such place.
    #[error("no city called {0:?} is known")]
    UnknownCity(String),
    /// The service turned the call away for now; nothing was done.
    #[error("the weather service is busy; {}", advice(*.retry_after))]
    Throttled {
        /// How long it asks to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// No connection was made, so nothing was sent.
    #[error("the weather service cannot be reached; nothing was sent")]
    NotSent,
    /// Sent, but its fate is unknown: it may or may not have taken effect.
    #[error("the weather service failed; whether the call took effect is not known")]
    Ambiguous,
    /// The service understood and refused; nothing was done.
    #[error("the weather service rejected the call ({status}): {reason}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// In the words of the service.
        reason: String,
    },
}

fn advice(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(pause) => format!("try again in {} s", pause.as_secs()),
        None => "try again later".to_owned(),
    }
}

/// Judges what became of a request: lets an accepted one pass and says of any
/// other what is known.
pub async fn delivery(sent: reqwest::Result<Response>) -> Result<Response, ApiError> {
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            // A request that cannot even be built is not sent either.
            let kept = error.is_connect() || error.is_builder();
            tracing::debug!(error = %error.without_url(), "no answer");
            return Err(if kept { ApiError::NotSent } else { ApiError::Ambiguous });
        }
    };
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::TOO_MANY_REQUESTS => Err(ApiError::Throttled { retry_after: retry_after(&response) }),
        // A gateway answers 502, 503 or 504 as readily when the service behind
        // it was already at work, so these promise nothing, not even with a
        // `Retry-After`.
        status if status.is_server_error() => Err(ApiError::Ambiguous),
        status => {
            let reason = reason(response).await;
            Err(ApiError::Rejected { status: status.as_u16(), reason })
        }
    }
}

/// The pause asked for, in seconds. A date, which the header may also hold,
/// counts as none: it would be only as good as two clocks agree.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u32 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// The reason given, cut to a length a model can be shown.
async fn reason(response: Response) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        reason: String,
    }
    match response.json().await {
        Ok(Refusal { reason }) => reason.chars().take(LONGEST_REASON).collect(),
        Err(_) => "no reason given".to_owned(),
    }
}
