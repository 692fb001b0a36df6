//! Answers that are kept and shared, through the whole stack, as JSON-RPC messages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack, StackService,
    cache::CacheLayer,
    call::{Annotations, Caller, Method, Request, Response, TargetPolicy},
    catalogue::{Catalogue, Scope},
    coalesce::CoalesceLayer,
    error::Transport,
    hedge::HedgeLayer,
    raw::{RawAnswer, RawCall, RawMessage},
};
use bytes::Bytes;
use tokio::time::{advance, sleep};
use tower::service_fn;

/// An upstream that answers after a second with what it is told to, under the id that it is sent.
#[derive(Clone, Default)]
struct Upstream {
    calls: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

struct Server {
    upstream: Upstream,
    catalogue: Catalogue,
    service: StackService<RawMessage, RawAnswer>,
}

impl Server {
    fn new(result: &'static str) -> Self {
        Self::with_grace(result, Duration::from_secs(5))
    }

    fn with_grace(result: &'static str, grace: Duration) -> Self {
        let upstream = Upstream::default();
        let bytes = NonZeroU64::new(1 << 20).unwrap();
        let stack = Stack::new()
            .cache(CacheLayer::new(bytes).stale_while_revalidate(grace))
            .coalesce(CoalesceLayer::new())
            .hedge(HedgeLayer::new());
        let handler = {
            let upstream = upstream.clone();
            service_fn(move |call: Request<RawMessage>| {
                let upstream = upstream.clone();
                async move {
                    upstream.calls.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_secs(1)).await;
                    if upstream.down.load(Ordering::Relaxed) {
                        return Err(BoxError::from(Transport::not_sent("connection refused")));
                    }
                    let request: serde_json::Value = serde_json::from_slice(call.params.bytes())?;
                    let message = format!(r#"{{ "jsonrpc":"2.0", "result": {result} ,"id":{}}}"#, request["id"]);
                    Ok(Response::from_result(RawAnswer::parse(message.into())))
                }
            })
        };
        let minute = TargetPolicy::default().cache_for(Duration::from_secs(60));
        let catalogue = Catalogue::new("up").tool("look", minute).trust_annotations();
        let reads = Annotations::default().read_only(true);
        catalogue.learn(&Method::ToolsCall, Scope::Public, [("look", reads)]);
        Self { upstream, catalogue, service: stack.service(handler) }
    }

    async fn ask(&self, token: &[u8], message: &str) -> String {
        let call = RawCall::parse(Bytes::from(message.to_owned())).unwrap();
        let caller = Caller::of_tenant("t").access_token(token);
        let response = self.service.answer(call.request(&self.catalogue, caller)).await.unwrap();
        String::from_utf8(call.answer(response).to_vec()).unwrap()
    }

    fn calls(&self) -> usize {
        self.upstream.calls.load(Ordering::Relaxed)
    }
}

const TOOLS: &str = r#"{"tools":[],"x":1.50,"ttlMs":10000,"cacheScope":"public"}"#;

#[tokio::test(start_paused = true)]
async fn each_has_its_own_id_and_all_else_byte_for_byte() {
    let server = Server::new(TOOLS);
    let list = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{"_meta":{{"n":{id}}}}}}}"#);
    // Both at once: the second joins the first.
    let (one, two) = (list("1"), list(r#""two""#));
    let (one, two) = tokio::join!(server.ask(b"a", &one), server.ask(b"a", &two));
    let answer = |id: &str| format!(r#"{{ "jsonrpc":"2.0", "result": {TOOLS} ,"id":{id}}}"#);
    assert_eq!((one, two), (answer("1"), answer(r#""two""#)));
    // From the cache, for another.
    assert_eq!(server.ask(b"b", &list("3")).await, answer("3"));
    assert_eq!(server.calls(), 1);
}

/// Ten thousand who miss at once are one call, whoever leaves.
#[tokio::test(start_paused = true)]
async fn a_herd_is_one_call_also_when_the_cache_expires() {
    let server = Arc::new(Server::new(TOOLS));
    for round in 1..=3_usize {
        let calls: Vec<_> = (0..10_000)
            .map(|id| {
                let server = server.clone();
                let list = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
                tokio::spawn(async move { server.ask(b"a", &list).await })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        calls[0].abort();
        for (id, call) in calls.into_iter().enumerate().skip(1) {
            assert!(call.await.unwrap().contains(&format!(r#""id":{id}"#)));
        }
        assert_eq!(server.calls(), round);
        advance(Duration::from_secs(60)).await;
    }
}

/// The tools of a server that is down for a minute do not vanish, and what a tool said is told to be old.
#[tokio::test(start_paused = true)]
async fn what_was_known_outlasts_an_outage() {
    let server = Server::new(r#"{"content":[{"type":"text","text":"sunny"}],"ttlMs":1000,"cacheScope":"public"}"#);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let look = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"look"}}"#;
    for message in [list, look] {
        assert!(server.ask(b"a", message).await.contains("sunny"));
    }
    server.upstream.down.store(true, Ordering::Relaxed);
    advance(Duration::from_secs(70)).await;
    for _ in 0..20 {
        let old = server.ask(b"a", list).await;
        assert!(old.contains("sunny") && !old.contains("Not of now"), "{old}");
        let old = server.ask(b"a", look).await;
        assert!(old.contains("sunny") && old.contains(r#"Not of now: this answer of \"look\" on \"up\" is "#), "{old}");
        assert!(old.contains("ageMs"), "{old}");
        sleep(Duration::from_secs(3)).await;
    }
    // Another caller's tool was never called: it has nothing to be given.
    assert!(!server.ask(b"b", look).await.contains("sunny"));
}

/// Where all are served what is kept, no other call than the fetch comes that could be the breaker's probe.
#[tokio::test(start_paused = true)]
async fn a_list_is_fetched_again_once_the_server_is_well() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let server = Server::with_grace(TOOLS, Duration::from_secs(3600));
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    server.ask(b"token", list).await;
    sleep(Duration::from_secs(11)).await;
    server.upstream.down.store(true, Ordering::Relaxed);
    for second in 0..120 {
        server.upstream.down.store(second < 20, Ordering::Relaxed);
        assert!(server.ask(b"token", list).await.contains("\"x\":1.50"), "it is served all the while");
        sleep(Duration::from_secs(1)).await;
    }
    // Six that failed, and opened the breaker; probes; and then one in ten seconds.
    let calls = server.calls();
    assert!((14..=20).contains(&calls), "{calls}");
    let before = calls;
    for _ in 0..30 {
        server.ask(b"token", list).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!((2..=4).contains(&(server.calls() - before)), "{} since", server.calls() - before);
    let instead = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .find(|(key, ..)| key.key().name() == buttress::metrics::CACHE_STALE_IF_ERROR.name);
    let nobody = metrics_util::debugging::DebugValue::Counter(0);
    assert!(instead.is_none_or(|(.., count)| count == nobody), "nobody was given an answer in place of an error");
}
