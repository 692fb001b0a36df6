//! A connection that has all the calls it can carry.

use buttress::{
    Stack, breaker::BreakerLayer, call::OUTCOME_KEY, concurrency::ConcurrencyLayer, metrics::REJECTIONS,
    rmcp::client::ClientLayer,
};
use rmcp::model::CallToolRequestParams;
use tokio::task::JoinSet;

use crate::{
    probe::{Probe, TOOL, good, texts},
    rig::{Seam, over_duplex},
    road::Era,
    series::Series,
    tape::soon,
};

#[tokio::test]
async fn one_call_too_many_is_refused_as_by_any_layer() {
    let series = Series::new();
    let _recording = series.record();
    let probe = Probe::new(async |_, _| {
        std::future::pending::<()>().await;
        good()
    });
    let stack = Stack::new().concurrency(ConcurrencyLayer::off()).breaker(BreakerLayer::off());
    let (rig, _serving) = over_duplex(Seam::Transport, Era::Modern, probe, &ClientLayer::new("up", &stack)).await;
    let mut calls = JoinSet::new();
    for _ in 0..1024 {
        let peer = rig.connection.peer().clone();
        calls.spawn(async move { peer.call_tool(CallToolRequestParams::new(TOOL)).await });
    }
    rig.until_sent("tools/call", 1024).await;
    let refused = soon(rig.call()).await.unwrap();
    assert_eq!(refused.is_error, Some(true));
    assert!(texts(&refused)[0].starts_with("Busy: "), "{refused:?}");
    let facts = &refused.meta.as_ref().unwrap().0[OUTCOME_KEY];
    assert_eq!((&facts["layer"], &facts["reason"]), (&"connection".into(), &"queue_full".into()));
    assert!(series.sum(REJECTIONS, &[("layer", "connection"), ("reason", "queue_full")]) == 1.0);
    // Nobody else was.
    assert_eq!(calls.len(), 1024);
    assert!(calls.try_join_next().is_none());
}
