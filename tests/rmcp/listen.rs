//! `subscriptions/listen`: a stream with a cap of its own, whose panics are answered and whose place is given back.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use buttress::{
    Stack,
    metrics::{REJECTIONS, SUBSCRIPTIONS},
    rmcp::{Server, ServerLayer},
};
use rmcp::{
    ErrorData, ServerHandler,
    model::{ErrorCode, ServerCapabilities, ServerConfig, SubscriptionFilter},
    service::{ServiceError, Subscription, SubscriptionContext, SubscriptionEnd},
};
use tokio::sync::{Semaphore, mpsc};
use tower::Layer;

use crate::{
    road::{Client, Era, Site, over_duplex},
    series::Series,
    tape::{Tape, soon},
};

/// How a stream behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Ends when the test says so, or when its client leaves.
    Polite,
    /// Does not notice that its client has left.
    Deaf,
    /// Panics.
    Broken,
}

#[derive(Clone)]
struct News {
    manner: Manner,
    opened: mpsc::UnboundedSender<()>,
    finish: Arc<Semaphore>,
    listening: Arc<AtomicU32>,
}

struct Listening(Arc<AtomicU32>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ServerHandler for News {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.listening.fetch_add(1, Ordering::SeqCst);
        let _listening = Listening(self.listening.clone());
        self.opened.send(()).unwrap();
        match self.manner {
            Manner::Polite => tokio::select! {
                () = context.cancelled() => {}
                finish = self.finish.acquire() => finish.unwrap().forget(),
            },
            Manner::Deaf => self.finish.acquire().await.unwrap().forget(),
            Manner::Broken => panic!("as a handler may"),
        }
        Ok(())
    }
}

/// A server that holds one subscription at most, and what its streams say of themselves.
fn news(manner: Manner) -> (Server<News>, News, mpsc::UnboundedReceiver<()>) {
    let (opened, is_open) = mpsc::unbounded_channel();
    let news = News { manner, opened, finish: Arc::new(Semaphore::new(0)), listening: Arc::default() };
    (ServerLayer::new("news", &Stack::new()).subscriptions(1).layer(news.clone()), news, is_open)
}

async fn listen(client: &Client) -> Subscription {
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    client.listen(filter).await.expect("rmcp acknowledges before it asks us")
}

/// The error that ends a subscription at once.
async fn turned_away(client: &Client) -> ErrorData {
    match soon(listen(client).await.next()).await {
        Err(ServiceError::McpError(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn is_full_and_then_free(client: Client, news: News, mut is_open: mpsc::UnboundedReceiver<()>) {
    let series = Series::new();
    let _recording = series.record();
    let mut first = listen(&client).await;
    soon(is_open.recv()).await.unwrap();
    assert!(series.sum(SUBSCRIPTIONS, &[("upstream", "news")]) == 1.0);

    let error = turned_away(&client).await;
    assert_eq!(error.code, ErrorCode(503), "{error:?}");
    let words = "Busy: subscriptions/listen on \"news\" has all the subscriptions it can take. Try again later.";
    assert_eq!(error.message, words);
    assert!(series.sum(REJECTIONS, &[("layer", "subscriptions"), ("reason", "queue_full")]) == 1.0);
    assert_eq!(news.listening.load(Ordering::SeqCst), 1, "the handler never saw the second");

    news.finish.add_permits(1);
    assert!(soon(first.next()).await.unwrap().is_none());
    assert!(matches!(first.end(), Some(SubscriptionEnd::Graceful(_))), "{:?}", first.end());
    let mut second = listen(&client).await;
    soon(is_open.recv()).await.unwrap();
    news.finish.add_permits(1);
    assert!(soon(second.next()).await.unwrap().is_none());
    assert!(series.sum(SUBSCRIPTIONS, &[]) == 0.0);
}

#[tokio::test]
async fn one_too_many_is_told_so_over_a_pipe() {
    let (server, news, is_open) = news(Manner::Polite);
    is_full_and_then_free(over_duplex(Era::Modern, server, &Tape::default()).await, news, is_open).await;
}

#[tokio::test]
async fn one_too_many_is_told_so_over_http() {
    let (server, news, is_open) = news(Manner::Polite);
    let site = Site::open(move || server.clone()).await;
    is_full_and_then_free(site.connect(Era::Modern, &Tape::default()).await, news, is_open).await;
}

#[tokio::test]
async fn a_panicking_stream_is_answered_and_gives_its_place_back() {
    let (server, _, _is_open) = news(Manner::Broken);
    let client = over_duplex(Era::Modern, server, &Tape::default()).await;
    for _ in 0..3 {
        let error = turned_away(&client).await;
        assert_eq!(
            (error.code, &*error.message),
            (ErrorCode(503), "Unavailable: subscriptions/listen on \"news\" failed. Subscribing again is safe.")
        );
    }
}

/// The place of a client that left is free again, even if the handler has not noticed.
#[tokio::test]
async fn a_deaf_stream_ends_with_its_client() {
    let (server, news, mut is_open) = news(Manner::Deaf);
    let client = over_duplex(Era::Modern, server, &Tape::default()).await;
    let mut first = listen(&client).await;
    soon(is_open.recv()).await.unwrap();
    first.cancel().await.unwrap();
    let mut second = listen(&client).await;
    tokio::select! {
        opened = soon(is_open.recv()) => assert!(opened.is_some()),
        refused = second.next() => panic!("the first still holds the place: {refused:?}"),
    }
    assert_eq!(news.listening.load(Ordering::SeqCst), 1);
}
