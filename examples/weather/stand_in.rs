//! A server on the loopback interface that stands in for the Open-Meteo API,
//! with faults: the same paths and JSON shapes, weather made up from the
//! coordinates, and a write path of its own so that duplicates can be seen.
//!
//! Forecasts and reported observations meet faults, dealt from one seeded
//! [deck] per path; every call but `GET /stats` meets some latency.

mod api;
mod deck;
mod faults;
mod forecast;
mod sky;
#[cfg(test)]
mod tests;
mod wire;
mod world;

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use fastrand::Rng;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use deck::Deck;
use wire::{Exchange, Line};
pub use world::Stats;
use world::World;

/// How the stand-in behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Decides the order of faults on each path, and the latencies.
    pub seed: u64,
    /// Deals no faults at all.
    pub calm: bool,
}

/// A running stand-in. Everything it started ends when it is dropped.
pub struct StandIn {
    address: SocketAddr,
    world: Arc<World>,
    /// Holds the decks, which therefore outlast a stop.
    router: Router,
    serving: Option<Serving>,
}

/// One stretch of serving, from a start to the next stop.
struct Serving {
    closing: DropGuard,
    ended: JoinHandle<io::Result<()>>,
}

impl StandIn {
    /// Listens on `listen`, where port 0 stands for any free port.
    ///
    /// Install the metrics recorder first: counters are described here.
    pub async fn start(listen: SocketAddr, options: Options) -> io::Result<Self> {
        world::describe_metrics();
        let Dice { forecasts, observations, latency } = Dice::from_seed(options.seed);
        let decks = (!options.calm).then_some((forecasts, observations));
        let world = Arc::new(World::new(latency));

        let listener = TcpListener::bind(listen).await?;
        let mut stand_in = Self { address: listener.local_addr()?, router: api::router(&world, decks), world, serving: None };
        stand_in.serve(listener);
        Ok(stand_in)
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happened so far, stops included.
    #[cfg_attr(not(test), allow(dead_code, reason = "the example reads /stats and the metrics instead"))]
    pub fn stats(&self) -> Stats {
        self.world.stats()
    }

    /// Stops listening and resets every connection. On return the last call
    /// has ended, connections are refused, and all state is kept.
    #[cfg_attr(not(test), allow(dead_code, reason = "only tests take the backend away"))]
    pub async fn stop(&mut self) {
        if let Some(Serving { closing, ended }) = self.serving.take() {
            drop(closing);
            // It can only have ended by now, whichever way.
            let _ = ended.await;
        }
    }

    /// Listens again, on the same port. Does nothing while it is listening.
    #[cfg_attr(not(test), allow(dead_code, reason = "only tests take the backend away"))]
    pub async fn resume(&mut self) -> io::Result<()> {
        if self.serving.is_none() {
            self.serve(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener) {
        let closing = CancellationToken::new();
        let service = self.router.clone().into_make_service_with_connect_info::<Line>();
        let exchange = Exchange { listener, closing: closing.clone() };
        // A graceful shutdown waits for the calls in flight; it need not wait
        // long, since the same token cuts the wires they came by.
        let server = axum::serve(exchange, service).with_graceful_shutdown(closing.clone().cancelled_owned());
        self.serving = Some(Serving { closing: closing.drop_guard(), ended: tokio::spawn(server.into_future()) });
    }
}

/// All that chance decides. Each part has a generator of its own, so that
/// calls on one path do not change what happens on another.
struct Dice {
    forecasts: Deck,
    observations: Deck,
    latency: Rng,
}

impl Dice {
    fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self { forecasts: Deck::new(rng.fork()), observations: Deck::new(rng.fork()), latency: rng.fork() }
    }
}
