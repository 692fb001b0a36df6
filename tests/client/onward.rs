//! What the server sees of a call: its attempts, and what each says of itself. What the client sees of its end.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use buttress::{
    Stack,
    call::{ATTEMPT_KEY, Caller, OUTCOME_KEY, TIMEOUT_KEY},
    quota::QuotaLayer,
    rmcp::client::{Client, ClientLayer},
    trace::{Incoming, TraceLayer},
};
use governor::Quota;
use rmcp::{
    ErrorData, ServerHandler,
    model::{CallToolRequestParams, RequestMetaObject, ServerCapabilities, ServerConfig, SubscriptionFilter},
    service::{ServiceError, SubscriptionContext},
};
use serde_json::json;

use crate::{
    probe::{Probe, TOOL, failed, good, one_an_hour, texts},
    rig::{ERAS, SEAMS, Seam, hasty, over_duplex, safe},
    road::Era,
    tape::soon,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(start_paused = true)]
async fn a_call_in_doubt_is_repeated_under_a_fresh_id_and_says_so() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let probe = Probe::new(async |nth, _| if nth < 3 { Err(ErrorData::internal_error("not yet", None)) } else { good() });
        let (rig, _serving) = over_duplex(seam, era, probe.clone(), &safe(&Stack::new())).await;
        assert_eq!(texts(&rig.call().await.unwrap()), ["done"], "{seam:?} {era:?}");
        assert_eq!(probe.calls(), 3);

        let attempts = rig.sent("tools/call").await;
        let ids: BTreeSet<_> = attempts.iter().map(|attempt| attempt["id"].to_string()).collect();
        let tokens: BTreeSet<_> =
            attempts.iter().map(|attempt| attempt["params"]["_meta"]["progressToken"].to_string()).collect();
        assert_eq!((ids.len(), tokens.len()), (3, 3), "{attempts:#?}");
        let marks: Vec<_> = attempts.iter().map(|attempt| attempt["params"]["_meta"][ATTEMPT_KEY].as_u64()).collect();
        assert_eq!(marks, [Some(1), Some(2), Some(3)]);
        let left: Vec<_> = attempts.iter().filter_map(|attempt| attempt["params"]["_meta"][TIMEOUT_KEY].as_u64()).collect();
        // The first is given up at its limit, the others when the call ends.
        assert!(left.len() == 3 && left[0] == 20_000 && 55_000 > left[1] && left[1] > left[2] && left[2] > 50_000, "{left:?}");
        // The handshake is rmcp's own.
        let method = if era == Era::Legacy { "initialize" } else { "server/discover" };
        let [handshake] = &rig.sent(method).await[..] else { panic!("one handshake") };
        assert!(handshake["params"]["_meta"][ATTEMPT_KEY].is_null() && handshake["id"].is_number(), "{handshake:#?}");
        // Nothing is taken back that was answered.
        assert_eq!(rig.sent("notifications/cancelled").await, [] as [serde_json::Value; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_nobody_vouches_for_is_called_once() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| Err(ErrorData::internal_error("the disk is on fire", None))).read_only();
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe.clone(), &ClientLayer::new("up", &Stack::new())).await;
        if let Some(client) = &rig.client {
            client.list_all_tools().await.unwrap();
        } else {
            rig.connection.list_all_tools().await.unwrap();
        }
        let error = rig.call().await.unwrap_err();
        let ServiceError::McpError(error) = error else { panic!("{error:?}") };
        assert!(error.message.starts_with("the disk is on fire. Outcome unknown: "), "{error:?}");
        assert!(error.message.contains("\"probe\" on \"up\""), "the tool was learned from the list: {error:?}");
        assert_eq!(probe.calls(), 1);
    }
}

#[tokio::test]
async fn a_refused_call_never_leaves_and_says_why() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| good());
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe.clone(), &safe(&one_an_hour())).await;
        rig.call().await.unwrap();
        let refused = rig.call().await.unwrap();
        assert!(texts(&refused)[0].starts_with("Rate limited: \"up\" allows you 1 call an hour"), "{refused:?}");
        assert_eq!(refused.meta.unwrap().0[OUTCOME_KEY]["layer"], "quota");
        assert_eq!(probe.calls(), 1);
        // Other methods are refused by an error.
        let error = match &rig.client {
            Some(client) => client.list_tools(None).await.unwrap_err(),
            None => rig.connection.list_tools(None).await.unwrap_err(),
        };
        assert!(matches!(error, ServiceError::McpError(ErrorData { code: rmcp::model::ErrorCode(429), .. })), "{error:?}");
        assert!(rig.sent("tools/list").await.is_empty());
    }
}

#[tokio::test]
async fn the_servers_own_word_is_passed_on() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let probe = Probe::new(async |_, _| failed());
        let (rig, _serving) = over_duplex(seam, era, probe, &safe(&Stack::new())).await;
        assert_eq!(texts(&rig.call().await.unwrap()), ["the backend said no"]);
        let params = CallToolRequestParams::new("no such");
        let answer = match &rig.client {
            Some(client) => client.call_tool(params).await,
            None => rig.connection.call_tool(params).await,
        };
        let Err(ServiceError::McpError(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.code.0, &*error.message), (-32602, "no such tool: no such"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_leaves_nobody_waiting() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| std::future::pending().await);
        let (rig, serving) = over_duplex(seam, Era::Legacy, probe, &ClientLayer::new("up", &Stack::new())).await;
        let (lost, ()) = tokio::join!(soon(rig.call()), async {
            rig.until_sent("tools/call", 1).await;
            serving.abort();
        });
        match (seam, lost) {
            (Seam::Peer, Ok(lost)) => assert!(texts(&lost)[0].starts_with("Outcome unknown: "), "{lost:?}"),
            // rmcp's loop ends with its transport, and tells its callers itself.
            (Seam::Transport, Err(ServiceError::TransportClosed)) => {}
            (_, lost) => panic!("{lost:?}"),
        }
        match (seam, soon(rig.call()).await) {
            (Seam::Peer, Ok(lost)) => {
                assert!(texts(&lost)[0].starts_with("Unavailable: the tool on \"up\" could not be reached."), "{lost:?}");
            }
            (Seam::Transport, Err(ServiceError::TransportClosed)) => {}
            (_, lost) => panic!("{lost:?}"),
        }
    }
}

/// What this process traces is told in its own words; where nobody traces, what the caller said travels as it is.
#[tokio::test]
async fn what_a_caller_says_of_its_trace_goes_no_further_than_a_layer_lets_it() {
    let bomb = "a=1,".repeat(1 << 18);
    let said = json!({ "traceparent": PARENT, "tracestate": bomb, "baggage": bomb });
    let mut meta = RequestMetaObject::new();
    meta.0.0 = said.as_object().cloned().unwrap();
    let mut params = CallToolRequestParams::new(TOOL);
    params.meta = Some(meta);
    let stacks = [
        (Stack::new(), said),
        (Stack::new().trace(TraceLayer::new()), json!({})),
        (Stack::new().trace(TraceLayer::new().incoming(Incoming::Trust)), json!({ "traceparent": PARENT })),
    ];
    for (seam, (stack, told)) in SEAMS.into_iter().flat_map(|seam| stacks.clone().map(|stack| (seam, stack))) {
        let (rig, _serving) = over_duplex(seam, Era::Legacy, Probe::new(async |_, _| good()), &safe(&stack)).await;
        match &rig.client {
            Some(client) => client.call_tool(params.clone()).await.unwrap(),
            None => rig.connection.call_tool(params.clone()).await.unwrap(),
        };
        let [sent] = &rig.sent("tools/call").await[..] else { panic!("one attempt") };
        let mut meta = sent["params"]["_meta"].as_object().cloned().unwrap();
        meta.retain(|key, _| ["traceparent", "tracestate", "baggage"].contains(&&**key));
        assert_eq!(json!(meta), told, "{seam:?}");
    }
}

/// Two connections, one stack: what one has used up, the other has not.
#[tokio::test]
async fn connections_of_one_layer_share_its_limits() {
    let (probe, layer) = (Probe::new(async |_, _| good()), safe(&one_an_hour()));
    let (first, _serving) = over_duplex(Seam::Peer, Era::Legacy, probe.clone(), &layer).await;
    let (second, _serving) = over_duplex(Seam::Transport, Era::Modern, probe.clone(), &layer).await;
    first.call().await.unwrap();
    assert!(texts(&second.call().await.unwrap())[0].starts_with("Rate limited: "));
    // Another tenant has a quota of its own.
    let other = first.client.as_ref().unwrap().on_behalf_of(Caller::of_tenant("other"));
    assert_eq!(texts(&other.call_tool(CallToolRequestParams::new(TOOL)).await.unwrap()), ["done"]);
    assert_eq!(probe.calls(), 2);
}

/// Lists that name no `cacheScope` are each caller's own; a tool is one all the same.
#[tokio::test]
async fn callers_who_each_have_a_list_of_their_own_share_a_tools_limits() {
    let two_an_hour = Quota::per_hour(NonZeroU32::new(2).unwrap());
    let layer = ClientLayer::new("up", &Stack::new().quota(QuotaLayer::new().per_target(two_an_hour)));
    let (rig, _serving) = over_duplex(Seam::Peer, Era::Modern, Probe::new(async |_, _| good()), &layer).await;
    let call = async |token: &[u8]| {
        let client = rig.client.as_ref().unwrap().on_behalf_of(Caller::default().access_token(token));
        client.list_all_tools().await.unwrap();
        let answer = client.call_tool(CallToolRequestParams::new(TOOL)).await.unwrap();
        texts(&answer)[0].to_owned()
    };
    assert_eq!([call(b"one").await, call(b"other").await], ["done", "done"]);
    let third = rig.client.as_ref().unwrap().on_behalf_of(Caller::default().access_token(b"one"));
    let refused = third.call_tool(CallToolRequestParams::new(TOOL)).await.unwrap();
    assert!(texts(&refused)[0].starts_with("Rate limited: \"probe\""), "{:?}", texts(&refused));
}

/// A stack that waits for readiness of its own would hang here.
#[tokio::test(start_paused = true)]
async fn the_default_stack_is_one_line() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let _serving = crate::rig::serve(Probe::new(async |_, _| good()), far);
    let connection = rmcp::ServiceExt::serve((), near).await.unwrap();
    let client = Client::new("up", connection.peer().clone());
    let answer = tokio::time::timeout(Duration::from_secs(1), client.call_tool(CallToolRequestParams::new(TOOL))).await;
    assert_eq!(texts(&answer.unwrap().unwrap()), ["done"]);
}

/// A server that has news, some day.
struct News;

impl ServerHandler for News {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(context);
        Ok(())
    }
}

/// A subscription is no call: no clock ends it, and rmcp's own id stays on the wire.
#[tokio::test(start_paused = true)]
async fn a_subscription_passes_by() {
    let (rig, _serving) = over_duplex(Seam::Transport, Era::Modern, News, &safe(&hasty())).await;
    let mut filter = SubscriptionFilter::new();
    filter.tools_list_changed = Some(true);
    let began = tokio::time::Instant::now();
    let mut subscription = rig.connection.listen(filter).await.unwrap();
    assert!(subscription.next().await.unwrap().is_none(), "no news, and then the end");
    assert_eq!(began.elapsed(), Duration::from_secs(3600));
    let [sent] = &rig.sent("subscriptions/listen").await[..] else { panic!("one subscription") };
    assert!(sent["id"].is_number() && sent["params"]["_meta"][ATTEMPT_KEY].is_null(), "{sent:#?}");
}
