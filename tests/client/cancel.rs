//! Calls that are given up: the server hears of it at once, under the id that it knows, and nothing stays behind.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use buttress::{
    Stack,
    concurrency::ConcurrencyLayer,
    metrics::{CONCURRENCY_IN_FLIGHT, IN_FLIGHT},
    retry::{Backoff, Cause, MakeBackoff, RetryLayer},
    rmcp::client::ClientLayer,
};
use rmcp::{
    model::{CallToolRequest, CallToolRequestParams, ClientRequest},
    service::PeerRequestOptions,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    probe::{Probe, TOOL, good, texts},
    rig::{ERAS, SEAMS, connect, hasty, over_duplex, safe},
    road::Era,
    series::Series,
    tape::soon,
};

/// A tool that never answers, and a channel that says when rmcp has told it to stop, and when it was dropped.
fn hanging() -> (Probe, mpsc::UnboundedReceiver<Instant>) {
    let (told, cancelled) = mpsc::unbounded_channel();
    let probe = Probe::new(move |_, context| {
        let told = told.clone();
        async move {
            context.ct.cancelled().await;
            told.send(Instant::now()).unwrap();
            std::future::pending().await
        }
    });
    (probe, cancelled)
}

fn ids(messages: &[Value], of: &str) -> Vec<Value> {
    messages.iter().map(|message| message.pointer(of).cloned().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_is_taken_back_under_the_servers_id() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let (probe, mut cancelled) = hanging();
        let (rig, _serving) = over_duplex(seam, era, probe, &ClientLayer::new("up", &hasty())).await;
        let began = Instant::now();
        let result = rig.call().await.unwrap();
        assert!(texts(&result)[0].starts_with("Outcome unknown: the tool on \"up\" gave no answer in 1 s"), "{result:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert_eq!(soon(cancelled.recv()).await.unwrap(), Instant::now(), "the server hears of it at once");
        let (calls, taken_back) = (rig.sent("tools/call").await, rig.sent("notifications/cancelled").await);
        assert_eq!(ids(&taken_back, "/params/requestId"), ids(&calls, "/id"), "{seam:?} {era:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_that_times_out_is_taken_back() {
    for seam in SEAMS {
        let (probe, mut cancelled) = hanging();
        let stack = Stack::new().attempt_limit(Duration::from_secs(1));
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe.clone(), &safe(&stack)).await;
        rig.call().await.unwrap();
        // The second attempt has the whole time of the call.
        assert_eq!(probe.calls(), 2);
        for _ in 0..2 {
            soon(cancelled.recv()).await.unwrap();
        }
        let (calls, taken_back) = (rig.sent("tools/call").await, rig.sent("notifications/cancelled").await);
        assert_eq!(ids(&taken_back, "/params/requestId"), ids(&calls, "/id"), "{seam:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_taken_back_at_once() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let series = Series::new();
        let _recording = series.record();
        let (probe, mut cancelled) = hanging();
        let (rig, _serving) = over_duplex(seam, era, probe, &ClientLayer::new("up", &Stack::new())).await;
        {
            let call = rig.call();
            tokio::pin!(call);
            tokio::select! {
                answer = &mut call => panic!("{answer:?}"),
                _ = rig.until_sent("tools/call", 1) => {}
            }
            assert!(series.sum(IN_FLIGHT, &[]) == 1.0);
        }
        let dropped = Instant::now();
        assert_eq!(soon(cancelled.recv()).await.unwrap(), dropped, "not a millisecond later");
        let (calls, taken_back) = (rig.sent("tools/call").await, rig.sent("notifications/cancelled").await);
        assert_eq!(ids(&taken_back, "/params/requestId"), ids(&calls, "/id"), "{seam:?} {era:?}");
        assert!(series.sum(IN_FLIGHT, &[]) == 0.0);
        // The server may work on for all that is known: the slot comes back with the end of the lease.
        assert!(series.sum(CONCURRENCY_IN_FLIGHT, &[]) == 1.0);
        sleep(Duration::from_secs(6)).await;
        assert!(series.sum(CONCURRENCY_IN_FLIGHT, &[]) == 0.0, "{seam:?}");
    }
}

/// rmcp's own cancellation of a raw request, by the id that rmcp knows.
#[tokio::test(start_paused = true)]
async fn what_rmcp_takes_back_is_taken_back_in_the_servers_terms() {
    let (probe, mut cancelled) = hanging();
    let (rig, _serving) = over_duplex(SEAMS[1], Era::Legacy, probe, &ClientLayer::new("up", &Stack::new())).await;
    let call = ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new(TOOL)));
    let handle = rig.connection.send_request_with_option(call, PeerRequestOptions::no_options()).await.unwrap();
    let calls = rig.until_sent("tools/call", 1).await;
    handle.cancel(None).await.unwrap();
    soon(cancelled.recv()).await.unwrap();
    let taken_back = rig.sent("notifications/cancelled").await;
    assert_eq!(ids(&taken_back, "/params/requestId"), ids(&calls, "/id"));
    assert!(calls[0]["id"].is_string(), "the stack's own id");
}

/// Ten seconds between attempts.
struct Slowly;

impl MakeBackoff for Slowly {
    fn make_backoff(&self) -> Box<dyn Backoff> {
        Box::new(Self)
    }
}

impl Backoff for Slowly {
    fn next_delay(&mut self, _: Cause) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_back_that_is_not_under_way() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| Err(rmcp::ErrorData::internal_error("no", None)));
        let stack = Stack::new().retry(RetryLayer::default().backoff(Slowly));
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe, &safe(&stack)).await;
        // In the second of its backoffs.
        tokio::time::timeout(Duration::from_secs(15), rig.call()).await.unwrap_err();
        sleep(Duration::from_secs(60)).await;
        let calls = rig.sent("tools/call").await.len();
        let taken_back = rig.sent("notifications/cancelled").await.len();
        assert!(calls == 2 && taken_back == 0, "{seam:?}: {calls} {taken_back}");
    }
}

/// A server that ignores a cancellation works on, so its slot is not free before it answers or the lease ends.
#[tokio::test(start_paused = true)]
async fn a_zombie_keeps_its_slot_until_it_answers_or_its_lease_ends() {
    for (seam, works) in SEAMS.into_iter().flat_map(|seam| [3, 600].map(|seconds| (seam, seconds))) {
        // rmcp's own server drops the answer to a call that was taken back. This one does not know what that is.
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(stubborn(far, Duration::from_secs(works)));
        let stack = hasty().concurrency(ConcurrencyLayer::new(NonZeroU32::MIN).queue(0));
        let rig =
            connect(seam, Era::Legacy, crate::caller::Caller(Era::Legacy.version()), near, &ClientLayer::new("up", &stack)).await;
        let began = Instant::now();
        assert!(texts(&rig.call().await.unwrap())[0].starts_with("Outcome unknown: "));
        let mut refused = 0;
        while texts(&rig.call().await.unwrap())[0].starts_with("Busy: ") {
            refused += 1;
            sleep(Duration::from_millis(100)).await;
        }
        // Whoever gets the slot then has the same fate, a second later.
        let free = began.elapsed().as_secs() - 1;
        let expected = if works == 3 { 3..=3 } else { 3..=6 };
        assert!(expected.contains(&free), "{seam:?}, free after {free} s, refused {refused} times");
    }
}

/// Ten callers a second leave, and this server heeds it: with the default limit and lease, who stays finds a slot free.
#[tokio::test(start_paused = true)]
async fn callers_who_leave_do_not_shut_out_those_who_stay() {
    for seam in SEAMS {
        let probe = Probe::new(async |nth, context| {
            if nth % 11 != 0 {
                context.ct.cancelled().await;
            }
            good()
        });
        let stack = Stack::new().concurrency(ConcurrencyLayer::default().queue(0));
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe, &ClientLayer::new("up", &stack)).await;
        for second in 0..40 {
            for _ in 0..10 {
                tokio::time::timeout(Duration::from_millis(90), rig.call()).await.unwrap_err();
            }
            assert_eq!(texts(&rig.call().await.unwrap()), ["done"], "{seam:?} after {second} s");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A server that answers every request, and no call before its time.
async fn stubborn(pipe: tokio::io::DuplexStream, works: Duration) {
    let (read, write) = tokio::io::split(pipe);
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        let Some(id) = message.get("id").cloned() else { continue };
        let is_call = message["method"] == "tools/call";
        let result = if is_call {
            json!({ "content": [] })
        } else {
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "stubborn", "version": "1" } })
        };
        let write = write.clone();
        tokio::spawn(async move {
            if is_call {
                sleep(works).await;
            }
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            let _ = write.lock().await.write_all(format!("{answer}\n").as_bytes()).await;
        });
    }
}

/// A hundred calls at once, all dropped, then a hundred that are answered: no task and no gauge stays behind.
#[tokio::test]
async fn a_crowd_leaves_nothing_behind() {
    for seam in SEAMS {
        let series = Series::new();
        let _recording = series.record();
        let probe = Probe::new(async |nth, context| {
            if nth <= 100 {
                context.ct.cancelled().await;
            }
            good()
        });
        let stack = Stack::new().concurrency(ConcurrencyLayer::new(100.try_into().unwrap()));
        // This server heeds a cancellation, as the one that keeps its slot does not.
        let layer = safe(&stack).lease(Duration::ZERO);
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe.clone(), &layer).await;
        let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        {
            let mut calls: Vec<_> = (0..100).map(|_| Box::pin(rig.call())).collect();
            let all = futures_util::future::join_all(calls.iter_mut());
            tokio::select! {
                answers = all => panic!("{answers:?}"),
                _ = rig.until_sent("tools/call", 100) => {}
            }
        }
        assert_eq!(rig.until_sent("notifications/cancelled", 100).await.len(), 100);
        let answers = futures_util::future::join_all((0..100).map(|_| rig.call())).await;
        assert!(answers.iter().all(|answer| texts(answer.as_ref().unwrap()) == ["done"]), "{seam:?}");
        assert_eq!((probe.calls(), rig.sent("notifications/cancelled").await.len()), (200, 100));
        soon(async {
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for gauge in [IN_FLIGHT, CONCURRENCY_IN_FLIGHT] {
            assert!(series.sum(gauge, &[]) == 0.0, "{} {seam:?}", gauge.name);
        }
    }
}

/// The same on several threads, where messages cross: every call ends, and the server hears of each that was dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_dropped_at_any_time_leave_a_connection_that_works() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let probe = Probe::new(async |_, _| {
            tokio::task::yield_now().await;
            good()
        });
        let stack = Stack::new().concurrency(ConcurrencyLayer::off());
        let (rig, _serving) = over_duplex(seam, era, probe, &safe(&stack)).await;
        let rig = Arc::new(rig);
        let crowd = (0..400).map(|n| {
            let rig = rig.clone();
            tokio::spawn(async move {
                let patience = Duration::from_micros(n * 10);
                // Whether it was in time is the machine's affair; that it ended is ours.
                if let Ok(answer) = tokio::time::timeout(patience, rig.call()).await {
                    assert_eq!(texts(&answer.unwrap()), ["done"]);
                }
            })
        });
        for one in crowd.collect::<Vec<_>>() {
            soon(one).await.unwrap();
        }
        assert_eq!(texts(&soon(rig.call()).await.unwrap()), ["done"], "{seam:?} {era:?}");
    }
}
