//! The admin listener: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts and routes.
//!
//! A listener of its own, apart from the one that serves MCP; bind it to loopback unless you know who can reach it.
//!
//! ```
//! use buttress::admin::{Admin, Metrics};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // First, so that no handle is made before it: such a handle would count into the void.
//! let metrics = Metrics::install()?;
//! let admin = Admin::bind(([127, 0, 0, 1], 0)).await?;
//! eprintln!("metrics at http://{}/metrics", admin.local_addr());
//! # let shutdown = async {};
//! admin.serve(metrics, shutdown).await?;
//! # Ok(())
//! # }
//! ```

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

pub use listener::{Admin, Readiness};
pub use recorder::{BUCKETS, InstallError, Metrics};
