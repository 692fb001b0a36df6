//! What changes while services of the layer run.

use super::*;

/// What the server says is kept with each answer, and what the operator says is asked when it is looked up.
#[tokio::test(start_paused = true)]
async fn terms_that_change_hold_for_what_is_kept_already() {
    let (upstream, target, layer) = (Upstream::new(public("one", 60)), list(), layer());
    let service = upstream.behind(&layer);
    let terms = layer.terms();
    assert_eq!(text(&service, &target).await, ("one", Served::Attempt));
    advance(20 * SECOND).await;
    layer.set_terms(Terms { longest: 10 * SECOND, stale_while_revalidate: 30 * SECOND, ..terms });
    upstream.fails(|| Transport::not_sent("down").into());
    assert_eq!(text(&service, &target).await, ("one", kept(20, true)));
    layer.set_terms(Terms { longest: 10 * SECOND, stale_if_error: 10 * SECOND, ..terms });
    assert!(ask(&service, &target, None, ASKS).await.is_err(), "too old for that by now");
    layer.set_terms(Terms { longest: 10 * SECOND, stale_if_error: 60 * SECOND, ..terms });
    let for_an_error = ask(&service, &target, None, ASKS).await.unwrap();
    assert_eq!(for_an_error.result.unwrap().freshness.ttl, Duration::ZERO);
    layer.set_terms(Terms { longest: 50 * SECOND, ..terms });
    let fresh = ask(&service, &target, None, ASKS).await.unwrap();
    // Each of the two failures took a second.
    assert_eq!((fresh.served, fresh.result.unwrap().freshness.ttl), (kept(22, false), 28 * SECOND));
    layer.set_terms(Terms { longest: Duration::ZERO, ..terms });
    upstream.answers(public("two", 60));
    assert_eq!(text(&service, &target).await, ("two", Served::Attempt));
}

#[tokio::test(start_paused = true)]
async fn how_many_are_fetched_in_the_background_is_changed_too() {
    let (upstream, target, layer) = (Upstream::new(public("one", 10)), list(), layer());
    let layer = layer.stale_while_revalidate(60 * SECOND).refreshes(0);
    let service = upstream.behind(&layer);
    text(&service, &target).await;
    advance(11 * SECOND).await;
    assert_eq!(text(&service, &target).await.1, kept(11, true));
    sleep(2 * SECOND).await;
    assert_eq!(upstream.calls(), 1);
    layer.set_terms(Terms { refreshes: 1, ..layer.terms() });
    assert_eq!(text(&service, &target).await.1, kept(13, true));
    sleep(2 * SECOND).await;
    assert_eq!(upstream.calls(), 2);
}

/// The operator's word on how long a tool's answers are good for.
#[tokio::test(start_paused = true)]
async fn a_word_that_changes_holds_for_what_is_kept_already() {
    let word = |seconds| TargetPolicy::default().read_only(true).cache_for(seconds * SECOND);
    let catalogue = Catalogue::new("up").tool("t", word(60));
    let (upstream, layer) = (Upstream::new(private("one", 0)), layer());
    let (service, target) = (upstream.behind(&layer), catalogue.resolve(&Method::ToolsCall, Some("t"), None));
    assert_eq!(text(&service, &target).await.1, Served::Attempt);
    advance(20 * SECOND).await;
    assert_eq!(text(&service, &target).await.1, kept(20, false));
    for seconds in [10, 0] {
        catalogue.set_tool("t", word(seconds)).unwrap();
        upstream.fails(|| Transport::unknown("reset").into());
        assert_eq!(ask(&service, &target, None, ASKS).await.is_ok(), seconds > 0, "kept for bad times alone, or not looked at");
    }
    catalogue.set_tool("t", word(30)).unwrap();
    assert_eq!(text(&service, &target).await.1, kept(22, false));
    catalogue.set_tool("t", TargetPolicy::default().cache_for(60 * SECOND)).unwrap();
    upstream.answers(private("two", 0));
    assert_eq!(text(&service, &target).await, ("two", Served::Attempt), "nobody says that it only reads");
}
