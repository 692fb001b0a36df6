//! Handlers that panic, hang, are left, or speak while they work: every call ends, once, and nothing stays behind.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use buttress::{
    Stack,
    call::{Arrival, Caller, Progress},
    deadline::{Limits, Settings},
    metrics::{CONCURRENCY_IN_FLIGHT, IN_FLIGHT, Metric, PANICS, QUEUE_LENGTH, RETRIES, TIMEOUTS},
    outcome,
    rmcp::{ServerLayer, asking, progress},
};
use rmcp::{
    model::{CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ServerResult},
    service::{PeerRequestOptions, RequestHandle, ServiceError},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep},
};
use tower::Layer;

use crate::{
    probe::{Probe, TOOL, failed, good, texts},
    road::{Client, Era, over_duplex},
    series::Series,
    tape::{Line, Tape, Who, soon},
};

const GAUGES: [Metric; 3] = [IN_FLIGHT, CONCURRENCY_IN_FLIGHT, QUEUE_LENGTH];

async fn connect(probe: &Probe, stack: &Stack, tape: &Tape) -> Client {
    over_duplex(Era::Legacy, ServerLayer::new("probe", stack).layer(probe.clone()), tape).await
}

async fn call(client: &Client) -> CallToolResult {
    client.call_tool(CallToolRequestParams::new(TOOL)).await.expect("a result")
}

async fn begin(client: &Client) -> RequestHandle<rmcp::RoleClient> {
    let call = ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new(TOOL)));
    client.send_request_with_option(call, PeerRequestOptions::no_options()).await.unwrap()
}

#[track_caller]
fn assert_idle(series: &Series) {
    for gauge in GAUGES {
        let level = series.sum(gauge, &[]);
        assert!(level == 0.0, "{} is {level}", gauge.name);
    }
}

/// A stack whose calls end after a second of silence, and after ten in any case.
fn hasty() -> Stack {
    let second = Duration::from_secs(1);
    let settings = Settings { soft: Some(second), idle: Some(second), hard: Some(10 * second) };
    Stack::new().deadline(Limits::try_new(settings).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_answered() {
    let series = Series::new();
    let _recording = series.record();
    let probe = Probe::new(async |_, _| panic!("as a handler may"));
    let client = connect(&probe, &Stack::new(), &Tape::default()).await;
    let result = call(&client).await;
    assert_eq!(result.is_error, Some(true));
    assert!(texts(&result)[0].starts_with("Outcome unknown: \"probe\" on \"probe\" failed"), "{result:?}");
    assert_eq!(probe.calls(), 1);
    assert!(series.sum(PANICS, &[("gen_ai_tool_name", TOOL)]) == 1.0);
    assert_idle(&series);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_is_tried_again() {
    let probe = Probe::new(async |nth, _| if nth < 3 { panic!("not yet") } else { good() }).read_only();
    let client = connect(&probe, &Stack::new(), &Tape::default()).await;
    assert_eq!((texts(&call(&client).await), probe.calls()), (vec!["done"], 3));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_handler_is_given_up_at_the_deadline() {
    let series = Series::new();
    let _recording = series.record();
    let (told, cancelled) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let probe = Probe::new(move |_, context| {
        let told = told.lock().unwrap().take().unwrap();
        // Work that the handler left to another task hears of the end too.
        tokio::spawn(async move {
            context.ct.cancelled().await;
            told.send(Instant::now())
        });
        std::future::pending()
    });
    let client = connect(&probe, &hasty(), &Tape::default()).await;
    let began = Instant::now();
    let result = call(&client).await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let words = "Outcome unknown: \"probe\" on \"probe\" gave no answer in 1 s, and the call may or may not have taken effect.";
    assert!(texts(&result)[0].starts_with(words), "{result:?}");
    assert_eq!(cancelled.await.unwrap() - began, Duration::from_secs(1));
    assert!(series.sum(TIMEOUTS, &[("kind", "soft")]) == 1.0);
    assert_idle(&series);
}

/// A person takes their time: three times what the call has.
#[tokio::test(start_paused = true)]
async fn the_clocks_stand_still_while_a_person_is_asked() {
    for says in [true, false] {
        let probe = Probe::new(move |_, context| async move {
            let _asking = if says { asking(&context) } else { None };
            tokio::time::sleep(Duration::from_secs(3)).await;
            good()
        });
        let client = connect(&probe, &hasty(), &Tape::default()).await;
        let answered = texts(&call(&client).await)[0] == "done";
        assert_eq!(answered, says, "whether the handler says that it asks");
    }
}

/// rmcp cancels a call's token once it is answered. The stack cancels an attempt's own: what the first attempt left running
/// hears that it is over while the second still runs.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_timed_out_is_told_so_before_its_call_ends() {
    let over = Arc::new(Notify::new());
    let probe = Probe::new(move |nth, context| {
        let over = over.clone();
        async move {
            if nth > 1 {
                over.notified().await;
                return good();
            }
            tokio::spawn(async move {
                context.ct.cancelled().await;
                over.notify_one();
            });
            std::future::pending().await
        }
    });
    let probe = probe.read_only();
    let client = connect(&probe, &Stack::new().attempt_limit(Duration::from_secs(1)), &Tape::default()).await;
    assert_eq!((texts(&call(&client).await), probe.calls()), (vec!["done"], 2));
}

/// Says on a channel when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_call_that_its_client_takes_back_is_dropped_and_not_answered() {
    let series = Series::new();
    let _recording = series.record();
    let (began, mut is_running) = mpsc::unbounded_channel();
    let (ended, mut is_dropped) = mpsc::unbounded_channel();
    // It does not watch its token, as most handlers do not.
    let probe = Probe::new(move |_, _| {
        let (began, dropped) = (began.clone(), Dropped(ended.clone()));
        async move {
            let _dropped = dropped;
            began.send(()).unwrap();
            std::future::pending().await
        }
    });
    let tape = Tape::default();
    let client = connect(&probe, &Stack::new(), &tape).await;
    let handle = begin(&client).await;
    soon(is_running.recv()).await.unwrap();
    for gauge in [IN_FLIGHT, CONCURRENCY_IN_FLIGHT] {
        let level = series.sum(gauge, &[]);
        assert!(level == 1.0, "{} is {level}", gauge.name);
    }
    let id = serde_json::to_value(&handle.id).unwrap();
    handle.cancel(None).await.unwrap();
    soon(is_dropped.recv()).await.unwrap();
    // The answer to a later call comes after anything that could still have been said of the first.
    client.list_tools(None).await.unwrap();
    let answered = |line: &Line| line.who == Who::Server && line.what["id"] == id && line.method().is_empty();
    let lines = tape.wait(0, |_| true).await;
    assert!(!lines.iter().any(answered), "{lines:#?}");
    assert_eq!(probe.calls(), 1);
    assert_idle(&series);
}

/// What the client heard of its call's progress, in order.
fn heard(lines: &[Line]) -> Vec<Value> {
    let is_progress = |line: &&Line| line.who == Who::Server && line.method() == "notifications/progress";
    lines.iter().filter(is_progress).map(|line| line.what["params"].clone()).collect()
}

fn step(progress: f64) -> Progress {
    Progress::new(progress).total(5.0).message("going")
}

#[tokio::test(start_paused = true)]
async fn progress_reaches_the_client_and_keeps_the_call_alive() {
    let probe = Probe::new(async |_, context| {
        for n in 1..=5 {
            sleep(Duration::from_millis(800)).await;
            progress(&context, step(f64::from(n))).await.unwrap();
        }
        good()
    });
    let tape = Tape::default();
    let client = connect(&probe, &hasty(), &tape).await;
    let began = Instant::now();
    let handle = begin(&client).await;
    let token = handle.progress_token.clone();
    let ServerResult::CallToolResult(result) = handle.await_response().await.unwrap() else { panic!("another result") };
    assert_eq!((texts(&result), began.elapsed()), (vec!["done"], Duration::from_secs(4)));
    let said = |n| json!({ "progressToken": token, "progress": f64::from(n), "total": 5.0, "message": "going" });
    let expected: Vec<_> = (1..=5).map(said).collect();
    assert_eq!(heard(&tape.wait(0, |_| true).await), expected);
}

#[tokio::test(start_paused = true)]
async fn progress_that_stops_and_progress_without_end_both_have_an_end() {
    let stops = Probe::new(async |_, context| {
        sleep(Duration::from_millis(600)).await;
        progress(&context, step(1.0)).await.unwrap();
        std::future::pending().await
    });
    let endless = Probe::new(async |_, context| {
        for n in 1.. {
            progress(&context, step(f64::from(n))).await.unwrap();
            sleep(Duration::from_millis(300)).await;
        }
        good()
    });
    for (probe, end, kind) in [(stops, 1_600, "idle"), (endless, 10_000, "hard")] {
        let series = Series::new();
        let _recording = series.record();
        let client = connect(&probe, &hasty(), &Tape::default()).await;
        let began = Instant::now();
        assert!(texts(&call(&client).await)[0].starts_with("Outcome unknown: "));
        assert_eq!(began.elapsed(), Duration::from_millis(end), "{kind}");
        assert!(series.sum(TIMEOUTS, &[("kind", kind)]) == 1.0, "{kind}");
        assert_idle(&series);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_something_was_said_is_not_repeated() {
    let probe = Probe::new(async |_, context| {
        progress(&context, step(1.0)).await.unwrap();
        outcome::not_sent();
        failed()
    });
    let probe = probe.read_only();
    let client = connect(&probe, &Stack::new(), &Tape::default()).await;
    assert_eq!(call(&client).await.is_error, Some(true));
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_read_is_called_again_and_answers() {
    let series = Series::new();
    let _recording = series.record();
    let probe = Probe::new(async |nth, _| {
        if nth == 1 {
            outcome::throttled(Duration::from_secs(2));
            failed()
        } else {
            good()
        }
    });
    let probe = probe.read_only();
    let client = connect(&probe, &Stack::new(), &Tape::default()).await;
    let began = Instant::now();
    let result = call(&client).await;
    assert_eq!((texts(&result), result.is_error, probe.calls()), (vec!["done"], Some(false), 2));
    assert!(began.elapsed() >= Duration::from_secs(2), "the backend's delay is obeyed");
    assert!(series.sum(RETRIES, &[("gen_ai_tool_name", TOOL), ("outcome", "success")]) == 1.0);
    assert_idle(&series);
}

#[tokio::test(start_paused = true)]
async fn a_tool_in_doubt_is_called_once_unless_it_may_be_repeated() {
    let doubtful = || {
        Probe::new(async |_, _| {
            outcome::ambiguous();
            failed()
        })
    };
    for (probe, calls, blocks) in [(doubtful(), 1, 2), (doubtful().read_only(), 3, 1)] {
        let client = connect(&probe, &Stack::new(), &Tape::default()).await;
        let result = call(&client).await;
        assert_eq!((probe.calls(), result.content.len()), (calls, blocks), "{result:?}");
        assert_eq!(texts(&result)[0], "the backend said no");
    }
}

/// A word says what was true when it was said. An attempt that worked out in the end is not repeated for it.
#[tokio::test(start_paused = true)]
async fn a_success_is_not_repeated_whatever_was_said_on_the_way() {
    let probe = Probe::new(async |_, _| {
        outcome::throttled(None);
        good()
    });
    let client = connect(&probe, &Stack::new(), &Tape::default()).await;
    assert_eq!((texts(&call(&client).await), probe.calls()), (vec!["done"], 1));
}

/// The operator's own code runs before the stack does. If it panics, the call is still answered.
#[tokio::test]
async fn a_panic_of_who_tells_callers_apart_is_answered() {
    let probe = Probe::new(async |_, _| good());
    let is_up = Arc::new(AtomicBool::new(false));
    let layer = ServerLayer::new("probe", &Stack::new()).identify({
        let is_up = is_up.clone();
        move |_: &Arrival<'_>| if is_up.load(Ordering::SeqCst) { panic!("as an extractor may") } else { Caller::default() }
    });
    let client = over_duplex(Era::Legacy, layer.layer(probe.clone()), &Tape::default()).await;
    is_up.store(true, Ordering::SeqCst);
    let answer = soon(client.call_tool(CallToolRequestParams::new(TOOL))).await;
    assert!(matches!(answer, Err(ServiceError::McpError(_))), "{answer:?}");
    assert_eq!(probe.calls(), 0);
}
