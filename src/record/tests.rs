use std::{collections::BTreeMap, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Layer, Service};

use super::RecordLayer;
use crate::{
    call::Request,
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

#[tokio::test(start_paused = true)]
async fn an_answer_a_refusal_and_a_caller_who_leaves_are_told_apart() {
    let series = recorded(async {
        let second = Duration::from_secs(1);
        let refused = Err(Rejected::new("quota", Reason::Quota).into());
        let script =
            Script::new([Step::After(second, Ok(crate::call::Response::new("late"))), Step::Answer(refused), Step::Hang]);
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
