//! The callers of one server, and what they ask.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    ask::{Answer, Ask},
    books::Books,
    client::Client,
    patience::TICK,
};

/// Several clients that share one account.
pub struct Crowd {
    pub clients: Vec<Client>,
    pub books: Books,
    /// Numbers the calls, which decides what is asked, and the notes.
    number: AtomicUsize,
}

const CITIES: [&str; 5] = ["Oslo", "Nairobi", "New York", "Tokyo", "Lima"];

/// Nowhere.
const UNKNOWN_CITY: &str = "Atlantis";

impl Crowd {
    pub fn new(clients: Vec<Client>) -> Arc<Self> {
        Arc::new(Self { clients, books: Books::default(), number: AtomicUsize::new(0) })
    }

    /// How many calls were begun.
    pub fn begun(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }

    /// The next call: all that can be asked in turn, and now and then what should not be.
    fn next(&self) -> Ask {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let city = CITIES[number % CITIES.len()];
        match number % 48 {
            9 => Ask::invented(),
            20 => Ask::misfit(),
            32 => Ask::packing_list(city),
            43 => Ask::weather(UNKNOWN_CITY),
            44 => Ask::report(UNKNOWN_CITY, note(number)),
            _ => match number % 12 {
                0 | 3 | 6 => Ask::weather(city),
                1 | 4 | 7 | 9 => Ask::forecast(city),
                11 => Ask::observations(),
                _ => Ask::report(city, note(number)),
            },
        }
    }

    /// `calls` calls from each of `callers` callers, all callers at once.
    pub async fn storm(self: &Arc<Self>, callers: usize, calls: usize) {
        at_once((0..callers).map(|caller| {
            let crowd = self.clone();
            async move {
                for _ in 0..calls {
                    crowd.put(crowd.next(), caller).await;
                }
            }
        }))
        .await;
    }

    /// The same without an end but `over`.
    pub async fn storm_until(self: &Arc<Self>, callers: usize, over: CancellationToken) {
        at_once((0..callers).map(|caller| {
            let (crowd, over) = (self.clone(), over.clone());
            async move {
                while !over.is_cancelled() {
                    crowd.put(crowd.next(), caller).await;
                    // Refusals come at once: without a pause there would be thousands.
                    sleep(10 * TICK).await;
                }
            }
        }))
        .await;
    }

    /// Each thing that can be asked, once and all at once.
    pub async fn one_of_each(self: &Arc<Self>) -> Vec<Answer> {
        let report = Ask::report("Oslo", note(self.number.fetch_add(1, Ordering::Relaxed)));
        let asks = [Ask::weather("Oslo"), Ask::forecast("Oslo"), report, Ask::packing_list("Oslo"), Ask::observations()];
        at_once(asks.into_iter().enumerate().map(|(caller, ask)| {
            let crowd = self.clone();
            async move { crowd.put(ask, caller).await }
        }))
        .await
    }

    /// Makes a call by the client of `caller`: they take turns. Writes down how it ended.
    async fn put(&self, ask: Ask, caller: usize) -> Answer {
        let answer = ask.put(&self.clients[caller % self.clients.len()]).await;
        self.books.count(&ask, &answer);
        answer
    }
}

fn note(number: usize) -> String {
    format!("report {number}")
}

/// Runs all of them at once, on as many threads as there are.
pub async fn at_once<F>(futures: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    futures.collect::<JoinSet<_>>().join_all().await
}
