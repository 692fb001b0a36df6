//! One rich server, bare and wrapped: the same client must live through the same conversation.

use std::collections::BTreeSet;

use buttress::{
    Stack,
    rmcp::{ServerLayer, wrap},
};
use serde_json::{Value, json};
use tower::Layer;

use crate::{
    forwarding::{declared, rmcp_source},
    raw::{Poster, Reply, initialize, modern},
    rich::Rich,
    road::{Client, Era, Road, Site, over_duplex},
    script::{Step, drive},
    tape::Tape,
};

/// Every request of the protocol, by its wire name, and whether 2025-11-25, 2026-07-28 or both have it (or its extensions).
const REQUESTS: [(&str, &[Era]); 21] = [
    ("initialize", &[Era::Legacy]),
    ("server/discover", &[Era::Modern]),
    ("ping", &[Era::Legacy]),
    ("tools/list", &[Era::Legacy, Era::Modern]),
    ("tools/call", &[Era::Legacy, Era::Modern]),
    ("prompts/list", &[Era::Legacy, Era::Modern]),
    ("prompts/get", &[Era::Legacy, Era::Modern]),
    ("resources/list", &[Era::Legacy, Era::Modern]),
    ("resources/templates/list", &[Era::Legacy, Era::Modern]),
    ("resources/read", &[Era::Legacy, Era::Modern]),
    ("resources/directory/read", &[Era::Legacy, Era::Modern]),
    ("resources/subscribe", &[Era::Legacy]),
    ("resources/unsubscribe", &[Era::Legacy]),
    ("subscriptions/listen", &[Era::Modern]),
    ("completion/complete", &[Era::Legacy, Era::Modern]),
    ("logging/setLevel", &[Era::Legacy]),
    ("tasks/get", &[Era::Legacy, Era::Modern]),
    ("tasks/update", &[Era::Legacy, Era::Modern]),
    ("tasks/cancel", &[Era::Legacy, Era::Modern]),
    ("skills/list", &[Era::Legacy, Era::Modern]),
    ("skills/get", &[Era::Legacy, Era::Modern]),
];

/// The methods of `ServerHandler` that no message calls: rmcp asks them on its own account, and what they say shows in
/// answers (capabilities, versions, acknowledged filters, header checks).
const ASKED_BY_RMCP: [&str; 5] =
    ["accepted_subscription_filter", "get_info", "get_tool", "negotiate_initialize", "supported_protocol_versions"];

/// The rich server on loopback, bare or wrapped.
async fn open(rich: &Rich, wrapped: bool) -> Site {
    let rich = rich.clone();
    if wrapped {
        let layer = ServerLayer::new("rich", &Stack::new());
        Site::open(move || layer.layer(rich.clone())).await
    } else {
        Site::open(move || rich.clone()).await
    }
}

/// What both servers answer to the same bytes.
async fn both(message: &Value, poster: fn(&Site) -> Poster) -> [Reply; 2] {
    let rich = Rich::new(Tape::default());
    let (bare, wrapped) = (open(&rich, false).await, open(&rich, true).await);
    [poster(&bare).post(message).await, poster(&wrapped).post(message).await]
}

async fn converse(era: Era, road: Road, wrapped: bool) -> Vec<Step> {
    let tape = Tape::default();
    let rich = Rich::new(tape.clone());
    let site = match road {
        Road::Duplex => None,
        Road::Http => Some(open(&rich, wrapped).await),
    };
    let client: Client = match (&site, wrapped) {
        (Some(site), _) => site.connect(era, &tape).await,
        (None, true) => over_duplex(era, wrap("rich", rich), &tape).await,
        (None, false) => over_duplex(era, rich, &tape).await,
    };
    drive(&client, era, road, &tape).await
}

/// The methods in one part of a conversation.
fn methods<'a>(steps: &'a [Step], part: impl Fn(&'a Step) -> &'a [Value]) -> BTreeSet<&'a str> {
    steps.iter().flat_map(part).filter_map(|what| what["method"].as_str()).collect()
}

/// Nothing was skipped: each request that the era has was sent and answered with a result at least once.
fn assert_complete(steps: &[Step], era: Era) {
    let answered = |method: &str| {
        steps.iter().any(|step| {
            let sent = step.sent.iter().filter(|message| message["method"] == method);
            sent.into_iter()
                .any(|sent| step.received.iter().any(|answer| answer["id"] == sent["id"] && answer["result"].is_object()))
        })
    };
    for (method, eras) in REQUESTS {
        assert!(methods(steps, |step| &step.sent).contains(method) || !eras.contains(&era), "{method} was never sent");
        assert!(answered(method) || !eras.contains(&era), "{method} was never answered with a result");
    }
}

async fn compare(era: Era, road: Road) {
    let bare = converse(era, road, false).await;
    let wrapped = converse(era, road, true).await;
    for (bare, wrapped) in bare.iter().zip(&wrapped) {
        assert_eq!(bare, wrapped, "{era:?} over {road:?}: bare (left) and wrapped (right) differ at {}", bare.name);
    }
    assert_eq!(bare.len(), wrapped.len());
    assert_complete(&bare, era);
}

#[tokio::test]
async fn legacy_over_a_pipe() {
    compare(Era::Legacy, Road::Duplex).await;
}

#[tokio::test]
async fn legacy_over_http() {
    compare(Era::Legacy, Road::Http).await;
}

#[tokio::test]
async fn modern_over_a_pipe() {
    compare(Era::Modern, Road::Duplex).await;
}

#[tokio::test]
async fn modern_over_http() {
    compare(Era::Modern, Road::Http).await;
}

/// The script keeps up with rmcp: between them, the eras call every method that `ServerHandler` has.
#[tokio::test]
async fn the_script_calls_every_method() {
    let mut called: BTreeSet<String> = ASKED_BY_RMCP.into_iter().map(str::to_owned).collect();
    for era in [Era::Legacy, Era::Modern] {
        let steps = converse(era, Road::Duplex, true).await;
        called.extend(methods(&steps, |step| &step.handled).into_iter().map(str::to_owned));
    }
    let (version, source) = rmcp_source();
    let uncalled: Vec<_> = declared(&source).into_iter().filter(|method| !called.contains(method)).collect();
    assert!(uncalled.is_empty(), "rmcp {version} has methods that tests/rmcp/script.rs does not call: {uncalled:?}");
}

/// Server-to-client traffic is part of the conversation too.
#[tokio::test]
async fn the_client_hears_every_kind_of_message() {
    let steps = converse(Era::Legacy, Road::Http, true).await;
    let heard = methods(&steps, |step| &step.received);
    for method in ["sampling/createMessage", "elicitation/create", "roots/list", "ping", "client/own", "notifications/progress"] {
        assert!(heard.contains(method), "{method} is not among {heard:?}");
    }
}

/// Before a modern call reaches any handler, rmcp holds its headers against the tool's schema, which it gets from `get_tool`.
#[tokio::test]
async fn headers_are_checked_against_the_handlers_own_schema() {
    // The schema wants `city` in a header of its own, and this client has not sent one.
    let call = modern(1, "tools/call", json!({ "name": "echo", "arguments": { "city": "Oslo" } }));
    let [bare, wrapped] = both(&call, Poster::modern).await;
    assert_eq!(wrapped.seen(), bare.seen());
    assert_eq!((bare.status, &bare.message()["error"]["code"]), (400, &json!(-32020)), "{bare:?}");
}

/// The handler speaks two revisions. A client that asks for an older one is offered what the handler has, not what rmcp has.
#[tokio::test]
async fn an_older_client_is_offered_the_handlers_own_revisions() {
    let [bare, wrapped] = both(&initialize("2025-06-18"), Poster::sessionless).await;
    assert_eq!(wrapped.seen(), bare.seen());
    assert_eq!(bare.message()["result"]["protocolVersion"], "2025-11-25", "{bare:?}");
}
