use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};

use super::{Breaker, BreakerHandle, BreakerLayer, Force, Policy, Settings, State};
use crate::{
    Mode,
    call::{Method, Notify, Peer, Progress, Request, Response, Target, TargetPolicy, Verdict},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected, Transport},
    testing::{Outcome, Script, Step, safe_tool, tool},
};

fn failing() -> Step {
    Step::Answer(Err(Transport::unknown("reset").into()))
}

fn answered(verdict: Verdict) -> Step {
    let mut response = Response::new("as judged");
    response.verdict = Some(verdict);
    Step::Answer(Ok(response))
}

fn breaker(script: &Script) -> Breaker<Script> {
    BreakerLayer::new(Policy::default()).seeded(1).layer(script.clone())
}

async fn call(service: &mut Breaker<Script>, target: &Arc<Target>) -> Outcome {
    service.ready().await?.call(Request::new(target.clone(), ())).await
}

fn refusal(outcome: Outcome) -> Option<Rejected> {
    outcome.err()?.downcast_ref().copied()
}

#[tokio::test(start_paused = true)]
async fn six_failures_open_it_and_the_refusal_says_for_how_long() {
    let script = Script::new((0..6).map(|_| failing()));
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..6 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    let refused = refusal(call(&mut service, &target).await).unwrap();
    assert_eq!((refused.layer(), refused.reason(), script.calls()), ("breaker", Reason::BreakerOpen, 6));
    advance(refused.delay().unwrap()).await;
    assert!(call(&mut service, &target).await.is_ok(), "the probe");
    assert!(call(&mut service, &target).await.is_ok(), "the ramp lets the next one in");
}

/// Invariant 3: what this stack refuses, and what a caller leaves, is no failure of the upstream's. And what is the
/// caller's own fault, or the tool's answer, is none either.
#[tokio::test(start_paused = true)]
async fn only_failures_of_the_upstream_count() {
    let rejected = || Step::Answer(Err(BoxError::from(Rejected::new("concurrency", Reason::QueueFull))));
    let verdicts = [
        Verdict::ToolError,
        Verdict::ClientFault,
        Verdict::Denied,
        Verdict::SessionLost,
        Verdict::InputRequired,
        Verdict::Task,
        Verdict::Hurried,
        Verdict::Cancelled,
    ];
    let steps = verdicts.into_iter().cycle().take(70).map(answered).chain((0..70).map(|_| rejected()));
    let script = Script::new(steps);
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..140 {
        assert_ne!(refusal(call(&mut service, &target).await).map(|refused| refused.layer()), Some("breaker"));
    }
    assert_eq!(script.calls(), 140);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_makes_room_for_the_next() {
    let script = Script::new((0..6).map(|_| failing()).chain([Step::Hang]));
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..6 {
        let _ = call(&mut service, &target).await;
    }
    advance(Duration::from_secs(5)).await;
    let probe = service.call(Request::new(target.clone(), ()));
    assert_eq!(refusal(call(&mut service, &target).await).map(|refused| refused.reason()), Some(Reason::BreakerOpen));
    drop(probe);
    assert!(call(&mut service, &target).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_sick_tool_does_not_shut_out_another() {
    let script = Script::new((0..6).map(|_| failing()));
    let (mut service, sick, well) = (breaker(&script), tool("sick"), tool("well"));
    for _ in 0..6 {
        let _ = call(&mut service, &sick).await;
    }
    assert!(refusal(call(&mut service, &sick).await).is_some());
    assert!(call(&mut service, &well).await.is_ok());
}

/// Tools of one upstream, of which the first is safe to call again.
fn tools<const N: usize>(names: [&str; N]) -> [Arc<Target>; N] {
    let policy = |safe| TargetPolicy { idempotent: Some(safe), ..TargetPolicy::default() };
    let first = names[0];
    let catalogue = names.iter().fold(Catalogue::new("up"), |catalogue, name| catalogue.tool(*name, policy(*name == first)));
    names.map(|name| catalogue.resolve(&Method::ToolsCall, Some(name), None))
}

fn lost() -> Step {
    Step::Answer(Err(Transport::not_sent("connection refused").into()))
}

/// A layer's service, its handle, and the script that both work on.
fn steered(layer: &BreakerLayer, steps: impl IntoIterator<Item = Step>) -> (Breaker<Script>, BreakerHandle, Script) {
    let script = Script::new(steps);
    (layer.layer(script.clone()), layer.handle(), script)
}

fn seeded() -> BreakerLayer {
    BreakerLayer::default().seeded(1)
}

#[tokio::test(start_paused = true)]
async fn two_sick_tools_of_two_shut_the_upstream_and_a_read_opens_it_again() {
    let (mut service, handle, script) = steered(&seeded(), (0..12).map(|_| failing()));
    let [read, write, third] = tools(["read", "write", "third"]);
    for tool in [&read, &write] {
        for _ in 0..6 {
            assert_eq!(refusal(call(&mut service, tool).await), None);
        }
    }
    assert_eq!(handle.upstream(&third).unwrap().state, State::Open);
    let refused = refusal(call(&mut service, &third).await).unwrap();
    assert_eq!((refused.reason(), refused.layer(), script.calls()), (Reason::UpstreamOpen, "breaker", 12));
    let ping = Catalogue::new("up").resolve(&Method::Ping, None, None);
    assert!(call(&mut service, &ping).await.is_ok());

    // What is safe to call again is the better probe.
    let left = handle.upstream(&third).unwrap().until_probe.unwrap();
    advance(left).await;
    assert_eq!(refusal(call(&mut service, &third).await).map(|refused| refused.reason()), Some(Reason::UpstreamOpen));
    assert!(call(&mut service, &read).await.is_ok());
    assert_eq!(handle.upstream(&third).unwrap().state, State::Closed);
    advance(Duration::from_secs(10)).await;
    assert!(call(&mut service, &third).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_hammered_tool_does_not_shut_out_the_others() {
    let (mut service, handle, _) = steered(&seeded(), (0..1000).map(|n| if n % 2 == 0 { failing() } else { lost() }));
    let [well, sick] = tools(["well", "sick"]);
    for _ in 0..1000 {
        let _ = call(&mut service, &sick).await;
        advance(Duration::from_secs(1)).await;
    }
    let status = handle.upstream(&well).unwrap();
    assert_eq!((status.state, handle.target(&sick).unwrap().state), (State::Closed, State::Open));
}

#[tokio::test(start_paused = true)]
async fn six_lost_calls_over_two_tools_shut_the_upstream() {
    let (mut service, handle, _) = steered(&seeded(), (0..6).map(|_| lost()));
    let [one, other] = tools(["one", "other"]);
    for _ in 0..5 {
        let _ = call(&mut service, &one).await;
    }
    assert_eq!(handle.upstream(&one).map(|status| (status.state, status.failures)), Some((State::Closed, 5)));
    let _ = call(&mut service, &other).await;
    assert_eq!(handle.upstream(&one).map(|status| status.state), Some(State::Open));
    assert_eq!(handle.target(&one).map(|status| (status.state, status.failures)), Some((State::Closed, 5)));
}

/// Twelve connects hang together, on two tools, while both tools answer; what they end in is old news.
#[tokio::test(start_paused = true)]
async fn connects_that_hung_long_ago_do_not_shut_the_upstream() {
    let second = Duration::from_secs(1);
    let hang = || Step::After(20 * second, Err(Transport::not_sent("no route").into()));
    let (mut service, handle, _) = steered(&seeded(), (0..12).map(|_| hang()));
    let [one, other] = tools(["one", "other"]);
    let mut hangs: Vec<_> =
        (0..12).map(|n| service.call(Request::new(if n % 2 == 0 { one.clone() } else { other.clone() }, ()))).collect();
    for hang in &mut hangs {
        let _ = Pin::new(hang).poll(&mut Context::from_waker(Waker::noop()));
    }
    for tool in [&one, &other] {
        assert!(call(&mut service, tool).await.is_ok());
    }
    for hang in hangs {
        assert!(hang.await.is_err());
    }
    for status in handle.iter() {
        assert_eq!((status.state, status.failures), (State::Closed, 0), "{status:?}");
    }
}

/// Its own breaker refuses the call that would have been the upstream's probe: the next call can be it.
#[tokio::test(start_paused = true)]
async fn a_probe_of_the_upstream_that_its_tool_refuses_is_free_again() {
    let (mut service, handle, _) = steered(&seeded(), (0..12).map(|_| failing()));
    let [read, write] = tools(["read", "write"]);
    for tool in [&read, &write].into_iter().cycle().take(12) {
        let _ = call(&mut service, tool).await;
    }
    assert_eq!(handle.upstream(&read).map(|status| status.state), Some(State::Open));
    handle.force(&read, Force::Open);
    advance(Duration::from_secs(7)).await;
    assert_eq!(refusal(call(&mut service, &read).await).map(|refused| refused.reason()), Some(Reason::BreakerOpen));
    assert_eq!(handle.upstream(&read).map(|status| status.state), Some(State::HalfOpen));
    assert!(call(&mut service, &write).await.is_ok());
    assert_eq!(handle.upstream(&read).map(|status| status.state), Some(State::Closed));
}

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

/// Progress is an answer: the probe need not be waited for any longer, and how it ends does not matter any more.
#[tokio::test(start_paused = true)]
async fn a_probe_that_commits_has_passed() {
    const SECOND: Duration = Duration::from_secs(1);
    let layer = seeded();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(async |call: Request<()>| {
        if let Some(peer) = &call.head.peer {
            tokio::time::sleep(SECOND).await;
            peer.progress(Progress { progress: 1.0, total: None, message: None }).await?;
            tokio::time::sleep(60 * SECOND).await;
        }
        Err::<Response<()>, _>(BoxError::from(Transport::unknown("reset")))
    }));
    let target = tool("t");
    let state = || handle.target(&target).map(|status| status.state);
    for _ in 0..6 {
        let _ = service.ready().await.unwrap().call(Request::new(target.clone(), ())).await;
    }
    advance(5 * SECOND).await;
    let mut request = Request::new(target.clone(), ());
    request.head.peer = Some(Peer::new(Deaf));
    let probe = tokio::spawn(service.call(request));
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(state(), Some(State::HalfOpen));
    tokio::time::sleep(SECOND).await;
    assert_eq!(state(), Some(State::Closed));
    assert!(probe.await.unwrap().is_err());
    assert_eq!(handle.target(&target).map(|status| (status.state, status.failures)), Some((State::Closed, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_handler_panics_makes_room_for_the_next() {
    let script = Script::new((0..6).map(|_| failing()));
    let mut service = seeded().layer(tower::service_fn(move |call: Request<bool>| {
        assert!(!call.params, "as told");
        script.clone().oneshot(call.map(|_| ()))
    }));
    let target = tool("t");
    let mut call = async |panics| service.ready().await?.call(Request::new(target.clone(), panics)).await;
    for _ in 0..6 {
        assert_eq!(refusal(call(false).await), None);
    }
    advance(Duration::from_secs(5)).await;
    let panicked = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(call(true))).await;
    assert!(panicked.is_err());
    assert!(call(false).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_forced_breaker_does_as_it_is_told() {
    let (mut service, handle, script) = steered(&seeded(), (0..30).map(|_| failing()));
    let target = tool("t");
    // Before any call has come.
    handle.force(&target, Force::Open);
    let refused = refusal(call(&mut service, &target).await).unwrap();
    assert_eq!((refused.reason(), refused.delay(), script.calls()), (Reason::BreakerOpen, None, 0));
    handle.force(&target, Force::Closed);
    for _ in 0..20 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    assert_eq!(handle.target(&target).map(|status| (status.state, status.forced)), Some((State::Closed, true)));
    handle.force(&target, Force::Auto);
    for _ in 0..6 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    assert_eq!(handle.target(&target).map(|status| (status.state, status.forced)), Some((State::Open, false)));

    let forced = || handle.upstream(&target).map(|status| status.forced);
    assert_eq!(forced(), Some(false));
    handle.force_upstream(&target, Force::Open);
    assert_eq!(forced(), Some(true));
    handle.force(&target, Force::Closed);
    assert_eq!(refusal(call(&mut service, &target).await).map(|refused| refused.reason()), Some(Reason::UpstreamOpen));
    handle.force_upstream(&target, Force::Auto);
    assert_eq!(refusal(call(&mut service, &target).await), None);
}

/// What an operator has shut is no sign of trouble.
#[tokio::test(start_paused = true)]
async fn forced_breakers_do_not_count_toward_the_upstreams() {
    let (mut service, handle, _) = steered(&seeded(), (0..6).map(|_| failing()));
    let [one, other, third] = tools(["one", "other", "third"]);
    for tool in [&one, &other] {
        let _ = call(&mut service, tool).await;
        handle.force(tool, Force::Open);
    }
    for _ in 0..6 {
        let _ = call(&mut service, &third).await;
    }
    assert_eq!(handle.upstream(&one).map(|status| status.state), Some(State::Closed));
}

#[tokio::test(start_paused = true)]
async fn another_policy_holds_for_breakers_that_are_there_and_for_new_ones() {
    let (mut service, handle, _) = steered(&seeded(), (0..100).map(|_| failing()));
    let [old, new] = tools(["old", "new"]);
    for _ in 0..3 {
        let _ = call(&mut service, &old).await;
    }
    let policy = Policy::try_new(Settings { consecutive_failures: 4, open_share: 0.0, ..Settings::default() }).unwrap();
    handle.set_policy(policy);
    assert_eq!(handle.policy(), policy);
    let _ = call(&mut service, &old).await;
    for _ in 0..4 {
        let _ = call(&mut service, &new).await;
    }
    for (tool, is) in [(&old, State::Open), (&new, State::Open)] {
        assert_eq!(handle.target(tool).map(|status| status.state), Some(is));
    }
    assert_eq!(handle.upstream(&old).map(|status| status.state), Some(State::Closed));

    // The hours that the server asked for are cut to what is the longest now.
    let cautious = Settings { cool_down_max: Duration::from_secs(3600), ..Settings::default() };
    handle.set_policy(Policy::try_new(cautious).unwrap());
    let hasty = Settings { cool_down_min: Duration::from_millis(1), cool_down_max: Duration::from_millis(2), ..cautious };
    handle.set_policy(Policy::try_new(hasty).unwrap());
    assert!(handle.target(&old).and_then(|status| status.until_probe).is_some_and(|left| left <= Duration::from_millis(2)));
}

#[tokio::test(start_paused = true)]
async fn observe_only_refuses_nothing_and_counts_what_it_would_have() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (mut service, handle, script) = steered(&seeded().mode(Mode::Observe), (0..40).map(|_| failing()));
    let target = tool("t");
    for _ in 0..40 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    assert_eq!((script.calls(), handle.target(&target).map(|status| status.state)), (40, Some(State::Open)));
    let observed = |reason: &str| {
        let seen = recorder.snapshotter().snapshot().into_vec();
        let is = |key: &metrics::Key| {
            key.name() == "buttress_observed_rejections_total" && key.labels().any(|label| label.value() == reason)
        };
        seen.into_iter().find(|(key, ..)| is(key.key())).map(|(.., value)| value)
    };
    assert_eq!(observed("breaker_open"), Some(metrics_util::debugging::DebugValue::Counter(34)));
    // The next call is its probe, as if nothing had passed meanwhile.
    advance(Duration::from_secs(5)).await;
    assert!(call(&mut service, &target).await.is_ok());
    assert_eq!(handle.target(&target).map(|status| status.state), Some(State::Closed));

    // What an operator does by hand is no limit.
    handle.force_upstream(&target, Force::Open);
    let refused = refusal(call(&mut service, &target).await).map(|rejected| rejected.reason());
    assert_eq!(refused, Some(Reason::UpstreamOpen));
    handle.force_upstream(&target, Force::Auto);
    handle.force(&target, Force::Open);
    let refused = refusal(call(&mut service, &target).await).map(|rejected| rejected.reason());
    assert_eq!(refused, Some(Reason::BreakerOpen));
    assert_eq!(observed("upstream_open"), None);
}

/// While all calls pass, nothing is to say that they do not.
#[tokio::test(start_paused = true)]
async fn what_only_observes_is_closed_in_all_series() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (mut service, handle, _) = steered(&seeded().mode(Mode::Observe), (0..12).map(|_| failing()));
    let [target, other] = tools(["t", "other"]);
    // What has come to be shown, and how many changes were counted, since it was last asked.
    let told = || {
        let (mut states, mut transitions) = (Vec::new(), 0);
        for (key, .., value) in recorder.snapshotter().snapshot().into_vec() {
            let label = |name: &str| key.key().labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
            match (key.key().name(), value) {
                ("buttress_circuit_breaker_state", metrics_util::debugging::DebugValue::Gauge(value)) if value == 1.0 => {
                    states.push((label("gen_ai_tool_name").unwrap_or_default(), label("state").unwrap_or_default()));
                }
                ("buttress_circuit_breaker_transitions_total", metrics_util::debugging::DebugValue::Counter(times)) => {
                    transitions += times;
                }
                _ => {}
            }
        }
        states.sort();
        (states, transitions)
    };
    let shows = |tool: &str, state: &str| vec![(tool.to_owned(), state.to_owned())];
    for _ in 0..6 {
        let _ = call(&mut service, &target).await;
    }
    assert_eq!(handle.target(&target).map(|status| status.state), Some(State::Open));
    assert_eq!(told(), ([shows("", "closed"), shows("t", "closed")].concat(), 0));
    handle.set_mode(Mode::Enforce);
    assert_eq!(told(), (shows("t", "open"), 1));
    handle.set_mode(Mode::Observe);
    assert_eq!(told(), (shows("t", "closed"), 1));
    // What is done by hand holds.
    for (force, state) in [(Force::Open, "open"), (Force::Auto, "closed")] {
        handle.force(&target, force);
        assert_eq!(told(), (shows("t", state), 1));
        handle.force_upstream(&target, force);
        assert_eq!(told(), (shows("", state), 1));
    }
    // One that is made meanwhile is no other.
    for _ in 0..6 {
        let _ = call(&mut service, &other).await;
    }
    assert_eq!(handle.target(&other).map(|status| status.state), Some(State::Open));
    assert_eq!(told(), (shows("other", "closed"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_handle_sees_all_breakers_and_keeps_none_alive() {
    let (mut service, handle, _) = steered(&seeded(), [failing()]);
    {
        let targets = tools(["one", "other"]);
        for tool in &targets {
            let _ = call(&mut service, tool).await;
        }
        let list = Catalogue::new("elsewhere").resolve(&Method::ToolsList, None, None);
        let _ = call(&mut service, &list).await;
        let mut seen: Vec<_> =
            handle.iter().map(|status| (status.upstream.to_string(), status.method, status.name, status.failures)).collect();
        seen.sort();
        let up = || "up".to_owned();
        let tool = |name: &str, failures| (up(), Some("tools/call"), Some(name.to_owned()), failures);
        let whole = |name: &str| (name.to_owned(), None, None, 0);
        let list = ("elsewhere".to_owned(), Some("tools/list"), None, 0);
        assert_eq!(seen, [whole("elsewhere"), list, whole("up"), tool("one", 1), tool("other", 0)]);
    }
    assert_eq!(handle.iter().count(), 0);
    // Nor is what is gone kept in mind: a layer outlives many catalogues.
    for _ in 0..1000 {
        let _ = call(&mut service, &safe_tool("t")).await;
    }
    assert_eq!(handle.iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_off_has_no_breakers() {
    let (mut service, handle, script) = steered(&BreakerLayer::off().seeded(1).mode(Mode::Observe), (0..40).map(|_| failing()));
    let target = tool("t");
    handle.force(&target, Force::Open);
    handle.force_upstream(&target, Force::Open);
    for _ in 0..40 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    assert_eq!((script.calls(), handle.iter().count()), (40, 0));
    assert_eq!((handle.target(&target), handle.upstream(&target)), (None, None));
}

/// How often each change of an upstream's own breaker was counted.
fn changes(recorder: &metrics_util::debugging::DebuggingRecorder) -> Vec<(String, String, u64)> {
    let mut seen: Vec<_> = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, .., value)| {
            let key = key.key();
            let label = |name: &str| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
            let of_upstream = key.name() == "buttress_circuit_breaker_transitions_total" && label("mcp_method_name").is_none();
            match value {
                metrics_util::debugging::DebugValue::Counter(times) if of_upstream && times > 0 => {
                    Some((label("from")?, label("to")?, times))
                }
                _ => None,
            }
        })
        .collect();
    seen.sort();
    seen
}

/// Opened, probed and closed, the upstream's breaker counts as before, and each change is told.
#[tokio::test(start_paused = true)]
async fn an_upstream_that_has_come_back_may_be_lost_again() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let done = || Step::Answer(Ok(Response::new("done")));
    let steps = (0..12).map(|_| failing()).chain([done(), done()]).chain((0..6).map(|_| lost()));
    let (mut service, handle, _) = steered(&seeded(), steps);
    let [read, write, third, fourth] = tools(["read", "write", "third", "fourth"]);
    for tool in [&read, &write].into_iter().cycle().take(12) {
        let _ = call(&mut service, tool).await;
    }
    let state = || handle.upstream(&third).map(|status| status.state);
    assert_eq!(state(), Some(State::Open));
    advance(Duration::from_secs(7)).await;
    assert!(call(&mut service, &read).await.is_ok());
    advance(Duration::from_secs(10)).await;
    assert!(call(&mut service, &third).await.is_ok());
    assert_eq!(state(), Some(State::Closed));
    for _ in 0..5 {
        let _ = call(&mut service, &third).await;
    }
    assert_eq!(state(), Some(State::Closed));
    let _ = call(&mut service, &fourth).await;
    assert_eq!(state(), Some(State::Open));
    let told = [("closed", "open", 2), ("half_open", "closed", 1), ("open", "half_open", 1)];
    assert_eq!(changes(&recorder), told.map(|(from, to, times)| (from.to_owned(), to.to_owned(), times)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_a_run_of_lost_calls() {
    let run = || (0..5).map(|_| lost());
    let (mut service, handle, _) = steered(&seeded(), run().chain([answered(Verdict::Ok)]).chain(run()));
    let [one, other] = tools(["one", "other"]);
    for tool in [&one, &other].into_iter().cycle().take(11) {
        let _ = call(&mut service, tool).await;
    }
    assert_eq!(handle.upstream(&one).map(|status| (status.state, status.failures)), Some((State::Closed, 5)));
}

/// The share is of the tools that are called, and not of those that are sick.
#[tokio::test(start_paused = true)]
async fn two_sick_tools_of_five_do_not_shut_the_upstream_and_three_do() {
    let well = (0..5).map(|_| answered(Verdict::Ok));
    let (mut service, handle, _) = steered(&seeded(), well.chain((0..18).map(|_| failing())));
    let all = tools(["a", "b", "c", "d", "e"]);
    for tool in &all {
        assert!(call(&mut service, tool).await.is_ok());
    }
    for (sick, state) in all.iter().zip([State::Closed, State::Closed, State::Open]) {
        for _ in 0..6 {
            let _ = call(&mut service, sick).await;
        }
        assert_eq!(handle.target(sick).map(|status| status.state), Some(State::Open));
        assert_eq!(handle.upstream(sick).map(|status| status.state), Some(state));
    }
}

/// The first progress of the upstream's probe decides it; of a call that is no probe, only its end counts.
#[tokio::test(start_paused = true)]
async fn progress_decides_a_probe_of_the_upstream_and_no_other_call() {
    const SECOND: Duration = Duration::from_secs(1);
    let layer = seeded();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(async |call: Request<()>| {
        if let Some(peer) = &call.head.peer {
            peer.progress(Progress { progress: 1.0, total: None, message: None }).await?;
            tokio::time::sleep(60 * SECOND).await;
        }
        Err::<Response<()>, _>(BoxError::from(Transport::unknown("reset")))
    }));
    let [read, a, b] = tools(["read", "a", "b"]);
    let with_peer = |target: &Arc<Target>| {
        let mut request = Request::new(target.clone(), ());
        request.head.peer = Some(Peer::new(Deaf));
        request
    };
    for target in [&a, &b].into_iter().cycle().take(12) {
        assert!(service.ready().await.unwrap().call(with_peer(target)).await.is_err());
    }
    let state = || handle.upstream(&read).map(|status| status.state);
    assert_eq!(state(), Some(State::Open), "progress is no success");
    advance(7 * SECOND).await;
    let probe = tokio::spawn(service.call(with_peer(&read)));
    tokio::time::sleep(SECOND).await;
    assert_eq!(state(), Some(State::Closed));
    assert!(!probe.is_finished());
}

/// However often it has come back: calls that go by the word beside the lock count like any.
#[tokio::test(start_paused = true)]
async fn an_upstream_may_be_lost_any_number_of_times() {
    let round = || (0..6).map(|_| lost()).chain((0..3).map(|_| answered(Verdict::Ok)));
    let (mut service, handle, script) = steered(&seeded(), (0..8).flat_map(|_| round()));
    let [read, one, other] = tools(["read", "one", "other"]);
    let state = || handle.upstream(&read).map(|status| status.state);
    for n in 1..=8 {
        for tool in [&one, &other].into_iter().cycle().take(6) {
            assert_eq!(refusal(call(&mut service, tool).await), None);
        }
        assert_eq!(state(), Some(State::Open), "round {n}");
        advance(Duration::from_secs(600)).await;
        assert!(call(&mut service, &read).await.is_ok());
        advance(Duration::from_secs(600)).await;
        assert!(call(&mut service, &one).await.is_ok() && call(&mut service, &other).await.is_ok());
        assert_eq!((state(), script.calls()), (Some(State::Closed), 9 * n));
    }
}
