//! The attempt's timer: the one clock that ends a call that hangs.
//!
//! It fires at the earlier of the attempt's own limit and the call's [deadline](crate::deadline), and is armed only when the
//! handler does not answer at once. Progress moves the end, but does not touch the timer: it stores a timestamp, and the timer
//! looks at it when it fires. A handler that answers at the very instant of the end is heard: the answer is polled first.
//!
//! # Slow targets
//!
//! The [limit of an attempt that may be repeated](TimeoutLayer::repeatable) is for calls that hang: another attempt may find
//! another replica. A target that takes longer than the limit would never answer, however often it is asked, and its breaker
//! would open. So only the first attempt of a call is given up at the limit, and the next has what is left of the call's time;
//! and once an attempt at a target was given up so, all have their call's whole time, until one is answered within the limit
//! again. A replica that hangs costs one limit, and a tool that takes longer is learned by one call. Where [all
//! attempts](TimeoutLayer::new) have a limit, it holds.
//!
//! # A fair time
//!
//! A caller may say how long it will wait ([`TIMEOUT_KEY`](crate::call::TIMEOUT_KEY)), and one that waits for ten milliseconds
//! proves nothing against a tool that takes fifty. So an attempt that its caller's end cuts short is a failure of the target only
//! if it had had the time that the operator has in mind: the attempt's limit, or what a call may take where that is less. A tenth
//! of that may be missing, since each hop of a chain hands on a little less than it has, and the last one has to see a tool that
//! hangs. Any other is [`Hurried`](crate::call::Verdict::Hurried): its caller is told as of any timeout, breakers ignore it, and
//! a limit that adapts learns only that it would have taken longer. So is one that was not given its time because a [person was
//! asked](crate::call::Peer::ask) until the hard end, since no other clock runs meanwhile. For a call that
//! [waits](crate::call::Method::waits) for work elsewhere no time is fair, and no attempt's limit holds.
//!
//! What is short of the call's time is in the attempt's head ([`attempt_end`](crate::call::Head::attempt_end)), so that the next
//! hop is told how long it really has.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`TimedOut`](crate::error::TimedOut), which says what clock ran out. What
//!   a timed-out attempt did is not known.
//! * **Order**: inside the classifier, so that a timeout has a verdict; outside the panic guard.
//! * **Clones** share the limit, which a [handle](TimeoutHandle) changes, the counters, and which targets are slow.
//! * **Drop**: a timeout drops the inner future, which is how a call is cancelled.
//! * **Metrics**: [`TIMEOUTS`](crate::metrics::TIMEOUTS).
//!
//! ```
//! use std::time::Duration;
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, error::TimedOut, timeout::TimeoutLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(2)))
//!     .service(service_fn(async |_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>().await));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("hang"), None);
//! let error = service.ready().await?.call(Request::new(target, ())).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<TimedOut>().map(|timed_out| timed_out.after), Some(Duration::from_secs(2)));
//! # Ok(())
//! # }
//! ```

mod future;
mod handle;
mod layer;
mod service;

pub use future::TimeoutFuture;
pub use handle::TimeoutHandle;
pub use layer::TimeoutLayer;
pub use service::Timeout;

#[cfg(test)]
mod tests;
