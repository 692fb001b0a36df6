#![cfg_attr(all(feature = "admin", feature = "rmcp-client"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "admin", feature = "rmcp-client")),
    doc = "tower layers that keep MCP calls standing. The full page is built with all features."
)]
#![warn(unreachable_pub, clippy::print_stderr, clippy::print_stdout)]

pub mod adapters;
#[cfg(feature = "admin")]
pub mod admin;
pub mod attempt;
#[cfg(feature = "audit")]
pub mod audit;
pub mod breaker;
#[cfg(feature = "cache")]
pub mod cache;
pub mod call;
pub mod catalogue;
pub mod classify;
pub mod coalesce;
pub mod concurrency;
pub mod deadline;
pub mod error;
pub mod fault;
mod gate;
pub mod hedge;
pub mod idempotency;
pub mod logs;
pub mod loop_guard;
pub mod metrics;
pub mod outcome;
pub mod panic;
pub mod quota;
pub mod rate_limit;
pub mod record;
pub mod rescue;
pub mod retry;
pub mod stack;
mod sync;
#[cfg(test)]
mod testing;
pub mod timeout;
pub mod trace;

#[doc(inline)]
pub use adapters::raw;
#[cfg(feature = "rmcp")]
#[doc(inline)]
pub use adapters::rmcp;
pub use error::BoxError;
pub use gate::Mode;
pub use stack::{Stack, StackService};
