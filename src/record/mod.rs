//! The call's record: what its caller sees of it, measured.
//!
//! Outside all layers that decide, so that refusals of every one of them are seen. It measures and never decides.
//! The name of its histogram is the same in front of a client: see [`metrics`](crate::metrics).
//!
//! * **Error type**: [`BoxError`](crate::BoxError); it adds no error of its own.
//! * **Order**: outside everything but [`rescue`](crate::rescue), which turns errors into answers, and the call's
//!   [span](crate::trace), within which its line is logged.
//! * **Clones** share their handles, and so do two services from one layer.
//! * **Drop**: a call that is dropped before its answer is recorded as `cancelled`, and leaves the gauge.
//! * **Metrics**: [`SERVER_DURATION`](crate::metrics::SERVER_DURATION), [`IN_FLIGHT`](crate::metrics::IN_FLIGHT),
//!   [`REJECTIONS`](crate::metrics::REJECTIONS), [`LABEL_OVERFLOW`](crate::metrics::LABEL_OVERFLOW). It also makes what
//!   other layers count, at zero, where [the first event](crate::metrics#from-zero) matters.
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, record::RecordLayer};
//! use metrics_util::debugging::DebuggingRecorder;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let recorder = DebuggingRecorder::new();
//! let snapshotter = recorder.snapshotter();
//! let _installed = metrics::set_default_local_recorder(&recorder);
//!
//! let mut service = ServiceBuilder::new()
//!     .layer(RecordLayer::new())
//!     .service(service_fn(async |call: Request<&str>| Ok::<_, BoxError>(Response::new(call.params.to_uppercase()))));
//! let target = Catalogue::new("words").resolve(&Method::ToolsList, None, None);
//! service.ready().await?.call(Request::new(target, "four")).await?;
//!
//! let names: Vec<String> =
//!     snapshotter.snapshot().into_vec().into_iter().map(|(key, ..)| key.key().name().to_owned()).collect();
//! assert!(names.contains(&"mcp_server_operation_duration_seconds".to_owned()));
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::RecordFuture;
pub use layer::RecordLayer;
pub use service::Record;

#[cfg(test)]
mod tests;
