//! The weather example, end to end: real MCP clients in both protocol eras, over Streamable HTTP and stdio, against a backend
//! that fails; and what they and the backend counted, held against what `/metrics` says.
//!
//! Where the example's own stack is tested, its binary runs as a child process, with a recorder of its own. Refusals that this
//! stack does not come to are provoked from tighter ones around the same handler, in this process.

#![cfg(all(feature = "admin", feature = "rmcp"))]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::large_futures, reason = "there are few of them, and they live long")]

/// The example's own modules. Their unit tests come along, and run here a second time.
#[allow(dead_code)]
#[path = "../../examples/weather"]
mod example {
    pub mod open_meteo;
    pub mod server;
    pub mod stand_in;
    pub mod weather;
}
// Where they look for each other.
use example::{open_meteo, server, stand_in, weather};

// Tools of the trade.
mod act;
mod ask;
mod audit;
mod bench;
mod binary;
mod books;
mod client;
mod crowd;
mod message;
mod patience;
mod series;

// What is shown.
mod bad_input;
mod command_line;
mod drive;
mod refusals;
