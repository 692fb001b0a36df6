//! The stack in front of an rmcp client, over its peer and around its transport, against rmcp's own server.

#![cfg(feature = "rmcp-client")]
#![allow(deprecated, dead_code, reason = "what the tests of the server's side share is used in part")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "clippy takes what tests share for no tests")]

mod asking;
mod cancel;
mod crowded;
mod http;
#[cfg(feature = "cache")]
mod kept;
mod onward;
mod panics;
mod passing;
mod progress;
mod rig;
mod together;

#[path = "../rmcp/caller.rs"]
mod caller;
#[path = "../rmcp/probe.rs"]
mod probe;
#[path = "../rmcp/road.rs"]
mod road;
#[path = "../rmcp/series.rs"]
mod series;
#[path = "../rmcp/tape.rs"]
mod tape;
