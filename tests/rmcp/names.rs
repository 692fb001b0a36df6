//! Who calls, and what: the names that limits and metrics go by.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

#[cfg(feature = "audit")]
use buttress::audit::AuditLayer;
#[cfg(feature = "rmcp-client")]
use buttress::rmcp::client::ClientLayer;
use buttress::{
    Stack,
    call::{Arrival, Caller, TargetPolicy},
    catalogue::Catalogue,
    metrics::SERVER_DURATION,
    quota::QuotaLayer,
    rmcp::ServerLayer,
};
use governor::Quota;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tower::Layer;

use crate::{
    probe::{Probe, TOOL, good, one_an_hour},
    raw::{Poster, modern},
    road::{Era, Road, Site, over_duplex},
    series::Series,
    tape::Tape,
};

/// Lost before the first scrape, they would never have grown.
#[test]
fn what_may_befall_a_declared_tool_is_told_before_anybody_calls() {
    let catalogue = || Arc::new(Catalogue::new("up").tool("declared", TargetPolicy::default()));
    let layers: &[fn(_, &Stack)] = &[
        |catalogue, stack| drop(ServerLayer::<Probe>::with_catalogue(catalogue, stack).unwrap()),
        #[cfg(feature = "rmcp-client")]
        |catalogue, stack| drop(ClientLayer::with_catalogue(catalogue, stack).unwrap()),
    ];
    for layer in layers {
        let series = Series::new();
        let _recording = series.record();
        layer(catalogue(), &Stack::new());
        assert_eq!((series.values("gen_ai_tool_name"), series.values("upstream")), (vec!["declared".into()], vec!["up".into()]));
        assert_eq!(series.values("reason"), ["breaker_open", "deadline", "queue_full", "quota", "shed", "upstream_open"]);
        assert_eq!(series.values("kind"), ["attempt", "hard", "idle", "patience", "soft"]);
        assert_eq!(series.values("label").len(), 5);
        #[cfg(feature = "audit")]
        {
            let series = Series::new();
            let _recording = series.record();
            let trail = AuditLayer::new(std::io::sink()).unwrap();
            layer(Arc::new(Catalogue::new("up")), &Stack::new().audit(trail));
            assert_eq!(series.values("reason"), ["queue_full", "write_failed", "writer_gone"]);
        }
    }
}

fn quick() -> Probe {
    Probe::new(async |_, _| good())
}

async fn clients_name(era: Era, road: Road) -> BTreeSet<Option<String>> {
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let layer = ServerLayer::new("probe", &Stack::new()).identify({
        let names = names.clone();
        move |arrival: &Arrival<'_>| {
            names.lock().unwrap().insert(arrival.client.map(str::to_owned));
            Caller::default()
        }
    });
    let server = layer.layer(quick());
    let tape = Tape::default();
    let site = match road {
        Road::Duplex => None,
        Road::Http => Some(
            Site::open({
                let server = server.clone();
                move || server.clone()
            })
            .await,
        ),
    };
    let client = match &site {
        None => over_duplex(era, server, &tape).await,
        Some(site) => site.connect(era, &tape).await,
    };
    names.lock().unwrap().clear();
    client.call_tool(CallToolRequestParams::new(TOOL)).await.unwrap();
    names.lock().unwrap().clone()
}

/// The modern era has no handshake that would name the client: each request does.
#[tokio::test]
async fn the_clients_own_name_is_seen_in_both_eras() {
    for (era, road) in [Era::Legacy, Era::Modern].into_iter().flat_map(|era| [(era, Road::Duplex), (era, Road::Http)]) {
        assert_eq!(clients_name(era, road).await, [Some("caller".to_owned())].into(), "{era:?} over {road:?}");
    }
}

/// rmcp marks every list private for modern clients unless the handler says otherwise. The tool is still the same one.
#[tokio::test]
async fn a_limit_of_a_tool_is_not_multiplied_by_access_tokens() {
    let stack = Stack::new().quota(QuotaLayer::new().per_target(Quota::per_hour(NonZeroU32::MIN)));
    let probe = quick();
    let layer = ServerLayer::new("probe", &stack);
    let site = Site::open({
        let probe = probe.clone();
        move || layer.layer(probe.clone())
    })
    .await;
    for token in ["alpha", "beta", "gamma"] {
        let poster = Poster::modern(&site).with_token(token);
        poster.post(&modern(1, "tools/list", json!({}))).await;
        poster.post(&modern(2, "tools/call", json!({ "name": TOOL }))).await;
    }
    assert_eq!(probe.calls(), 1, "one call an hour, whoever calls");
}

/// rmcp hands on a request with malformed parameters as a custom one, under its own method's name.
#[tokio::test]
async fn a_malformed_call_is_refused_in_words_too() {
    let layer = ServerLayer::new("probe", &one_an_hour());
    let site = Site::open(move || layer.layer(quick())).await;
    let poster = Poster::modern(&site);
    let malformed = |id: u32| modern(id, "tools/call", json!({ "name": TOOL, "arguments": [] }));
    assert_eq!(poster.post(&malformed(1)).await.message()["error"]["code"], -32601);
    let refused = poster.post(&malformed(2)).await.body;
    assert!(refused.contains("Rate limited: "), "{refused}");
}

#[tokio::test]
async fn each_tool_has_its_own_series_and_invented_names_share_one() {
    let series = Series::new();
    let _recording = series.record();
    let client = over_duplex(Era::Legacy, ServerLayer::new("probe", &Stack::new()).layer(quick()), &Tape::default()).await;
    for name in [TOOL, "made up", "made up too"] {
        let _ = client.call_tool(CallToolRequestParams::new(name)).await;
    }
    assert_eq!(series.values("gen_ai_tool_name"), ["_OTHER", TOOL]);
    let calls = |name| series.sum(SERVER_DURATION, &[("mcp_method_name", "tools/call"), ("gen_ai_tool_name", name)]);
    assert!((calls(TOOL), calls("_OTHER")) == (1.0, 2.0));
}
