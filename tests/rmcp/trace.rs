//! Which trace a call is made in, as it is told in `_meta` or in HTTP headers; and what nobody can read.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use buttress::{
    Stack,
    audit::{AuditHandle, AuditLayer, FileSink},
    rmcp::ServerLayer,
    trace::{Incoming, TraceLayer},
};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tower::Layer;

use crate::{
    probe::{Probe, TOOL, good},
    raw::{Pipe, Poster, legacy, modern},
    road::Site,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-00";

struct Trail {
    path: PathBuf,
    handle: AuditHandle,
    layer: ServerLayer<Probe>,
}

impl Trail {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("buttress-trace-{:x}.jsonl", fastrand::u64(..)));
        let layer = AuditLayer::new(FileSink::open(&path).unwrap()).unwrap();
        let (handle, stack) = (layer.handle(), Stack::new().audit(layer));
        Self { path, handle, layer: ServerLayer::new("probe", &stack) }
    }

    /// The span of the caller's that stands on record of each call, and what is there of all of them in bytes.
    async fn spans(&self) -> (Vec<Value>, usize) {
        self.handle.flush().await;
        let text = std::fs::read_to_string(&self.path).unwrap();
        let line = |line| serde_json::from_str::<Value>(line).unwrap()["caller_span_id"].take();
        (text.lines().map(line).collect(), text.len())
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn headers_say_where_meta_does_not() {
    let trail = Trail::new();
    let (layer, probe) = (trail.layer.clone(), Probe::new(async |_, _| good()));
    let site = Site::open(move || layer.layer(probe.clone())).await;
    let with = |parents: &[&str]| {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append("traceparent", parent.parse().unwrap());
        }
        headers
    };
    let say = |parent: Value| {
        let mut call = modern(1, "tools/call", json!({ "name": TOOL }));
        call["params"]["_meta"]["traceparent"] = parent;
        call
    };
    for (headers, call) in [
        (with(&[OTHER]), modern(1, "tools/call", json!({ "name": TOOL }))),
        (with(&[OTHER]), say(PARENT.into())),
        (with(&[OTHER]), say(json!({ "not": "a text" }))),
        (with(&[OTHER, OTHER]), say("garbage".into())),
        (with(&[]), say(PARENT.into())),
    ] {
        let reply = Poster::modern(&site).with_headers(headers).post(&call).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let (header, meta) = (json!("00f067aa0ba902b7"), json!("b7ad6b7169203331"));
    assert_eq!(trail.spans().await.0, [header.clone(), meta.clone(), header, Value::Null, meta]);
}

fn bombs() -> [Value; 4] {
    let megabyte = |of: &str| of.repeat((1 << 20) / of.len());
    [
        json!({ "traceparent": megabyte("0"), "tracestate": megabyte("a=1,"), "baggage": megabyte("a=1,") }),
        json!({ "traceparent": format!("cc{}-{}", &PARENT[2..], megabyte("x")), "baggage": megabyte("%") }),
        json!({ "traceparent": megabyte("\u{0}"), "tracestate": megabyte("\u{202e}"), "baggage": megabyte("\"") }),
        json!({ "traceparent": PARENT, "tracestate": megabyte("a=1,"), "baggage": megabyte("a=1,") }),
    ]
}

/// A megabyte each of what nobody can read.
#[tokio::test]
async fn a_bomb_harms_nobody() {
    let trail = Trail::new();
    let probe = Probe::new(async |_, _| good());
    let mut pipe = Pipe::open(trail.layer.layer(probe.clone())).await;
    for bomb in &bombs() {
        let call = legacy(1, "tools/call", json!({ "name": TOOL, "_meta": bomb }));
        let reply: Value = serde_json::from_str(&pipe.ask(&call).await).unwrap();
        assert_eq!(reply["result"]["content"][0]["text"], "done", "{reply}");
    }
    let (spans, bytes) = trail.spans().await;
    assert_eq!(spans, [Value::Null, Value::Null, Value::Null, json!("b7ad6b7169203331")]);
    assert!(bytes < 4096, "{bytes} bytes on record");
    assert_eq!(probe.calls(), 4);
}

/// A handler that calls another server takes the trace from its context: from there it has what may go on, and nothing else.
#[tokio::test]
async fn a_handler_finds_what_may_go_on() {
    let relayed = json!({ "traceparent": PARENT, "tracestate": "a=1", "baggage": "plan=gold" });
    for (incoming, trusted) in [(Incoming::Link, json!({})), (Incoming::Trust, relayed)] {
        let found = Arc::new(Mutex::new(Vec::new()));
        let finding = found.clone();
        let probe = Probe::new(move |_, context| {
            finding.lock().unwrap().push(Value::Object(context.meta.0.0));
            async { good() }
        });
        let trace = TraceLayer::new().incoming(incoming);
        let trace = if incoming == Incoming::Trust { trace.baggage(["plan"]) } else { trace };
        let mut pipe = Pipe::open(ServerLayer::new("probe", &Stack::new().trace(trace)).layer(probe)).await;
        let said = json!({ "traceparent": PARENT, "tracestate": "a=1", "baggage": "plan=gold,user=eve" });
        for said in std::iter::once(&said).chain(&bombs()) {
            pipe.ask(&legacy(1, "tools/call", json!({ "name": TOOL, "_meta": said }))).await;
        }
        let mut told = vec![trusted.clone(), json!({}), json!({}), json!({}), json!({})];
        if incoming == Incoming::Trust {
            // Of the last, the span can be read.
            told[4] = json!({ "traceparent": PARENT });
        }
        assert_eq!(*found.lock().unwrap(), told, "{incoming:?}");
    }
}
