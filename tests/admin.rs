//! The admin listener, asked over HTTP as Prometheus, an orchestrator and a browser ask it.

use std::sync::Arc;

use buttress::{
    Stack,
    admin::{Admin, Metrics},
    call::{Method, Request, Response},
    catalogue::Catalogue,
};
use reqwest::{
    StatusCode,
    header::{HOST, HeaderMap},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower::service_fn;

#[tokio::test]
async fn metrics_health_and_readiness() {
    let metrics = Metrics::install().unwrap();
    assert!(Metrics::install().is_err(), "a process has one recorder");

    let stack = Stack::new();
    let service = stack.service(service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new("done"))));
    let catalogue = Arc::new(Catalogue::new("up").tool("say", Default::default()).tool("never asked for", Default::default()));
    for name in ["say", "say", "made up\"\n", "also made up"] {
        let target = catalogue.resolve(&Method::ToolsCall, Some(name), None);
        service.answer(Request::new(target, ())).await.unwrap();
    }

    let admin = Admin::bind(([127, 0, 0, 1], 0)).await.unwrap().allocated(|| 4711);
    admin.watch(&stack, &catalogue);
    let (address, readiness) = (admin.local_addr(), admin.readiness());
    assert!(Admin::bind(address).await.is_err(), "the address is taken");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(admin.serve(metrics, async {
        let _ = stopped.await;
    }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get_as = async |host: &str, path: &str| -> (StatusCode, HeaderMap, String) {
        let response = http.get(format!("http://{address}{path}")).header(HOST, host).send().await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    };
    let get = async |path: &str| get_as(&address.to_string(), path).await;

    let (status, headers, text) = get("/metrics").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
    let line = |name: &str, tool: &str| {
        let all = text.lines().filter(|line| line.starts_with(name) && line.contains(&format!("gen_ai_tool_name=\"{tool}\"")));
        all.map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(line("mcp_server_operation_duration_seconds_count", "say"), ["2"]);
    assert_eq!(line("mcp_client_operation_duration_seconds_count", "_OTHER"), ["2"]);
    assert!(line("mcp_server_operation_duration_seconds_bucket", "say").len() == 15, "14 bounds and infinity");
    assert!(!text.contains("made up"), "an invented name is no label");
    assert!(text.contains("# HELP mcp_server_operation_duration_seconds "));
    let closed = text.lines().find(|line| line.contains("_state{") && line.contains("\"say\"") && line.contains("\"closed\""));
    assert!(
        closed.is_some_and(|line| line.starts_with("buttress_circuit_breaker_state{") && line.ends_with("} 1")),
        "{closed:?}"
    );

    assert_eq!(get("/healthz").await.0, StatusCode::OK);
    assert_eq!(get("/readyz").await.0, StatusCode::OK);
    readiness.set(false);
    assert_eq!(get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/healthz").await.0, StatusCode::OK);
    assert_eq!(get("/nowhere").await.0, StatusCode::NOT_FOUND);

    // Of the build, the runtime and the process. What is sampled is there once the first sample is.
    let mut text = get("/metrics").await.2;
    while !text.contains("tokio_runtime_worker_busy_ratio{") || !text.contains("lag_duration_seconds_bucket") {
        text = get("/metrics").await.2;
    }
    let version = format!("buttress_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(text.lines().any(|line| line == version), "{version}");
    let has = |name: &str| text.lines().any(|line| line.starts_with(name));
    assert!(text.lines().any(|line| line == "buttress_allocated_bytes 4711"), "what the program says of its allocator");
    for name in ["tokio_runtime_workers ", "tokio_runtime_alive_tasks ", "tokio_runtime_global_queue_depth "] {
        assert!(has(name), "{name}");
    }
    assert!(has("tokio_runtime_worker_busy_ratio{worker=\"0\"} ") && has("buttress_event_loop_lag_duration_seconds_bucket"));
    #[cfg(target_os = "linux")]
    assert!(has("process_resident_memory_bytes ") && has("# HELP process_open_fds "));

    // What people see.
    let (status, headers, text) = get("/status").await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"application/json".parse().unwrap()));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["schema"], &told["process"]["ready"], &told["targets"]), (&json!(1), &json!(false), &json!(2)));
    let upstream = &told["upstreams"][0];
    assert_eq!((&upstream["name"], &upstream["in_flight"]), (&json!("up"), &json!(0)));
    let targets = upstream["targets"].as_array().unwrap();
    // The tool whose name is no label shares a line with the invented ones.
    let of = |name: &str| targets.iter().find(|target| target["name"] == name).unwrap();
    for name in ["say", "_OTHER"] {
        let target = of(name);
        assert_eq!((&target["method"], &target["calls"], &target["attempts"]), (&json!("tools/call"), &json!(2), &json!(2)));
        assert_eq!((&target["breaker"]["state"], &target["slots"]["limit"]), (&json!("closed"), &json!(64)));
    }
    assert!(!text.contains("made up") && !text.contains("never asked"), "{text}");
    let (_, headers, page) = get("/").await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers.get_all("content-type").iter().collect::<Vec<_>>(), ["text/html; charset=utf-8"]);
    assert!(!page.contains("style=") && !page.contains("http"), "what the policy forbids, and what lies elsewhere");
    for asset in ["/page.js", "/page.css", "/icon.svg"] {
        assert!(page.contains(&asset[1..]) && get(asset).await.0 == StatusCode::OK, "{asset}");
    }

    // A name that somebody has pointed here.
    for path in ["/", "/status", "/metrics", "/healthz"] {
        let (status, _, text) = get_as("evil.example:80", path).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(text.contains("localhost"), "{text}");
        assert_eq!(get_as("localhost", path).await.0, StatusCode::OK, "{path}");
    }

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
