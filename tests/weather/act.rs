//! What is done to a server and its callers: calls are taken back, the backend is away for a moment, and it is torn away in
//! the middle of everything.

use std::sync::Arc;

use buttress::metrics::BREAKER_TRANSITIONS;
use rmcp::service::PeerRequestOptions;
use tokio::select;
use tokio_util::sync::CancellationToken;

use crate::{
    ask::{Answer, Ask, TOOLS, Target},
    client::Client,
    crowd::Crowd,
    patience::{until, within},
    series::Series,
    stand_in::StandIn,
};

/// The stand-in's path for all weather, now and to come.
pub const FORECASTS: &str = "/v1/forecast";

/// One server, its callers and its backend.
pub struct Stage {
    pub crowd: Arc<Crowd>,
    pub backend: StandIn,
    /// Where the server's metrics are.
    pub metrics: String,
}

impl Stage {
    /// Each client takes one call back.
    pub async fn take_back(&self) {
        for client in &self.crowd.clients {
            while !self.take_back_if_it_hangs(client).await {}
        }
    }

    /// Makes a call, and takes it back if it hangs in the backend: nothing else ends it soon, so it cannot be answered at the
    /// same moment. Only on its first attempt, for a retry under way is in nobody's count.
    async fn take_back_if_it_hangs(&self, client: &Client) -> bool {
        let requests = || self.backend.stats().requests.get(FORECASTS).copied().unwrap_or_default();
        let (ask, before) = (Ask::forecast("Oslo"), requests());
        let mut call = client.send_request_with_option(ask.request(), PeerRequestOptions::no_options()).await.unwrap();
        let hangs = until("an answer, or a hang on the first attempt", async || {
            (self.backend.stats().hanging == 1 && requests() == before + 1).then_some(())
        });
        select! {
            answer = &mut call.rx => {
                self.crowd.books.count(&ask, &Answer::of_response(answer.unwrap()));
                return false;
            }
            () = hangs => {}
        }
        call.cancel(Some("never mind".to_owned())).await.unwrap();
        until("the backend to be let go", async || (self.backend.stats().hanging == 0).then_some(())).await;
        self.crowd.books.count_cancelled(&ask);
        true
    }

    /// The backend is away while everything is called once. Nothing is in flight when it goes, so that all counts stay exact.
    pub async fn outage(&mut self) {
        self.backend.stop().await;
        for answer in self.crowd.one_of_each().await {
            assert_eq!(answer.class, "not_sent", "{answer:?}");
            assert!(answer.text.contains("Nothing was done"), "{answer:?}");
        }
        self.backend.resume().await.unwrap();
    }

    /// The backend is torn away from under its callers, stays away until breakers have opened, and comes back; it is over
    /// when one has closed again.
    pub async fn torn_away(&mut self, callers: usize) {
        let (crowd, over) = (self.crowd.clone(), CancellationToken::new());
        let storm = tokio::spawn({
            let over = over.clone();
            async move { crowd.storm_until(callers, over).await }
        });
        let begun = self.crowd.begun();
        until("traffic", async || (self.crowd.begun() > begun + 2 * callers).then_some(())).await;
        self.backend.stop().await;
        let targets = TOOLS.map(Target::Tool).into_iter().chain([Target::Observations]);
        for target in targets {
            // The target's own, or the one above them all.
            let refused = || {
                let refusals = self.crowd.books.refusals(target);
                refusals.contains_key("breaker_open") || refusals.contains_key("upstream_open")
            };
            until("an open breaker", async || refused().then_some(())).await;
        }
        self.backend.resume().await.unwrap();
        // Reading the observations meets no faults, so at least its breaker closes with its first probe.
        until("a breaker to close", async || {
            let series = Series::scrape(&self.metrics).await;
            (series.sum(BREAKER_TRANSITIONS, &[("from", "half_open"), ("to", "closed")]) > 0).then_some(())
        })
        .await;
        over.cancel();
        within("the last answers", storm).await.unwrap();
    }
}
