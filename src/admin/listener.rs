use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Mutex, task::JoinError};
use tower_http::compression::CompressionLayer;

use super::Metrics;

/// A bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    local_addr: SocketAddr,
    readiness: Readiness,
}

/// What `/readyz` says. Cheap to clone; starts as ready.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether calls should be sent here: set it to `false` when you begin to drain.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn status(&self) -> (StatusCode, &'static str) {
        if self.0.load(Ordering::Relaxed) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    }
}

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    readiness: Readiness,
    /// One scrape at a time: rendering copies every series, and scrapes must not add up.
    rendering: Arc<Mutex<()>>,
}

impl Admin {
    /// Binds the listener.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound: it is taken, or not ours.
    pub async fn bind(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr.into()).await?;
        Ok(Self { local_addr: listener.local_addr()?, listener, readiness: Readiness(Arc::new(AtomicBool::new(true))) })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The handle to what `/readyz` says.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `shutdown` resolves, and keeps the metrics up meanwhile.
    ///
    /// # Errors
    ///
    /// If the listener fails for good.
    pub async fn serve(self, metrics: Metrics, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let shared = Shared { metrics: metrics.clone(), readiness: self.readiness, rendering: Arc::default() };
        let router = Router::new()
            .route("/metrics", get(scrape))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(|State(shared): State<Shared>| async move { shared.readiness.status() }))
            .layer(CompressionLayer::new())
            .with_state(shared);
        tokio::select! {
            served = async { axum::serve(self.listener, router).with_graceful_shutdown(shutdown).await } => served,
            () = metrics.upkeep() => Ok(()),
        }
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match in_turn(shared.rendering, move || shared.metrics.render()).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered\n").into_response(),
    }
}

/// Does what blocks, and nothing beside it. It goes on where a scraper hangs up, and so does its turn.
async fn in_turn<T: Send + 'static>(turns: Arc<Mutex<()>>, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let turn = turns.lock_owned().await;
    let working = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    working.await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_scraper_that_hangs_up_does_not_make_way_for_another_scrape() {
        let turns = Arc::new(Mutex::new(()));
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let scrape = tokio::spawn(in_turn(turns.clone(), move || {
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
