//! The stack around an rmcp server, driven by rmcp's own client and by raw HTTP.

#![cfg(feature = "rmcp")]
// Logging, sampling, roots and resource subscriptions are deprecated in 2026-07-28; older clients still get them.
#![allow(deprecated)]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "clippy takes what tests share for no tests")]

#[cfg(feature = "audit")]
mod audit;
mod bad_input;
mod caller;
mod differential;
mod forwarding;
mod lifecycle;
mod listen;
mod names;
mod probe;
mod raw;
mod resources;
mod rich;
mod road;
mod script;
mod series;
mod tape;
#[cfg(feature = "audit")]
mod trace;
mod wire;
