use std::net::Ipv4Addr;

use buttress::{
    BoxError, Stack,
    call::{ErrorObject, Method, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    trace::TraceLayer,
};
use tower::service_fn;

use super::*;

/// A call that is repeated, and one that is not: over OTLP, and onto the page.
#[tokio::test(flavor = "multi_thread")]
async fn traces_are_shown_as_trees() {
    let address = listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let page = async |path| {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        http.get(format!("http://{address}{path}")).send().await.expect("an answer").text().await.expect("a text")
    };
    assert!(page("/").await.starts_with("None yet"));

    let otlp = Otlp::to(&format!("http://{address}/v1/traces"), "test").expect("a collector");
    let sending = tracing::subscriber::set_default(tracing_subscriber::registry().with(otlp.layer()));
    let handler = service_fn(async |call: Request<&'static str>| {
        let fails = call.params == "twice" && call.head.attempt == 0;
        Ok::<_, BoxError>(if fails { Response::from_error(ErrorObject::new(-32603, "no luck")) } else { Response::new(()) })
    });
    let service = Stack::new().trace(TraceLayer::new()).service(handler);
    let catalogue = Catalogue::new("up").tool("say", TargetPolicy::default().idempotent(true));
    for params in ["twice", "once"] {
        let target = catalogue.resolve(&Method::ToolsCall, Some("say"), None);
        service.answer(Request::new(target, params)).await.expect("an answer");
    }
    drop(sending);
    spawn_blocking(move || drop(otlp)).await.expect("it is sent");

    let said = |text: String| -> Vec<String> {
        let words = |line: &str| {
            line.split_once(" at ").map_or(line, |(name, _)| name).trim_end().to_owned()
                + line.rsplit(" ms ").next().unwrap_or("")
        };
        text.lines().map(words).collect()
    };
    let call = "tools/call say (Server) ok attempt".to_owned();
    let failed = "  tools/call say (Client) ambiguous -32603".to_owned();
    let good = "  tools/call say (Client) ok".to_owned();
    let twice = [call.clone(), failed, good.clone(), String::new()];
    let once = [call, good, String::new()];
    assert_eq!(said(page("/").await), [&once[..], &twice].concat());
    assert_eq!(said(page("/trouble").await), twice);
}

#[test]
fn only_the_last_traces_are_kept() {
    let mut kept = Kept::default();
    let span = |n: u32| opentelemetry_proto::tonic::trace::v1::Span {
        trace_id: n.to_be_bytes().to_vec(),
        span_id: n.to_be_bytes().to_vec(),
        name: format!("span {n}"),
        ..Default::default()
    };
    kept.extend((0..10_000).map(span));
    let text = kept.text(false);
    assert!(text.starts_with("span 9999 ") && text.len() < 10_000, "{}", text.len());
}
