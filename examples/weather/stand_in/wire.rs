//! Connections that can be cut: from inside, by a fault that resets the one it
//! arrived on, and from outside, when the whole stand-in stops.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Accepts connections as [`Wire`]s.
pub struct Exchange {
    pub listener: TcpListener,
    /// Cuts every wire when cancelled.
    pub closing: CancellationToken,
}

impl Listener for Exchange {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Only costs latency where it fails.
        let _ = stream.set_nodelay(true);
        let line = self.closing.child_token();
        (Wire { stream, line }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The handle by which a request handler cuts the connection it serves.
#[derive(Clone, Debug)]
pub struct Line(CancellationToken);

impl Line {
    /// Ends the connection with a reset. What is answered afterwards never
    /// leaves: the wire refuses to carry it.
    pub fn cut(&self) {
        self.0.cancel();
    }

    /// Waits until the line is cut, by whomever.
    pub async fn is_cut(&self) {
        self.0.cancelled().await;
    }
}

impl Connected<IncomingStream<'_, Exchange>> for Line {
    fn connect_info(incoming: IncomingStream<'_, Exchange>) -> Self {
        Self(incoming.io().line.clone())
    }
}

/// A TCP stream that fails once its line is cut.
///
/// It wakes nobody when that happens: a handler that cuts its line goes on to
/// answer, and a server that shuts down looks at each of its connections.
pub struct Wire {
    stream: TcpStream,
    line: CancellationToken,
}

impl Wire {
    /// The stream, as long as the line is not cut.
    fn intact(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.line.is_cancelled() {
            // Without lingering, closing the socket sends a reset, as a
            // crashing peer would; where that fails the client sees a plain
            // close instead, which tells it just as little.
            let _ = self.stream.set_zero_linger();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.intact()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.intact()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.intact()?.poll_shutdown(cx)
    }
}
