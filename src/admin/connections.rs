//! The connections of the listener: how many there are, and how long each of them may take.

use std::{future::Future, pin::pin, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// How many connections are open at once. The next ones wait in the system's backlog.
const CONNECTIONS: usize = 128;
/// How long a connection may take to send the head of a request, from its opening or from its last answer on. Nobody scrapes at
/// this interval, so no request meets the end of its connection.
const HEAD: Duration = Duration::from_secs(12);
/// How long a connection is served. It bounds what nothing else does: who sends requests and reads no answers. No multiple of an
/// interval at which somebody may ask, either.
const LIFE: Duration = Duration::from_millis(121_300);
/// How long a connection has for its last answer, once it is to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves what connects until `shutdown` resolves, and then for [`DRAIN`] at most. Dropped, it drops its connections.
pub(super) async fn serve(mut listener: impl Listener, router: Router, shutdown: impl Future<Output = ()>) {
    let (goes_on, ends) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (io, _) = listener.accept(), if connections.len() < CONNECTIONS => {
                connections.spawn(connection(io, router.clone(), ends.clone()));
            }
        }
    }
    drop((listener, goes_on));
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, its time is up, or nobody holds the other end of `ends`.
async fn connection(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, mut ends: watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), TowerToHyperService::new(router)));
    tokio::select! {
        _ = &mut connection => return,
        _ = timeout(LIFE, ends.changed()) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN, connection).await;
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io};

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::{mpsc, oneshot},
        task::JoinHandle,
        time::Instant,
    };

    use super::*;

    /// Connections that are made by hand.
    struct Door(mpsc::Receiver<DuplexStream>);

    impl Listener for Door {
        type Io = DuplexStream;
        type Addr = ();

        async fn accept(&mut self) -> (DuplexStream, ()) {
            match self.0.recv().await {
                Some(io) => (io, ()),
                None => pending().await,
            }
        }

        fn local_addr(&self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Server {
        door: mpsc::Sender<DuplexStream>,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    }

    impl Server {
        fn start() -> Self {
            let (door, knocks) = mpsc::channel(1);
            let (stop, stopped) = oneshot::channel::<()>();
            let router = Router::new()
                .route("/", get(|| async { "here\n" }))
                .route("/much", get(|| async { "x".repeat(100_000) }))
                .route("/never", get(pending::<()>));
            let serving = tokio::spawn(serve(Door(knocks), router, async { drop(stopped.await) }));
            Self { door, stop, serving }
        }

        /// A connection that has sent this.
        async fn connect(&self, says: &str) -> DuplexStream {
            let (mut ours, theirs) = duplex(4096);
            self.door.send(theirs).await.unwrap();
            ours.write_all(says.as_bytes()).await.unwrap();
            ours
        }

        /// How long it takes to end from now on.
        async fn stopped(self) -> Duration {
            let begun = Instant::now();
            self.stop.send(()).unwrap();
            timeout(DRAIN * 2, self.serving).await.unwrap().unwrap();
            begun.elapsed()
        }
    }

    async fn is_answered(connection: &mut DuplexStream) -> bool {
        let mut answer = [0; 15];
        connection.read_exact(&mut answer).await.is_ok_and(|_| answer == *b"HTTP/1.1 200 OK")
    }

    /// How long it is kept open.
    async fn closed(connection: &mut DuplexStream) -> Duration {
        let begun = Instant::now();
        let _ = connection.read_to_end(&mut Vec::new()).await;
        begun.elapsed()
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_waits_does_not_keep_the_end_waiting() {
        let server = Server::start();
        let mut idle = server.connect(REQUEST).await;
        assert!(is_answered(&mut idle).await);
        assert_eq!(server.stopped().await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_clients_do_the_end_comes() {
        for says in [
            "GET / HTTP/1.1\r\nhost: loc".to_owned(),
            "GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            "GET /much HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(10),
        ] {
            let server = Server::start();
            let _open = server.connect(&says).await;
            // The server has read what was sent, and waits.
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(server.stopped().await, DRAIN, "{says:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_whole_head_is_closed() {
        let server = Server::start();
        for says in ["", "GET / HTTP/1.1\r\nhost: loc"] {
            assert_eq!(closed(&mut server.connect(says).await).await, HEAD, "{says:?}");
        }
        let mut kept = server.connect(REQUEST).await;
        assert!(is_answered(&mut kept).await);
        assert_eq!(closed(&mut kept).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_makes_room_after_a_while() {
        let server = Server::start();
        let mut deaf = Vec::new();
        for _ in 0..CONNECTIONS {
            deaf.push(server.connect(&"GET /much HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(10)).await);
        }
        let begun = Instant::now();
        let mut next = server.connect(REQUEST).await;
        assert!(is_answered(&mut next).await);
        assert_eq!(begun.elapsed(), LIFE + DRAIN, "no sooner: there was no place for it");
        drop(deaf);
    }
}
