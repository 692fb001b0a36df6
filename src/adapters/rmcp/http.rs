//! HTTP statuses of refusals, and headers of limits: a small tower layer around `StreamableHttpService`.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use ::rmcp::{ErrorData, RoleServer, model::RequestId, service::RequestContext};
use bytes::Bytes;
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;
use serde_json::json;
use tower::{Layer, Service};

use crate::call::{Refusal, Standing};

/// Gives a refused call its HTTP status: 429, 503 or 504, with `Retry-After` in whole seconds, rounded up.
///
/// Put it around rmcp's `StreamableHttpService`, whose own answer to any JSON-RPC error is 200. The status is ours to choose
/// in revision 2026-07-28 as long as nothing has been sent, and before it where the answer is plain JSON outside of a session;
/// elsewhere the answer stays as it is, and the JSON-RPC error says the rest. Refused tool calls are results, and stay 200. So
/// does a call that was lost after it reached its handler: the handler may have sent something, and the response has begun.
///
/// Where a quota counted or refused the call, and the response has not begun before it is done, its headers say where the caller
/// stands (IETF draft "RateLimit header fields for HTTP"): `RateLimit-Policy: "tenant";q=30;w=60` is what the limit nearest to
/// refusing allows, `RateLimit: "tenant";r=12;t=36` what is left of it and in how many seconds all of it is back, or when to come
/// back if nothing is. A limit is named by its [`Scope`](crate::error::Scope), never by who is limited.
///
/// * **Error type**: the inner service's.
/// * **Order**: directly around `StreamableHttpService`, inside tower-http's layers.
/// * **Clones**: there is no state.
/// * **Drop**: nothing to give back.
/// * **Metrics**: none of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefusalStatusLayer;

impl<S> Layer<S> for RefusalStatusLayer {
    type Service = RefusalStatus<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RefusalStatus { inner }
    }
}

/// See [`RefusalStatusLayer`].
#[derive(Debug, Clone)]
pub struct RefusalStatus<S> {
    inner: S,
}

/// Where the wrapped server leaves word for the HTTP response that is being made.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<Word>);

#[derive(Debug, Default)]
struct Word {
    refused: OnceLock<Left>,
    standing: OnceLock<Standing>,
}

#[derive(Debug)]
struct Left {
    refusal: Refusal,
    body: Bytes,
}

/// The slot of the HTTP request that brought this call, if one of ours did.
pub(super) fn slot(context: &RequestContext<RoleServer>) -> Option<Slot> {
    let parts = context.extensions.get::<::http::request::Parts>()?;
    parts.extensions.get::<Slot>().cloned()
}

impl Slot {
    pub(super) fn set(&self, refusal: Refusal, id: &RequestId, error: &ErrorData) {
        let message = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        let left = Left { refusal, body: message.to_string().into() };
        // A POST brings one request, so nobody else sets it.
        let _ = self.0.refused.set(left);
    }

    pub(super) fn tell(&self, standing: Standing) {
        let _ = self.0.standing.set(standing);
    }
}

/// Whether this request's status is ours to choose, whatever its response looks like.
fn is_stateless(headers: &HeaderMap) -> bool {
    // ISO dates: the order of the text is the order of time.
    headers.get("mcp-protocol-version").is_some_and(|version| version.as_bytes() >= b"2026-07-28".as_slice())
}

impl<S, B, C> Service<Request<B>> for RefusalStatus<S>
where
    S: Service<Request<B>, Response = Response<C>>,
{
    type Response = Response<Either<Full<Bytes>, C>>;
    type Error = S::Error;
    type Future = RefusalStatusFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let slot = Slot::default();
        let eligible = if is_stateless(request.headers()) {
            Eligible::Always
        } else if request.headers().contains_key("mcp-session-id") {
            Eligible::Never
        } else {
            Eligible::Json
        };
        request.extensions_mut().insert(slot.clone());
        RefusalStatusFuture { inner: self.inner.call(request), slot, eligible }
    }
}

#[derive(Debug, Clone, Copy)]
enum Eligible {
    Always,
    Json,
    Never,
}

pin_project! {
    /// The future of [`RefusalStatus`].
    #[derive(Debug)]
    pub struct RefusalStatusFuture<F> {
        #[pin]
        inner: F,
        slot: Slot,
        eligible: Eligible,
    }
}

impl<F, C, E> Future for RefusalStatusFuture<F>
where
    F: Future<Output = Result<Response<C>, E>>,
{
    type Output = Result<Response<Either<Full<Bytes>, C>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let ours = match this.eligible {
            Eligible::Always => true,
            Eligible::Json => {
                response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
            }
            Eligible::Never => false,
        };
        let Word { refused, standing } = &*this.slot.0;
        let mut response = match refused.get().filter(|_| ours) {
            Some(left) => refusal(left),
            None => response.map(Either::Right),
        };
        if let Some(standing) = standing.get() {
            limits(response.headers_mut(), standing);
        }
        Poll::Ready(Ok(response))
    }
}

fn refusal<C>(left: &Left) -> Response<Either<Full<Bytes>, C>> {
    let mut response = Response::new(Either::Left(Full::new(left.body.clone())));
    *response.status_mut() = StatusCode::from_u16(left.refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(delay) = left.refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
    }
    response
}

/// Items of structured fields: a name of the closed set, and whole numbers. A window is whole seconds, and at least one: of a
/// shorter one it says what it comes to in a second.
fn limits(headers: &mut HeaderMap, standing: &Standing) {
    const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    let Standing { scope, quota, window, remaining, reset } = *standing;
    let name = scope.as_str();
    let (quota, window) = match window.as_nanos() {
        brief @ 0..1_000_000_000 => (u128::from(quota) * 1_000_000_000 / brief.max(1), 1),
        _ => (quota.into(), whole_seconds(window)),
    };
    let policy = format!("\"{name}\";q={quota};w={window}");
    let left = format!("\"{name}\";r={remaining};t={}", whole_seconds(reset));
    for (header, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header, value);
        }
    }
}

/// Rounded up: who comes back earlier is refused again.
fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Scope;

    fn told(standing: Standing) -> [String; 2] {
        let mut headers = HeaderMap::new();
        limits(&mut headers, &standing);
        ["ratelimit-policy", "ratelimit"].map(|name| headers[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_limit_is_told_in_whole_seconds() {
        let minute = Standing {
            scope: Scope::TenantAndTarget,
            quota: 30,
            window: Duration::from_secs(60),
            remaining: 12,
            reset: Duration::from_millis(35_001),
        };
        assert_eq!(told(minute), [r#""tenant_and_target";q=30;w=60"#, r#""tenant_and_target";r=12;t=36"#]);
        let brief = Standing { scope: Scope::All, quota: 5, window: Duration::from_millis(20), ..minute };
        assert_eq!(told(brief)[0], r#""all";q=250;w=1"#);
        let odd = Standing { window: Duration::from_millis(1_500), remaining: 0, reset: Duration::ZERO, ..minute };
        assert_eq!(told(odd), [r#""tenant_and_target";q=30;w=2"#, r#""tenant_and_target";r=0;t=0"#]);
    }
}
