use std::{num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};

use super::{Backoff, Budget, Cause, FullJitter, MakeBackoff, RetryLayer};
use crate::{
    call::{Admission, Head, Meta, Method, Notify, Peer, Progress, REPEATS_KEY, Repeats, Request, Response, Target, Verdict},
    catalogue::Catalogue,
    error::{BoxError, Clock, Exhausted, HttpStatus, Reason, Rejected, TimedOut, Transport},
    outcome::Word,
    testing::{Outcome, Script, Step, safe_tool, tool},
};

fn layer() -> RetryLayer {
    RetryLayer::default().backoff(FullJitter::default().seeded(1))
}

async fn call(layer: &RetryLayer, script: &Script, target: Arc<Target>) -> Outcome {
    layer.layer(script.clone()).oneshot(Request::new(target, ())).await
}

fn not_sent() -> Step {
    Step::Answer(Err(Transport::not_sent("refused").into()))
}

fn timed_out() -> Step {
    Step::Answer(Err(TimedOut { clock: Clock::Attempt, after: Duration::ZERO }.into()))
}

/// An answer of the handler's, as the classifier leaves it.
fn classified(word: Word) -> Step {
    let mut response = Response::new("not now").with_word(word);
    response.verdict = Some(word.verdict());
    Step::Answer(Ok(response))
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_repeated_whatever_the_tool() {
    let script = Script::new([not_sent(), not_sent()]);
    let response = call(&layer(), &script, tool("t")).await.unwrap();
    assert_eq!((response.result.as_ref(), response.attempts), (Ok(&"done"), 3));
    assert_eq!(Verdict::of(&Ok(response)), Verdict::Ok);
    assert_eq!(script.seen(), [(0, Admission::Wait, false), (1, Admission::NoWait, false), (2, Admission::NoWait, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_doubt_is_repeated_only_if_it_is_safe() {
    let script = Script::new([timed_out()]);
    let error = call(&layer(), &script, tool("t")).await.unwrap_err();
    assert!(error.is::<TimedOut>());
    assert_eq!(script.seen(), [(0, Admission::Wait, false)]);

    let script = Script::new([timed_out()]);
    assert!(call(&layer(), &script, safe_tool("t")).await.is_ok());
    assert_eq!(script.seen(), [(0, Admission::Wait, true), (1, Admission::NoWait, true)]);
}

#[tokio::test(start_paused = true)]
async fn attempts_end_and_the_error_says_how_many_there_were() {
    let script = Script::new([not_sent(), not_sent(), not_sent()]);
    let error = call(&layer(), &script, tool("t")).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Exhausted>().map(|exhausted| exhausted.attempts), Some(3));
    assert_eq!(Verdict::of_error(&*error), Verdict::NotSent);
    assert_eq!(script.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_delay_that_the_backend_names_is_waited_out() {
    let retry_after = Some(Duration::from_secs(5));
    let script = Script::new([classified(Word::Throttled { retry_after })]);
    let began = Instant::now();
    assert!(call(&layer(), &script, tool("t")).await.is_ok());
    assert_eq!(began.elapsed(), Duration::from_secs(5));

    let script = Script::new([classified(Word::Throttled { retry_after: Some(Duration::from_secs(7)) })]);
    let response = call(&layer(), &script, tool("t")).await.unwrap();
    assert_eq!((response.result, response.attempts, script.calls()), (Ok("not now"), 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_retry_gives_the_answer_that_there_was_and_its_tokens_back() {
    let budget = Arc::new(Budget::of(100));
    let refused = || Step::Answer(Err(Rejected::new("breaker", Reason::BreakerOpen).into()));
    let script = Script::new([classified(Word::NotSent), refused()]);
    let response = call(&layer().budget(budget.clone()), &script, tool("t")).await.unwrap();
    assert_eq!((response.result, response.attempts), (Ok("not now"), 1));
    assert_eq!((script.calls(), budget.tokens()), (2, 100));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_fails_stays_paid_and_one_that_succeeds_is_refunded() {
    let budget = Arc::new(Budget::of(100));
    let layer = layer().budget(budget.clone());
    let script = Script::new([not_sent(), not_sent(), not_sent()]);
    call(&layer, &script, tool("t")).await.unwrap_err();
    assert_eq!(budget.tokens(), 90);
    let script = Script::new([not_sent()]);
    call(&layer, &script, tool("t")).await.unwrap();
    assert_eq!(budget.tokens(), 90);
    call(&layer, &Script::default(), tool("t")).await.unwrap();
    assert_eq!(budget.tokens(), 91);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_ends_the_retries() {
    let script = Script::new([not_sent(), not_sent()]);
    call(&layer().budget(Arc::new(Budget::of(10))), &script, tool("t")).await.unwrap_err();
    assert_eq!(script.calls(), 2, "half of it pays for one repetition");
}

#[tokio::test(start_paused = true)]
async fn no_retry_begins_after_the_deadline() {
    let script = Script::new([classified(Word::Throttled { retry_after: Some(Duration::from_secs(3)) })]);
    let mut request = Request::new(tool("t"), ());
    request.head.deadline.soft = Some(Instant::now() + Duration::from_secs(3));
    let response = layer().layer(script.clone()).oneshot(request).await.unwrap();
    assert_eq!((response.result, script.calls()), (Ok("not now"), 1));
}

#[derive(Debug)]
struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_committed_call_is_not_repeated_and_a_dead_attempt_is_not_heard() {
    let script = Script::new([not_sent()]);
    let mut request = Request::new(safe_tool("t"), ());
    let peer = Peer::new(Deaf);
    request.head.peer = Some(peer.clone());
    layer().layer(script.clone()).oneshot(request.clone()).await.unwrap();
    assert!(!peer.is_open(), "the second attempt has a peer of its own");

    let script = Script::new([timed_out()]);
    let peer = Peer::new(Deaf);
    peer.commit();
    request.head.peer = Some(peer);
    layer().layer(script.clone()).oneshot(request).await.unwrap_err();
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn lifecycle_methods_are_attempted_once() {
    let script = Script::new([not_sent()]);
    let ping = crate::catalogue::Catalogue::new("up").resolve(&crate::call::Method::Ping, None, None);
    call(&layer(), &script, ping).await.unwrap_err();
    assert_eq!(script.calls(), 1);
}

/// An idempotent tool may well have done its work in the attempt that timed out.
#[tokio::test(start_paused = true)]
async fn the_doubt_of_one_attempt_is_not_forgotten_by_the_next() {
    let script = Script::new([timed_out(), not_sent(), not_sent()]);
    let error = call(&layer(), &script, safe_tool("t")).await.unwrap_err();
    assert_eq!((Verdict::of_error(&*error), script.calls()), (Verdict::AMBIGUOUS, 3));
    let script = Script::new([timed_out(), classified(Word::NotSent), classified(Word::NotSent)]);
    let response = call(&layer(), &script, safe_tool("t")).await.unwrap();
    assert_eq!((response.verdict, response.attempts), (Some(Verdict::AMBIGUOUS), 3));
    let lost = || Step::Answer(Err(HttpStatus::new(404).in_session().into()));
    let script = Script::new([timed_out(), lost()]);
    let error = call(&layer(), &script, safe_tool("t")).await.unwrap_err();
    assert_eq!((Verdict::of_error(&*error), script.calls()), (Verdict::AMBIGUOUS, 2));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_may_follow_the_last() {
    let script = Script::new([timed_out(), timed_out()]);
    call(&layer(), &script, safe_tool("t")).await.unwrap();
    let repeatable: Vec<bool> = script.seen().into_iter().map(|(.., repeatable)| repeatable).collect();
    assert_eq!(repeatable, [true, true, false]);
}

/// What a failed attempt's own tasks say during the backoff would commit a call that is about to be repeated.
#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_silent_before_the_next_begins() {
    let script = Script::new([classified(Word::Throttled { retry_after: Some(Duration::from_secs(2)) })]);
    let mut request = Request::new(tool("t"), ());
    let peer = Peer::new(Deaf);
    request.head.peer = Some(peer.clone());
    let answered = tokio::spawn(layer().layer(script.clone()).oneshot(request));
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.progress(Progress { progress: 1.0, total: None, message: None }).await.unwrap();
    assert!(!peer.is_committed());
    answered.await.unwrap().unwrap();
    assert_eq!(script.calls(), 2);
}

/// A service that fails before it is called has done nothing, whatever it says.
#[tokio::test(start_paused = true)]
async fn a_service_that_never_becomes_ready_was_sent_nothing() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    handle.allow(0);
    let call = RetryLayer::off().layer(mock).oneshot(Request::new(tool("t"), ()));
    let call = tokio::spawn(call);
    tokio::task::yield_now().await;
    handle.send_error("out of order");
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(Verdict::of_error(&*error), Verdict::NotSent);
}

/// Readiness is cut here: the service is always ready, and who waits for the inner one waits until the deadline.
#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_is_bounded_by_the_deadline() {
    let script = Script::new([Step::Hang]);
    let mut service = RetryLayer::new(NonZeroU32::MIN).layer(ConcurrencyLimit::new(script.clone(), 1));
    let first = service.ready().await.unwrap().call(Request::new(tool("t"), ()));
    let mut second = Request::new(tool("t"), ());
    second.head.deadline.soft = Some(Instant::now() + Duration::from_secs(2));
    let began = Instant::now();
    let error = service.ready().await.unwrap().call(second).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::Deadline));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    drop(first);
    assert!(service.ready().await.unwrap().call(Request::new(tool("t"), ())).await.is_ok());
}

fn marked(target: Arc<Target>) -> Request<()> {
    let mut request = Request::new(target, ());
    request.head.meta = Some(Arc::new(Meta { attempt: Some(2), ..Meta::default() }));
    request
}

/// Two layers that repeat multiply: three attempts behind three attempts are nine.
#[tokio::test(start_paused = true)]
async fn what_the_sender_repeats_is_attempted_once() {
    for step in [not_sent(), timed_out(), classified(Word::Throttled { retry_after: None })] {
        let script = Script::new([step]);
        let response = layer().layer(script.clone()).oneshot(marked(safe_tool("t"))).await;
        assert!(Verdict::of(&response) != Verdict::Ok);
        assert_eq!(script.seen(), [(0, Admission::Wait, false)]);
    }
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        let script = Script::new([not_sent(), Step::Answer(Err("bad".into()))]);
        let mut service = layer().layer(script);
        for _ in 0..3 {
            let answer = service.call(marked(tool("t"))).now_or_never();
            assert!(answer.is_some());
        }
    });
    let skipped = recorder.snapshotter().snapshot().into_vec().into_iter().find_map(|(key, _, _, value)| {
        let marked = key.key().labels().any(|label| label.value() == "upstream_retries");
        marked.then_some(value)
    });
    assert_eq!(skipped, Some(DebugValue::Counter(2)), "a success is not skipped");
}

/// The chain's first layer that could repeat it does; all behind it are told.
#[tokio::test(start_paused = true)]
async fn the_mark_goes_on() {
    let onward = |head: &Head| {
        let mut said = serde_json::Map::new();
        Meta::onward(head).apply(&mut said);
        let meta = Meta::read(&said);
        meta.attempt.zip(meta.repeated())
    };
    let trusting = Catalogue::new("hop").trust_next_hop().resolve(&Method::ToolsCall, Some("t"), None);
    let mut head = marked(tool("t")).head;
    assert_eq!(onward(&head), Some((2, Repeats::All)), "the sender repeats it, not we");
    head.meta = Some(Arc::new(Meta { attempt: Some(2), repeats: Repeats::Unexecuted, ..Meta::default() }));
    assert_eq!(onward(&head), Some((2, Repeats::Unexecuted)));
    // What the sender would not repeat, we would: then nothing is left to the next hop.
    head.repeats = true;
    head.target = safe_tool("t");
    assert_eq!(onward(&head), Some((1, Repeats::All)));
    let word = Meta::onward(&head).iter().find(|(key, _)| *key == REPEATS_KEY).and_then(|(_, word)| word.cloned());
    assert_eq!(word, Some("all".into()), "the sender's word is replaced where the message holds it");
    head.meta = None;
    head.repeats = false;
    assert_eq!(onward(&head), None);
    (head.repeats, head.attempt) = (true, 2);
    assert_eq!(onward(&head), Some((3, Repeats::All)));
    head.target = trusting;
    assert_eq!(onward(&head), Some((3, Repeats::Unexecuted)));
    head.target = tool("t");
    assert_eq!(onward(&head), None, "nothing that fails behind the next hop would be repeated here");
}

/// A sender that does not know whether a call is safe repeats no doubt: whoever knows does, and leaves it the rest.
#[tokio::test(start_paused = true)]
async fn what_the_sender_would_not_repeat_is_repeated() {
    let unexecuted = |target| {
        let mut request = Request::new(target, ());
        request.head.meta = Some(Arc::new(Meta { attempt: Some(1), repeats: Repeats::Unexecuted, ..Meta::default() }));
        request
    };
    let attempts = async |target, steps: [Step; 3]| {
        let script = Script::new(steps);
        let _outcome = layer().layer(script.clone()).oneshot(unexecuted(target)).await;
        script.calls()
    };
    assert_eq!(attempts(safe_tool("t"), [timed_out(), timed_out(), timed_out()]).await, 3);
    assert_eq!(attempts(safe_tool("t"), [not_sent(), timed_out(), timed_out()]).await, 1);
    assert_eq!(attempts(tool("t"), [timed_out(), timed_out(), timed_out()]).await, 1);
    assert_eq!(attempts(tool("t"), [not_sent(), timed_out(), timed_out()]).await, 1);
    // The sender is told of the doubt, so it would not repeat this.
    assert_eq!(attempts(safe_tool("t"), [timed_out(), not_sent(), not_sent()]).await, 3);
}

/// A sick upstream uses up its own budget.
#[tokio::test(start_paused = true)]
async fn each_upstream_has_a_budget_of_its_own() {
    let layer = layer();
    let [sick, other] = ["sick", "other"].map(|name| Catalogue::new(name).resolve(&Method::ToolsCall, Some("t"), None));
    for _ in 0..60 {
        call(&layer, &Script::new([not_sent(), not_sent(), not_sent()]), sick.clone()).await.unwrap_err();
    }
    let script = Script::new([not_sent()]);
    call(&layer, &script, other.clone()).await.unwrap();
    assert_eq!(script.calls(), 2);
    let handle = layer.handle();
    assert_eq!((handle.budget(&sick).tokens(), handle.budget(&other).tokens()), (250, 500));
    // Those that there are and those to come.
    handle.set_capacity(100).unwrap();
    let third = Catalogue::new("third").resolve(&Method::ToolsCall, Some("t"), None);
    assert_eq!([&sick, &other, &third].map(|target| handle.budget(target).capacity()), [100; 3]);
    let refused = handle.set_capacity(9).unwrap_err();
    assert_eq!((refused.capacity, refused.least, handle.capacity()), (9, 10, 100));

    let one = Arc::new(Budget::of(100));
    let shared = layer.budget(one.clone()).handle();
    assert!([sick, other].iter().all(|target| Arc::ptr_eq(&shared.budget(target), &one)));
}

#[tokio::test(start_paused = true)]
async fn a_handle_steers_calls_under_way() {
    let layer = layer();
    let handle = layer.handle();
    let target = tool("t");
    let budget = handle.budget(&target);
    assert_eq!((handle.attempts(), budget.tokens(), handle.capacity()), (3, 500, 500));
    let script = Script::new([not_sent(), not_sent(), not_sent(), not_sent(), not_sent()]);
    let calling = tokio::spawn(layer.layer(script.clone()).oneshot(Request::new(target.clone(), ())));
    tokio::task::yield_now().await;
    handle.set_attempts(NonZeroU32::new(5).unwrap());
    calling.await.unwrap().unwrap_err();
    assert_eq!((script.calls(), handle.attempts(), budget.tokens()), (5, 5, 480));

    handle.set_capacity(28).unwrap();
    assert_eq!((budget.tokens(), budget.capacity(), handle.capacity()), (8, 28, 28));
    let script = Script::new([not_sent(), not_sent()]);
    call(&layer, &script, target.clone()).await.unwrap_err();
    assert_eq!(script.calls(), 1, "20 tokens are missing of a half of 14");
    handle.set_capacity(1000).unwrap();
    call(&layer, &script, target).await.unwrap();
    handle.set_attempts(NonZeroU32::MIN);
    let script = Script::new([not_sent()]);
    call(&layer, &script, tool("t")).await.unwrap_err();
    assert_eq!(script.calls(), 1);
}

/// The same delay each time.
struct Delay(Duration);

impl MakeBackoff for Delay {
    fn make_backoff(&self) -> Box<dyn Backoff> {
        struct Series(Duration);
        impl Backoff for Series {
            fn next_delay(&mut self, _cause: Cause) -> Option<Duration> {
                Some(self.0)
            }
        }
        Box::new(Series(self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn the_backoff_is_changed_for_calls_that_fail_from_then_on() {
    let (second, target) = (Duration::from_secs(1), tool("t"));
    let layer = layer().backoff(Delay(second));
    let script = Script::new([not_sent(), not_sent(), Step::Answer(Ok(Response::new("done"))), not_sent()]);
    let began = Instant::now();
    let under_way = tokio::spawn(layer.layer(script.clone()).oneshot(Request::new(target.clone(), ())));
    tokio::task::yield_now().await;
    layer.handle().set_backoff(Delay(10 * second));
    under_way.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), 2 * second, "as it began");
    call(&layer, &script, target).await.unwrap();
    assert_eq!(began.elapsed(), 12 * second);
}

/// A repetition that ends in the tool's own error has reached a backend that is well. It earns nothing all the same.
#[tokio::test(start_paused = true)]
async fn a_tools_own_error_is_an_answer_and_refunds_the_repetition() {
    let budget = Arc::new(Budget::of(100));
    let layer = layer().budget(budget.clone());
    call(&layer, &Script::new([not_sent(), not_sent(), not_sent()]), tool("t")).await.unwrap_err();
    assert_eq!(budget.tokens(), 90);
    let own = || {
        let mut response = Response::new("no such city");
        response.verdict = Some(Verdict::ToolError);
        Step::Answer(Ok(response))
    };
    for script in [Script::new([not_sent(), own()]), Script::new([own()])] {
        assert_eq!(call(&layer, &script, tool("t")).await.unwrap().result, Ok("no such city"));
        assert_eq!(budget.tokens(), 90);
    }
}

/// What a layer further in had to repeat must not pay for repetitions here.
#[tokio::test(start_paused = true)]
async fn only_a_success_at_once_earns() {
    let budget = Arc::new(Budget::of(100));
    let layer = layer().budget(budget.clone());
    call(&layer, &Script::new([not_sent(), not_sent(), not_sent()]), tool("t")).await.unwrap_err();
    let mut repeated = Response::new("done");
    (repeated.verdict, repeated.attempts) = (Some(Verdict::Ok), 2);
    let response = call(&layer, &Script::new([Step::Answer(Ok(repeated))]), tool("t")).await.unwrap();
    assert_eq!((budget.tokens(), response.attempts), (90, 2));
    call(&layer, &Script::default(), tool("t")).await.unwrap();
    assert_eq!(budget.tokens(), 91);
}

/// Whoever leaves during the backoff has paid for an attempt that is never made.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_its_repetition_gets_its_tokens_back() {
    let budget = Arc::new(Budget::of(100));
    let retry_after = Some(Duration::from_secs(2));
    let script = Script::new([classified(Word::Throttled { retry_after })]);
    let target = tool("t");
    let layer = layer().budget(budget.clone());
    let calling = tokio::spawn(layer.layer(script.clone()).oneshot(Request::new(target, ())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((script.calls(), budget.tokens()), (1, 95));
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    assert_eq!((script.calls(), budget.tokens()), (1, 100));
}

/// What has been added to the gauges of budgets since the last look, by upstream.
fn tokens_added(recorder: &DebuggingRecorder) -> Vec<(String, f64)> {
    let series = recorder.snapshotter().snapshot().into_vec();
    let of_budgets = series.into_iter().filter(|(key, ..)| key.key().name() == "buttress_retry_budget_tokens");
    let mut added: Vec<_> = of_budgets
        .filter_map(|(key, .., value)| match value {
            DebugValue::Gauge(tokens) => Some((key.key().labels().next()?.value().to_owned(), tokens.into_inner())),
            _ => None,
        })
        .collect();
    added.sort_by(|one, other| one.0.cmp(&other.0));
    added
}

#[tokio::test(start_paused = true)]
async fn a_budget_shows_itself_whoever_changes_it() {
    let recorder = DebuggingRecorder::new();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let budget = Arc::new(Budget::default());
    let layers = [(); 2].map(|()| layer().budget(budget.clone()));
    let [left, right] = ["left", "right"].map(Catalogue::new);
    let both = |left: f64, right: f64| vec![("left".to_owned(), left), ("right".to_owned(), right)];
    // Two layers before one upstream, and two upstreams behind one budget.
    for (layer, catalogue) in [(&layers[0], &left), (&layers[1], &left), (&layers[1], &right)] {
        for method in [Method::ToolsCall, Method::PromptsGet] {
            call(layer, &Script::new([]), catalogue.resolve(&method, Some("one"), None)).await.unwrap();
        }
    }
    assert_eq!(tokens_added(&recorder), both(500.0, 500.0));

    layers[0].handle().set_capacity(1000).unwrap();
    assert_eq!(tokens_added(&recorder), both(500.0, 500.0), "no call has come since");
    let target = left.resolve(&Method::ToolsCall, Some("one"), None);
    call(&layers[0], &Script::new([not_sent(), not_sent(), not_sent()]), target).await.unwrap_err();
    assert_eq!(tokens_added(&recorder), both(-10.0, -10.0), "who changes it tells all");

    drop(left);
    assert_eq!(tokens_added(&recorder), both(-990.0, 0.0));
}
