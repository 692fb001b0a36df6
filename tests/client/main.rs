//! The stack in front of an rmcp client, over its peer and around its transport, against rmcp's own server.

#![cfg(feature = "rmcp-client")]
#![allow(deprecated)]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "clippy takes what tests share for no tests")]
