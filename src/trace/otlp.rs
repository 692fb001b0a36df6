//! The spans' way to a collector.

use std::{env, fmt, sync::Arc, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::loss::{Counted, Loss};
use crate::error::BoxError;

/// How long the last spans may take on their way to the collector.
const PATIENCE: Duration = Duration::from_secs(5);

/// The spans' way to an OpenTelemetry collector: OTLP, protobuf over HTTP, in batches, from a thread of its own.
///
/// It goes where the environment says: `OTEL_EXPORTER_OTLP_ENDPOINT` (by default `http://localhost:4318`),
/// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, and the same for traces alone; `OTEL_TRACES_SAMPLER`,
/// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME` and `OTEL_BSP_*` count too. Where `OTEL_SDK_DISABLED` is `true`, nothing is
/// recorded or sent. For `https` switch a TLS feature of `reqwest` on.
///
/// * **A collector that is slow or gone** never makes a call wait. 2,048 spans wait for it (`OTEL_BSP_MAX_QUEUE_SIZE`); what
///   comes then is lost, and so is a batch that it does not take within 10 s. [`lost`](Self::lost) and
///   [`SPANS_LOST`](crate::metrics::SPANS_LOST) count them; that it begins and that it is over is logged, with the target
///   [`TARGET`](super::TARGET).
/// * **Clones**: none. Its layers share one way.
/// * **Drop**: sends what is still there, and waits up to 5 s for it; so let it go when the last call has ended, and not on a
///   thread that others wait for.
///
/// ```
/// use buttress::{Stack, trace::{Otlp, TARGET, TraceLayer}};
/// use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt};
///
/// # fn main() -> Result<(), buttress::BoxError> {
/// # // Nobody listens there, and it is found out at once.
/// let otlp = Otlp::to("http://127.0.0.1:9/v1/traces", "weather")?;
/// let ours = Targets::new().with_target(TARGET, tracing::Level::INFO);
/// let subscriber = tracing_subscriber::registry().with(otlp.layer().with_filter(ours));
/// tracing::subscriber::with_default(subscriber, || {
///     let stack = Stack::new().trace(TraceLayer::new());
///     // Serve, and at the end:
///     drop(stack);
/// });
/// drop(otlp);
/// # Ok(())
/// # }
/// ```
pub struct Otlp {
    provider: SdkTracerProvider,
    loss: Arc<Loss>,
}

impl Otlp {
    /// The way that the environment says. `service` is what the spans' service is called where the environment does not say it.
    ///
    /// # Errors
    ///
    /// Where the environment's settings cannot be read or ask for a protocol other than `http/protobuf`
    /// (`OTEL_EXPORTER_OTLP_PROTOCOL`, and the same for traces alone), or no HTTP client can be made.
    pub fn from_env(service: &str) -> Result<Self, BoxError> {
        if !is_wanted(|name| env::var(name).ok())? {
            let nothing = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
            return Ok(Self { provider: nothing, loss: Arc::default() });
        }
        Ok(Self::by(SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?, service))
    }

    /// The way to this endpoint, with its whole path, whatever the environment says of it.
    ///
    /// # Errors
    ///
    /// As for [`from_env`](Self::from_env), or where the endpoint is no URL.
    pub fn to(endpoint: &str, service: &str) -> Result<Self, BoxError> {
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).build()?;
        Ok(Self::by(exporter, service))
    }

    fn by(exporter: SpanExporter, service: &str) -> Self {
        let said = Resource::builder().build();
        // What the environment says has the last word.
        let resource = if is_named(&said) { said } else { Resource::builder().with_service_name(service.to_owned()).build() };
        let loss = Arc::<Loss>::default();
        let queue = Counted::new(exporter, loss.clone());
        Self { provider: SdkTracerProvider::builder().with_resource(resource).with_span_processor(queue).build(), loss }
    }

    /// A layer for a subscriber that sends the spans it is shown.
    ///
    /// Show it those of [`TARGET`](super::TARGET) and your own. An rmcp server's own span stands open for the whole of a session:
    /// whatever is made in it would be one trace.
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
    }

    /// How many spans the collector was to be sent and never was.
    pub fn lost(&self) -> u64 {
        self.loss.total()
    }

    /// Sends what is there now, and waits up to 5 s for it.
    ///
    /// # Errors
    ///
    /// Where the collector did not take it, or took too long.
    pub fn flush(&self) -> Result<(), BoxError> {
        Ok(self.provider.force_flush()?)
    }
}

/// The environment asks for another protocol than the one that is spoken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is {protocol}, but spans are sent as {} alone", OtherProtocol::OURS)]
struct OtherProtocol {
    variable: &'static str,
    protocol: String,
}

impl OtherProtocol {
    const OURS: &'static str = "http/protobuf";
}

/// Whether the environment wants spans to be sent. What is empty counts as not said, as it does to OpenTelemetry.
fn is_wanted(said: impl Fn(&'static str) -> Option<String>) -> Result<bool, OtherProtocol> {
    let said = |name| said(name).filter(|value| !value.is_empty());
    if said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let asked = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
        .into_iter()
        .find_map(|variable| Some((variable, said(variable)?)));
    match asked {
        Some((variable, protocol)) if protocol != OtherProtocol::OURS => Err(OtherProtocol { variable, protocol }),
        _ => Ok(true),
    }
}

/// Whether anybody has said what the service is called.
fn is_named(resource: &Resource) -> bool {
    let name = resource.get(&"service.name".into());
    name.is_some_and(|name| !name.as_str().starts_with("unknown_service"))
}

impl Drop for Otlp {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(target: super::TARGET, %error, "the last spans were not sent");
        }
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(environment: &[(&str, &str)]) -> Result<bool, String> {
        let said = |name: &str| environment.iter().find(|(said, _)| *said == name).map(|(_, value)| (*value).to_owned());
        is_wanted(said).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_switches_it_off_and_asks_for_no_protocol_in_vain() {
        const BOTH: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
        assert_eq!(wanted(&[]), Ok(true));
        assert_eq!(wanted(&[("OTEL_SDK_DISABLED", "TRUE"), (BOTH, "grpc")]), Ok(false));
        assert_eq!(wanted(&[("OTEL_SDK_DISABLED", "1")]), Ok(true), "only true is true");
        assert_eq!(wanted(&[(BOTH, "")]), Ok(true));
        let refused = Err("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but spans are sent as http/protobuf alone".to_owned());
        assert_eq!(wanted(&[(BOTH, "grpc")]), refused);
        assert_eq!(wanted(&[(BOTH, "grpc"), (TRACES, "")]), refused);
        assert_eq!(wanted(&[(BOTH, "grpc"), (TRACES, "http/protobuf")]), Ok(true), "that of traces comes first");
        assert!(wanted(&[(TRACES, "http/json")]).is_err());
    }
}
