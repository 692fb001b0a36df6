use std::{collections::BTreeMap, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Layer, Service};

use super::RecordLayer;
use crate::{
    call::{ErrorObject, Request, Response},
    error::{Reason, Rejected},
    testing::{Script, Step, tool},
};

type Series = BTreeMap<String, DebugValue>;

/// What is recorded while `f` runs, by name and non-empty labels.
async fn recorded(f: impl Future<Output = ()>) -> Series {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    {
        let _installed = metrics::set_default_local_recorder(&recorder);
        f.await;
    }
    let line = |key: &metrics::Key| {
        let labels: Vec<String> = key
            .labels()
            .filter(|label| !label.value().is_empty())
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        format!("{}{{{}}}", key.name(), labels.join(","))
    };
    snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| (line(key.key()), value)).collect()
}

fn durations(series: &Series, error_type: &str) -> Vec<f64> {
    let wanted =
        format!("mcp_server_operation_duration_seconds{{upstream=up,mcp_method_name=tools/call,gen_ai_tool_name=t{error_type}}}");
    match series.get(&wanted) {
        Some(DebugValue::Histogram(samples)) => samples.iter().map(|sample| sample.into_inner()).collect(),
        other => panic!("{wanted}: {other:?} in {:?}", series.keys()),
    }
}

/// How many calls are under way, as the gauge says that nobody has asked since.
fn in_flight(series: &Series) -> f64 {
    match series["buttress_requests_in_flight{upstream=up}"] {
        DebugValue::Gauge(value) => value.into_inner(),
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_counted_as_such() {
    let mut left = None;
    let series = recorded(async {
        let mut service = RecordLayer::new().layer(Script::new([Step::Hang]));
        let mut call = Box::pin(service.call(Request::new(tool("t"), ())));
        let _ = futures_util::poll!(&mut call);
        left = Some(call);
    })
    .await;
    assert_eq!(in_flight(&series), 1.0);
    drop(left);
}

/// A code that an application made up has no label of its own; one of the specification's has.
#[tokio::test(start_paused = true)]
async fn codes_without_a_label_are_counted() {
    let series = recorded(async {
        let error = |code| Step::Answer(Ok(Response::from_error(ErrorObject::new(code, "no"))));
        let mut service = RecordLayer::new().layer(Script::new([error(1001), error(-32602), error(1002)]));
        let target = tool("t");
        for _ in 0..3 {
            let _ = service.call(Request::new(target.clone(), ())).await;
        }
    })
    .await;
    let overflow = &series["buttress_metric_label_overflow_total{upstream=up,label=rpc_response_status_code}"];
    assert_eq!(*overflow, DebugValue::Counter(2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_a_refusal_and_a_caller_who_leaves_are_told_apart() {
    let series = recorded(async {
        let second = Duration::from_secs(1);
        let refused = Err(Rejected::new("quota", Reason::Quota).into());
        let script = Script::new([Step::After(second, Ok(Response::new("late"))), Step::Answer(refused), Step::Hang]);
        let mut service = RecordLayer::new().layer(script);
        let target = tool("t");
        let _ = service.call(Request::new(target.clone(), ())).await;
        let _ = service.call(Request::new(target.clone(), ())).await;
        let left = service.call(Request::new(target, ()));
        let _ = tokio::time::timeout(2 * second, left).await;
    })
    .await;
    assert_eq!(durations(&series, ""), [1.0]);
    assert_eq!(durations(&series, ",error_type=rejected"), [0.0]);
    assert_eq!(durations(&series, ",error_type=cancelled"), [2.0]);
    assert_eq!(series["buttress_requests_in_flight{upstream=up}"], DebugValue::Gauge(0.0.into()));
    assert_eq!(
        series["buttress_rejections_total{upstream=up,mcp_method_name=tools/call,gen_ai_tool_name=t,layer=quota,reason=quota}"],
        DebugValue::Counter(1)
    );
}
