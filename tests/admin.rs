//! The admin listener, asked over HTTP as Prometheus and an orchestrator ask it.

use buttress::{
    Stack,
    admin::{Admin, Metrics},
    call::{Method, Request, Response},
    catalogue::Catalogue,
};
use reqwest::StatusCode;
use tokio::sync::oneshot;
use tower::service_fn;

#[tokio::test]
async fn metrics_health_and_readiness() {
    let metrics = Metrics::install().unwrap();
    assert!(Metrics::install().is_err(), "a process has one recorder");

    let service =
        Stack::new().service(service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new("done"))));
    let catalogue = Catalogue::new("up").tool("say", Default::default());
    for name in ["say", "say", "made up\"\n", "also made up"] {
        let target = catalogue.resolve(&Method::ToolsCall, Some(name), None);
        service.answer(Request::new(target, ())).await.unwrap();
    }

    let admin = Admin::bind(([127, 0, 0, 1], 0)).await.unwrap();
    let (address, readiness) = (admin.local_addr(), admin.readiness());
    assert!(Admin::bind(address).await.is_err(), "the address is taken");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(admin.serve(metrics, async {
        let _ = stopped.await;
    }));
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    };

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
    assert_eq!(get("/").await.0, StatusCode::NOT_FOUND);

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
