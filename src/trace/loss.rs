//! What is lost on the way to a collector, counted.

use std::{
    env, fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::Counter;
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::time::Instant;

use super::TARGET;
use crate::{logs::Spell, metrics::SPANS_LOST};

/// How many spans may wait for the collector, unless the environment says otherwise.
const ROOM: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Loss {
    /// Spans that have ended and are neither sent nor lost.
    waiting: AtomicUsize,
    lost: AtomicU64,
    counted: OnceLock<[Counter; 2]>,
    losing: Spell,
}

impl Loss {
    pub(super) fn total(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What counts them, made with the first span that ends: a subscriber is often there before the recorder of metrics.
    fn counted(&self) -> &[Counter; 2] {
        self.counted.get_or_init(|| ["queue_full", "not_sent"].map(|reason| SPANS_LOST.counter([reason.into()])))
    }

    fn turned_away(&self) {
        let [full, _] = self.counted();
        self.lose(1, full, &"the queue is full");
    }

    fn not_sent(&self, spans: usize, why: &dyn fmt::Display) {
        let [_, not_sent] = self.counted();
        self.lose(spans as u64, not_sent, why);
    }

    fn lose(&self, spans: u64, counter: &Counter, why: &dyn fmt::Display) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
        counter.increment(spans);
        if !self.losing.is_on() && self.losing.begins(Instant::now()) {
            tracing::warn!(target: TARGET, error = %why, "spans are lost on their way to the collector");
        }
    }

    fn arrived(&self) {
        if self.losing.is_on() && self.losing.ends(Instant::now()) {
            tracing::info!(target: TARGET, lost = self.total(), "spans reach the collector again");
        }
    }
}

/// The SDK's queue and its thread. What it has no room for is turned away here, since it does not say what it drops.
#[derive(Debug)]
pub(super) struct Counted {
    queue: BatchSpanProcessor,
    room: usize,
    loss: Arc<Loss>,
}

impl Counted {
    pub(super) fn new(exporter: impl SpanExporter + 'static, loss: Arc<Loss>) -> Self {
        let said = env::var("OTEL_BSP_MAX_QUEUE_SIZE").ok().and_then(|room| room.parse().ok());
        let queue = BatchSpanProcessor::builder(Sent { exporter, loss: loss.clone() }).build();
        Self { queue, room: said.unwrap_or(ROOM), loss }
    }
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.loss.counted();
        if self.loss.waiting.fetch_add(1, Ordering::Relaxed) < self.room {
            self.queue.on_end(span);
        } else {
            self.loss.waiting.fetch_sub(1, Ordering::Relaxed);
            self.loss.turned_away();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// What leaves the queue.
#[derive(Debug)]
struct Sent<E> {
    exporter: E,
    loss: Arc<Loss>,
}

impl<E: SpanExporter> SpanExporter for Sent<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.loss.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => self.loss.arrived(),
            Err(error) => self.loss.not_sent(spans, error),
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::{error::OTelSdkError, trace::SdkTracerProvider};

    use super::*;

    /// A collector that takes what comes, or nothing.
    #[derive(Debug)]
    struct Collector(bool);

    impl SpanExporter for Collector {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.0 { Ok(()) } else { Err(OTelSdkError::InternalFailure("gone".to_owned())) }
        }
    }

    /// How many are lost of twice as many as there is room for, half of which are sent before the others end.
    fn lost(takes: bool) -> u64 {
        let loss = Arc::new(Loss::default());
        let counted = Counted { room: 8, ..Counted::new(Collector(takes), loss.clone()) };
        let provider = SdkTracerProvider::builder().with_span_processor(counted).build();
        let tracer = provider.tracer("t");
        for _ in 0..2 {
            (0..8).for_each(|_| drop(tracer.start("s")));
            let _sent = provider.force_flush();
        }
        assert_eq!(loss.waiting.load(Ordering::Relaxed), 0);
        loss.total()
    }

    #[test]
    fn what_was_sent_makes_room_and_what_was_not_is_lost_once() {
        assert_eq!((lost(true), lost(false)), (0, 16));
    }
}
