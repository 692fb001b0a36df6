use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Mutex as Turns, task::JoinError, time::Instant};
use tower_http::compression::CompressionLayer;

use super::{
    Metrics, connections,
    gather::gather,
    host::loopback_only,
    page,
    recorder::beat,
    runtime::{Allocated, Runtime, probe_lag},
    sample::Sample,
    status::Process,
    watched::Watched,
    window::Window,
};
use crate::{Stack, catalogue::Catalogue};

/// How long one answer of `/status` serves all who ask.
const FRESH: Duration = Duration::from_millis(500);

/// A bound admin listener.
pub struct Admin {
    listener: TcpListener,
    local_addr: SocketAddr,
    readiness: Readiness,
    watched: Mutex<Vec<Watched>>,
    allocated: Option<Allocated>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("local_addr", &self.local_addr).field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// What `/readyz` says. Cheap to clone; starts as ready.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether calls should be sent here: set it to `false` when you begin to drain.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn status(&self) -> (StatusCode, &'static str) {
        if self.get() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    }
}

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    readiness: Readiness,
    /// One scrape at a time: rendering copies every series, and scrapes must not add up.
    rendering: Arc<Turns<()>>,
    status: Arc<Turns<Told>>,
    window: Arc<Mutex<Window>>,
    watched: Arc<[Watched]>,
}

/// The last answer of `/status`, and from when it is.
type Told = Option<(Instant, Bytes)>;

impl Admin {
    /// Binds the listener.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound: it is taken, or not ours.
    pub async fn bind(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr.into()).await?;
        let local_addr = listener.local_addr()?;
        let readiness = Readiness(Arc::new(AtomicBool::new(true)));
        Ok(Self { local_addr, listener, readiness, watched: Mutex::default(), allocated: None })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The handle to what `/readyz` says.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Shows on `/status` and on the page what the layers of `stack` are doing in front of the upstream of `catalogue`: breakers,
    /// slots and queues, quotas, the retry budget, the cache. Of a stack that is not watched only calls are shown, which the
    /// metrics tell. Call it once for each stack, when it is set up and before [`serve`](Self::serve).
    pub fn watch(&self, stack: &Stack, catalogue: &Arc<Catalogue>) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Watched::new(stack, catalogue));
    }

    /// Where [`ALLOCATED`](crate::metrics::ALLOCATED) comes from: how many bytes of the allocator's memory the program holds.
    /// Default: it is not known, and there is no such series. It is asked every five seconds, off the runtime's threads; every
    /// allocator has its own way to be asked, as `stats.allocated` of jemalloc's.
    #[must_use]
    pub fn allocated(mut self, bytes: impl Fn() -> u64 + Send + 'static) -> Self {
        self.allocated = Some(Box::new(bytes));
        self
    }

    /// Serves until `shutdown` resolves, and keeps the metrics up meanwhile, those of the process and of this runtime included.
    /// What is asked by then has [five seconds](super#connections) to be answered. Dropped, it closes all connections at once.
    ///
    /// # Errors
    ///
    /// None at present: where no connection can be accepted, since the process has no file descriptor left, say, it tries again.
    pub async fn serve(self, metrics: Metrics, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let shared = Shared {
            metrics: metrics.clone(),
            readiness: self.readiness,
            rendering: Arc::default(),
            status: Arc::default(),
            window: Arc::default(),
            watched: self.watched.into_inner().unwrap_or_else(PoisonError::into_inner).into(),
        };
        let mut router = Router::new()
            .merge(page::routes())
            .route("/metrics", get(scrape))
            .route("/status", get(status))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(|State(shared): State<Shared>| async move { shared.readiness.status() }))
            .layer(CompressionLayer::new());
        if self.local_addr.ip().is_loopback() {
            router = router.layer(from_fn(loopback_only));
        }
        let router = router.with_state(shared.clone());
        tokio::select! {
            () = connections::serve(self.listener, router, shutdown) => {}
            () = metrics.upkeep() => {}
            () = shared.upkeep(self.allocated) => {}
            () = probe_lag() => {}
        }
        Ok(())
    }
}

impl Shared {
    /// Takes samples, for ever.
    async fn upkeep(&self, allocated: Option<Allocated>) {
        let mut beat = beat();
        let runtime = Arc::new(Mutex::new(Runtime::new(allocated)));
        loop {
            beat.tick().await;
            let (shared, runtime) = (self.clone(), runtime.clone());
            // In turn with scrapes. Fails only where the runtime is shutting down.
            let _ = in_turn(self.rendering.clone(), move |()| {
                // Not when it was due, or when its turn came.
                let now = Instant::now();
                runtime.lock().unwrap_or_else(PoisonError::into_inner).sample(now);
                let sample = Sample::read(&shared.metrics.render());
                shared.window().push(now, sample);
            })
            .await;
        }
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of `/status`, from the last one where that is fresh.
    fn status(&self, told: &mut Told) -> Result<Bytes, serde_json::Error> {
        let now = Instant::now();
        if let Some((_, text)) = told.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < FRESH) {
            return Ok(text.clone());
        }
        let process = Process {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.metrics.age(now).as_millis() as f64 / 1e3,
            ready: self.readiness.get(),
        };
        let sample = Sample::read(&self.metrics.render());
        let status = gather(process, now, sample, self.window().first(), &self.watched);
        let text = Bytes::from(serde_json::to_vec(&status)?);
        *told = Some((now, text.clone()));
        Ok(text)
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match in_turn(shared.rendering, move |()| shared.metrics.render()).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered\n").into_response(),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    match in_turn(shared.status.clone(), move |told| shared.status(told)).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the status could not be gathered\n").into_response(),
    }
}

/// Does what blocks, and nothing beside it. It goes on where a scraper hangs up, and so does its turn.
async fn in_turn<S, T>(turns: Arc<Turns<S>>, work: impl FnOnce(&mut S) -> T + Send + 'static) -> Result<T, JoinError>
where
    S: Send + 'static,
    T: Send + 'static,
{
    let mut turn = turns.lock_owned().await;
    tokio::task::spawn_blocking(move || work(&mut turn)).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_scraper_that_hangs_up_does_not_make_way_for_another_scrape() {
        let turns = Arc::new(Turns::new(()));
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let scrape = tokio::spawn(in_turn(turns.clone(), move |()| {
            let _ = began.send(());
            ends.recv()
        }));
        has_begun.await.unwrap();
        scrape.abort();
        assert!(scrape.await.unwrap_err().is_cancelled());
        assert!(turns.try_lock().is_err(), "it renders on");
        drop(end);
        let _next = turns.lock().await;
    }
}
