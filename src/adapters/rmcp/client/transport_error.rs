//! What a transport's own error says of the request that it was to carry.

use std::{error::Error, fmt, io, marker::PhantomData, time::SystemTime};

use ::rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpClient, StreamableHttpClientTransport,
    StreamableHttpError,
};

use super::retry_after;
use crate::error::{BoxError, HttpStatus, Transport, find};

/// What a transport's error says of the request that it did not get an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// The request never left: nothing has happened.
    NotSent,
    /// The server answered with this HTTP status, and with no MCP message.
    Status(HttpStatus),
}

/// Reads a transport's errors. A plain function will do; [`HttpErrors`] reads those of rmcp's Streamable HTTP client.
///
/// `None` says that nothing is known; then a few errors that any transport may have are known all the same (connection
/// refused, a pipe that nobody reads from any more), and for all others the request may have arrived.
pub trait ReadError: Send + Sync {
    /// What this error says.
    fn read(&self, error: &(dyn Error + 'static)) -> Option<Meaning>;
}

impl<F> ReadError for F
where
    F: Fn(&(dyn Error + 'static)) -> Option<Meaning> + Send + Sync,
{
    fn read(&self, error: &(dyn Error + 'static)) -> Option<Meaning> {
        self(error)
    }
}

/// The default: says nothing beyond what is known of any transport.
pub(super) struct Plain;

impl ReadError for Plain {
    fn read(&self, _error: &(dyn Error + 'static)) -> Option<Meaning> {
        None
    }
}

/// Reads the errors of rmcp's Streamable HTTP transport over the HTTP client `C`.
///
/// A status (429 and 5xx with `Retry-After`, 401, 403, and any other that came without an MCP message) goes to the
/// classifier. A session that is gone is [`SessionLost`](crate::call::Verdict::SessionLost); rmcp has by then tried once to
/// begin another and to send the request again.
///
/// rmcp keeps the status of a 5xx only where its body is no JSON-RPC error; else that error is the answer, and its code is
/// judged.
pub struct HttpErrors<C: StreamableHttpClient> {
    not_sent: fn(&C::Error) -> bool,
    _client: PhantomData<fn() -> C>,
}

impl<C: StreamableHttpClient> HttpErrors<C> {
    /// Reads the errors of this transport.
    pub fn of(_transport: &StreamableHttpClientTransport<C>) -> Self {
        Self { not_sent: |_| false, _client: PhantomData }
    }

    /// Tells the HTTP client's errors that say that no connection was made: `reqwest::Error::is_connect`, say. A refused
    /// connection is known in any case; a name that was not found, or a handshake that failed, is not.
    #[must_use]
    pub const fn not_sent_if(mut self, not_sent: fn(&C::Error) -> bool) -> Self {
        self.not_sent = not_sent;
        self
    }
}

impl<C: StreamableHttpClient> fmt::Debug for HttpErrors<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpErrors").finish_non_exhaustive()
    }
}

impl<C: StreamableHttpClient> ReadError for HttpErrors<C> {
    fn read(&self, error: &(dyn Error + 'static)) -> Option<Meaning> {
        // The concrete type: its variant for a status is transparent, so no walk along the sources finds the status.
        match error.downcast_ref::<StreamableHttpError<C::Error>>()? {
            StreamableHttpError::HttpStatus(error) => Some(status(error)),
            StreamableHttpError::Client(error) if (self.not_sent)(error) => Some(Meaning::NotSent),
            // The POST itself was answered 404, whatever became of the attempt to begin another session.
            StreamableHttpError::SessionExpired | StreamableHttpError::ReinitializationFailed(_) => {
                Some(Meaning::Status(HttpStatus { code: 404, retry_after: None, in_session: true }))
            }
            StreamableHttpError::UnexpectedServerResponse(said) => Some(bare_status(stated(said)?)),
            _ => None,
        }
    }
}

/// The status in rmcp's words for an answer that it could not use: `HTTP 403 Forbidden: ...`.
fn stated(said: &str) -> Option<u16> {
    let (code, rest) = said.strip_prefix("HTTP ")?.split_at_checked(3)?;
    code.parse().ok().filter(|_| rest.starts_with([' ', ':']))
}

const fn bare_status(code: u16) -> Meaning {
    Meaning::Status(HttpStatus { code, retry_after: None, in_session: false })
}

#[expect(clippy::disallowed_methods, reason = "how far off a date is, only the wall clock knows")]
fn status(error: &HttpStatusError) -> Meaning {
    let retry_after = error.retry_after.as_deref().and_then(|value| retry_after::parse(value, SystemTime::now));
    Meaning::Status(HttpStatus { code: error.status, retry_after, in_session: false })
}

/// What is known of any transport's errors.
fn common(error: &(dyn Error + 'static)) -> Option<Meaning> {
    if find::<AuthRequiredError>(error).is_some() {
        return Some(bare_status(401));
    }
    if find::<InsufficientScopeError>(error).is_some() {
        return Some(bare_status(403));
    }
    match find::<io::Error>(error)?.kind() {
        io::ErrorKind::ConnectionRefused => Some(Meaning::NotSent),
        // Of the write itself, and not of something further down: the end of the message, without which it is none, was not
        // taken.
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected if error.is::<io::Error>() => Some(Meaning::NotSent),
        _ => None,
    }
}

/// What `error` says, by `errors` or by what is known of any transport.
pub(super) fn read(errors: &dyn ReadError, error: &(dyn Error + 'static)) -> Option<Meaning> {
    errors.read(error).or_else(|| common(error))
}

/// The leaf error for what a transport's `error` says.
pub(super) fn leaf(meaning: Option<Meaning>, error: BoxError) -> BoxError {
    match meaning {
        Some(Meaning::Status(status)) => status.into(),
        Some(Meaning::NotSent) => Transport::not_sent(error).into(),
        None => Transport::unknown(error).into(),
    }
}
