use std::{num::NonZeroU32, sync::Arc};

use governor::Quota as GovernorQuota;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tower::service_fn;

use super::{
    super::{BUCKETS, sample::PLACES},
    *,
};
use crate::{
    BoxError, Stack,
    breaker::Force,
    call::{Annotations, Method, Request, Response},
    catalogue::{Catalogue, Scope},
    error::Transport,
    fault::{FaultLayer, Plan, Trouble},
    loop_guard::LoopGuardLayer,
    quota::{Per, QuotaLayer},
};

const TOLD: Process = Process { name: "buttress", version: "1.2.3", uptime_seconds: 4.5, ready: true };

fn told(sample: Sample, watched: &[Watched]) -> Value {
    serde_json::to_value(gather(TOLD, Instant::now(), sample, None, watched)).unwrap()
}

fn catalogue(tools: &[&str]) -> Arc<Catalogue> {
    let catalogue = Catalogue::new("up");
    catalogue.learn(&Method::ToolsCall, Scope::Public, tools.iter().map(|name| (*name, Annotations::default())));
    Arc::new(catalogue)
}

#[tokio::test(start_paused = true)]
async fn what_is_done_by_a_handle_is_seen() {
    let faults = FaultLayer::new();
    let stack = Stack::new()
        .quota(QuotaLayer::new().per_tenant(GovernorQuota::per_minute(NonZeroU32::new(30).unwrap())))
        .loop_guard(LoopGuardLayer::default())
        .fault(faults.clone());
    let catalogue = catalogue(&["say", "hush"]);
    let watched = [Watched::new(&stack, &catalogue)];
    let service = stack.service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));

    let before = told(Sample::default(), &watched);
    let upstream = &before["upstreams"][0];
    assert_eq!((&before["schema"], &before["process"]["version"], &upstream["name"]), (&json!(1), &json!("1.2.3"), &json!("up")));
    assert_eq!(upstream["stacks"][0]["quota"]["limits"], json!([{ "per": "tenant", "calls": 30, "seconds": 60.0 }]));
    assert_eq!(upstream["stacks"][0]["retry"], json!({ "attempts": 3, "tokens": 500, "capacity": 500 }));
    let names = |told: &Value| -> Vec<Value> {
        told["upstreams"][0]["targets"].as_array().unwrap().iter().map(|target| target["name"].clone()).collect()
    };
    assert_eq!(names(&before), ["hush", "say"], "known, and in order, before anybody calls them");
    assert_eq!(upstream["targets"][1]["breaker"], Value::Null);
    assert_eq!(before["transitions"], json!([]));

    let say = catalogue.resolve(&Method::ToolsCall, Some("say"), None);
    service.answer(Request::new(say.clone(), ())).await.unwrap();
    let handles = stack.handles();
    handles.breaker.force(&say, Force::Open);
    tokio::time::advance(Duration::from_secs(7)).await;
    handles.concurrency.set_limit(&say, NonZeroU32::new(9).unwrap());
    drop(handles.concurrency.drain(&say));
    handles.quota.set(Per::ALL, GovernorQuota::per_second(NonZeroU32::new(5).unwrap())).unwrap();
    handles.quota.set_mode(Mode::Observe);
    handles.breaker.set_mode(Mode::Observe);
    handles.concurrency.set_mode(Mode::Observe);
    handles.retry.set_capacity(100).unwrap();
    handles.retry.set_attempts(NonZeroU32::MIN);
    handles.fault.as_ref().unwrap().inject(Plan::all(Trouble::default()));

    let after = told(Sample::default(), &watched);
    let target = &after["upstreams"][0]["targets"][1];
    assert_eq!(target["breaker"]["state"], "open");
    assert_eq!((&target["breaker"]["forced"], &target["breaker"]["since_seconds"]), (&json!(true), &json!(7.0)));
    assert_eq!((&target["slots"]["limit"], &target["slots"]["draining"]), (&json!(9), &json!(true)));
    let told_of = &after["upstreams"][0]["stacks"][0];
    assert_eq!(told_of["quota"]["limits"].as_array().unwrap().len(), 2);
    assert_eq!(told_of["quota"]["mode"], "observe");
    assert_eq!((&told_of["breaker_mode"], &told_of["concurrency_mode"]), (&json!("observe"), &json!("observe")));
    assert_eq!(told_of["retry"], json!({ "attempts": 1, "tokens": 100, "capacity": 100 }));
    assert_eq!(told_of["faults"], true);
    assert_eq!(told_of["loop_guard"]["mode"], "enforce");
    let change = json!({ "seconds_ago": 7.0, "upstream": "up", "method": "tools/call", "name": "say",
        "from": "closed", "to": "open", "cause": "operator" });
    assert_eq!(after["transitions"], json!([change]));
}

#[cfg(all(feature = "audit", feature = "cache"))]
#[tokio::test(start_paused = true)]
async fn cache_and_trail_are_told_where_they_are_on() {
    use crate::{audit::AuditLayer, cache::CacheLayer, call::TargetPolicy};

    /// A disk that is full until somebody makes room.
    #[derive(Clone, Default)]
    struct Disk(Arc<std::sync::atomic::AtomicBool>);
    impl std::io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let has_room = self.0.load(std::sync::atomic::Ordering::SeqCst);
            if has_room { Ok(bytes.len()) } else { Err(std::io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl crate::audit::Sink for Disk {}

    let disk = Disk::default();
    let audit = AuditLayer::new(disk.clone()).unwrap();
    let trail = audit.handle();
    let cache = CacheLayer::new(std::num::NonZeroU64::new(1 << 20).unwrap()).single_caller();
    let stack = Stack::new().audit(audit).cache(cache.clone());
    let policy = TargetPolicy::default().read_only(true).cache_for(Duration::from_secs(60));
    let catalogue = Arc::new(Catalogue::new("up").tool("say", policy));
    let watched = [Watched::new(&stack, &catalogue)];
    let service = stack.service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));
    let of_the_stack = || told(Sample::default(), &watched)["upstreams"][0]["stacks"][0].clone();

    let before = of_the_stack();
    assert_eq!(before["cache"], json!({ "bytes": 0, "entries": 0 }));
    assert_eq!(before["audit"], json!({ "backlog": 0, "failing": false }));
    let call = async || {
        let say = catalogue.resolve(&Method::ToolsCall, Some("say"), None);
        service.answer(Request::new(say, ())).await.unwrap();
        trail.flush().await;
    };
    call().await;
    let after = of_the_stack();
    assert_eq!(after["cache"], json!({ "bytes": cache.bytes(), "entries": 1 }));
    assert!(cache.bytes() > 0);
    assert_eq!(after["audit"]["failing"], true, "{after}");
    disk.0.store(true, std::sync::atomic::Ordering::SeqCst);
    call().await;
    assert_eq!(of_the_stack()["audit"], json!({ "backlog": 0, "failing": false }));

    let off = [Watched::new(&Stack::new(), &catalogue)];
    let off = told(Sample::default(), &off);
    let off = &off["upstreams"][0]["stacks"][0];
    assert_eq!((&off["cache"], &off["audit"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_by_itself_says_why() {
    let stack = Stack::new();
    let catalogue = catalogue(&["say"]);
    let watched = [Watched::new(&stack, &catalogue)];
    let service = stack.service(service_fn(async |_: Request<()>| {
        Err::<Response<()>, BoxError>(Transport::not_sent("connection refused").into())
    }));
    let say = catalogue.resolve(&Method::ToolsCall, Some("say"), None);
    for _ in 0..6 {
        let _ = service.answer(Request::new(say.clone(), ())).await;
    }
    let told = told(Sample::default(), &watched);
    let last = told["transitions"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["to"], &last["cause"]), (&json!("open"), &json!("failures")));
    let breaker = &told["upstreams"][0]["targets"][0]["breaker"];
    assert!(breaker["state"] == "open" && breaker["until_probe_seconds"].is_number(), "{breaker}");
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_are_cut_and_the_one_in_trouble_is_not() {
    let stack = Stack::new();
    let catalogue = Catalogue::new("up").capacity(MAX_TARGETS + 50);
    let names: Vec<String> = (0..MAX_TARGETS + 50).map(|n| format!("tool-{n:05}")).collect();
    catalogue.learn(&Method::ToolsCall, Scope::Public, names.iter().map(|name| (&**name, Annotations::default())));
    let catalogue = Arc::new(catalogue);
    let last = catalogue.resolve(&Method::ToolsCall, names.last().map(String::as_str), None);
    stack.handles().breaker.force(&last, Force::Open);
    let told = told(Sample::default(), &[Watched::new(&stack, &catalogue)]);
    let targets = told["upstreams"][0]["targets"].as_array().unwrap();
    assert_eq!((targets.len(), &told["targets"], &told["targets_left_out"]), (MAX_TARGETS, &json!(MAX_TARGETS + 50), &json!(50)));
    assert_eq!(targets.last().unwrap()["name"], json!(names.last()));
    assert!(told.to_string().len() < 1 << 20);
}

/// From calls to the answer, as far as what an upstream's names may cost.
#[tokio::test(start_paused = true)]
async fn attempts_are_told_where_there_are_few_names_and_null_where_there_are_many() {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap().build_recorder();
    let scrape = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let stack = Stack::new();
    let service = stack.service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));
    for (upstream, names, attempts) in [("few", 32, json!(2)), ("many", 33, Value::Null), ("named", 33, json!(2))] {
        let names: Vec<String> = (0..names).map(|n| format!("tool-{n:05}")).collect();
        let mut catalogue = Catalogue::new(upstream);
        if upstream == "named" {
            catalogue = catalogue.tool(&*names[0], crate::call::TargetPolicy::default());
        }
        catalogue.learn(&Method::ToolsCall, Scope::Public, names.iter().map(|name| (&**name, Annotations::default())));
        let catalogue = Arc::new(catalogue);
        let call = || service.answer(Request::new(catalogue.resolve(&Method::ToolsCall, Some(&names[0]), None), ()));
        call().await.unwrap();
        let earlier = (Instant::now(), Sample::read(&scrape.render()));
        tokio::time::advance(Duration::from_secs(5)).await;
        call().await.unwrap();
        let sample = Sample::read(&scrape.render());
        let told = gather(TOLD, Instant::now(), sample, Some(&earlier), &[Watched::new(&stack, &catalogue)]);
        let told = serde_json::to_value(told).unwrap();
        let told = told["upstreams"].as_array().unwrap().iter().find(|told| told["name"] == upstream).unwrap();
        let target = told["targets"].as_array().unwrap().iter().find(|target| target["name"] == *names[0]).unwrap();
        assert_eq!((&target["calls"], &target["recent"]["calls"]), (&json!(2), &json!(1)));
        assert_eq!(target["attempts"], attempts);
        assert_eq!(target["recent"]["attempts"].is_null(), attempts.is_null(), "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_name_that_is_not_fit_for_a_label_is_told() {
    let stack = Stack::new();
    let hostile = ["<img src=x onerror=alert(1)>", "a\"b", "a\nb", "\u{202e}x"];
    let catalogue = catalogue(&hostile);
    for name in hostile {
        stack.handles().breaker.force(&catalogue.resolve(&Method::ToolsCall, Some(name), None), Force::Open);
    }
    let told = told(Sample::default(), &[Watched::new(&stack, &catalogue)]);
    let targets = told["upstreams"][0]["targets"].as_array().unwrap();
    assert_eq!((targets.len(), &targets[0]["name"]), (1, &json!("_OTHER")));
    assert!(!told.to_string().contains("onerror"));
    assert_eq!(told["transitions"].as_array().unwrap().len(), hostile.len());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_whose_name_is_no_label_is_one_all_the_same() {
    let stack = Stack::new();
    let catalogue = Arc::new(Catalogue::new("two words").tool("say", crate::call::TargetPolicy::default()));
    stack.handles().breaker.force(&catalogue.resolve(&Method::ToolsCall, Some("say"), None), Force::Open);
    let figures = Figures { calls: 3, ..Figures::default() };
    let sample = Sample {
        targets: [(key("two_words", "tools/call", "say"), figures)].into(),
        in_flight: [("two_words".to_owned(), 1)].into(),
    };
    let told = told(sample, &[Watched::new(&stack, &catalogue)]);
    let [upstream] = told["upstreams"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&upstream["name"], &upstream["in_flight"]), (&json!("two words"), &json!(1)));
    let target = &upstream["targets"][0];
    assert_eq!((&target["calls"], &target["breaker"]["state"]), (&json!(3), &json!("open")));
    assert_eq!(told["transitions"][0]["upstream"], "two words");
}

#[tokio::test(start_paused = true)]
async fn what_is_recent_is_what_has_been_added() {
    let of = |calls: u64, refused: u64| {
        let mut figures = Figures { calls, ..Figures::default() };
        figures.errors.insert("rejected".to_owned(), refused);
        let by = |layer: &str, reason: &str| (layer.to_owned(), reason.to_owned());
        figures.refusals = [(by("breaker", "breaker_open"), 4), (by("concurrency", "queue_full"), refused - 4)].into();
        figures.within = [calls - refused; PLACES];
        Sample { targets: [(key("up", "tools/call", "say"), figures)].into(), in_flight: [("up".to_owned(), 3)].into() }
    };
    let earlier = (Instant::now(), of(100, 10));
    tokio::time::advance(Duration::from_secs(20)).await;
    let told = gather(TOLD, Instant::now(), of(150, 20), Some(&earlier), &[]);
    let told = serde_json::to_value(told).unwrap();
    let target = &told["upstreams"][0]["targets"][0];
    assert_eq!((&told["recent_seconds"], &told["upstreams"][0]["in_flight"]), (&json!(20.0), &json!(3)));
    assert_eq!((&target["calls"], &target["errors"]), (&json!(150), &json!({ "rejected": 20 })));
    assert_eq!((&target["recent"]["calls"], &target["recent"]["errors"]), (&json!(50), &json!(10)));
    assert_eq!(target["recent"]["error_types"], json!({ "rejected": 10 }));
    let by = |layer: &str, reason: &str, calls: u64| json!({ "layer": layer, "reason": reason, "calls": calls });
    let queue_full = |calls| by("concurrency", "queue_full", calls);
    assert_eq!(target["refusals"], json!([queue_full(16), by("breaker", "breaker_open", 4)]), "the most first");
    assert_eq!(target["recent"]["refusals"], json!([queue_full(10)]));
    assert_eq!(target["recent"]["p50_seconds"], 0.005);
}
