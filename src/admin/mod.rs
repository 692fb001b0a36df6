//! The admin listener: a page for people, `/status` for programs, `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever
//! restarts and routes.
//!
//! A listener of its own, apart from the one that serves MCP; bind it to loopback unless you know who can reach it: it asks
//! nobody who they are. Bound to loopback it answers only requests that name the machine itself (`localhost`, `127.0.0.1`,
//! `[::1]`), and others with 421: so no page from elsewhere can have its own name point here and read what it gets.
//!
//! ```
//! use std::sync::Arc;
//! use buttress::{Stack, admin::{Admin, Metrics}, catalogue::Catalogue};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // First, so that no handle is made before it: such a handle would count into the void.
//! let metrics = Metrics::install()?;
//! let admin = Admin::bind(([127, 0, 0, 1], 0)).await?;
//! let (stack, catalogue) = (Stack::new(), Arc::new(Catalogue::new("weather")));
//! admin.watch(&stack, &catalogue);
//! eprintln!("what happens: http://{}/", admin.local_addr());
//! # let shutdown = async {};
//! admin.serve(metrics, shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # `/`
//!
//! One page, which asks `/status` once a second while somebody looks at it: calls, errors and why most calls were refused,
//! latency, slots, queues and breakers of each tool, and the last transitions. What it tells whoever points at a figure, the
//! button *Details* shows to all. It comes with the program, loads nothing from
//! elsewhere, and says so when the server cannot be reached any more.
//!
//! # `/status`
//!
//! JSON, at most half a second old. `schema` is 1, and changes when a reader would be surprised; members may be added without.
//! Times are in seconds; what is off, or not known, is `null`. No tenant, no caller, no argument is in it.
//!
//! * `process`: `name`, `version`, `uptime_seconds`, `ready`.
//! * `recent_seconds`: how long the time was that all `recent` is about. It ends now, and is at most half a minute.
//! * `targets`, `targets_left_out`: how many there are; and how many are not told, since 2,000 are told at most: those that are
//!   called least and whose breakers are closed.
//! * `upstreams`, by name: `in_flight`, its own `breaker`, and
//!   * `stacks`, one for each that is [watched](Admin::watch): `quota` (`mode`, `limits`, `waiting`, `keys`, `overflows`),
//!     `retry` (`attempts`, `tokens` of `capacity`), `breaker_mode`, `concurrency_mode`, `loop_guard` (`mode`, `agents`), `cache`
//!     (`bytes`, `entries`), `audit` (`backlog`, `failing`), `faults`: whether calls are broken on purpose;
//!   * `targets`, by method and name: `calls`, `attempts` (`null` before the first, and where an upstream has [many
//!     names](crate::metrics#what-it-costs)), `errors` (by `error_type`) and `refusals` (which `layer` refused how many `calls`,
//!     and for which `reason`; the most first) since the start; `recent` (`calls`, `attempts`, `errors` but for cancelled calls,
//!     these by `error_types`, `refusals`, `p50_seconds`, `p95_seconds`, `p99_seconds`); `breaker` (`state`, `since_seconds`,
//!     `until_probe_seconds`, `forced`, `failures_in_a_row`, `success_rate`); `slots` (`limit`, `in_flight`, `kept`, `waiting`,
//!     `places`, `draining`, `adapts`); `quota_waiting`.
//! * `transitions`: the last 50 changes of breakers, latest first: `seconds_ago`, `upstream`, `method` and `name` (`null` for the
//!   upstream's own), `from`, `to`, `cause` ([`Cause`](crate::breaker::Cause)).
//!
//! Calls and times are taken from what a scrape says, so that they are Prometheus's own. The quantiles are estimates within
//! [`BUCKETS`], of calls that were neither refused nor cancelled; the time that is recent moves in steps of five seconds. Names
//! are those of labels: what is not fit for one is `_OTHER`, where also the calls are that have [no series of their
//! own](crate::metrics#what-it-costs), and targets that share a name share a line, which shows the breaker that is worst and the
//! slots of all.
//!
//! # Connections
//!
//! However clients behave, they are bounded: at most 128 connections are open at once, and the next ones wait in the system's
//! backlog; one that sends no whole head of a request for 12 s is closed, and so is each after two minutes, with 5 s for the
//! answer that is under way. Where [`Admin::serve`] is told to end, all have these 5 s: what waits for a request is closed at
//! once.
//!
//! # The process and its runtime
//!
//! Every five seconds [`Admin::serve`] samples the runtime that it runs on ([`WORKERS`](crate::metrics::WORKERS),
//! [`TASKS`](crate::metrics::TASKS), [`GLOBAL_QUEUE_DEPTH`](crate::metrics::GLOBAL_QUEUE_DEPTH),
//! [`BUSY_RATIO`](crate::metrics::BUSY_RATIO)) and the process (`process_cpu_seconds_total`, `process_resident_memory_bytes`,
//! `process_open_fds`, `process_threads` and the others of Prometheus's clients); ten times a second it measures how late the
//! event loop is ([`EVENT_LOOP_LAG`](crate::metrics::EVENT_LOOP_LAG)). What the program holds of its allocator's memory is told
//! ([`ALLOCATED`](crate::metrics::ALLOCATED)) where the program says [how to ask](Admin::allocated): which allocator to use is
//! its choice, and the system's own tells nothing cheaply.

mod connections;
mod gather;
mod host;
mod listener;
mod page;
mod recorder;
mod runtime;
mod sample;
mod status;
mod watched;
mod window;

pub use crate::metrics::BUCKETS;
pub use listener::{Admin, Readiness};
pub use recorder::{InstallError, Metrics};
