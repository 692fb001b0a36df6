//! The admin page in a real browser, and a server that does to it whatever it should show.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{Router, routing::post};
use buttress::{
    BoxError, Stack,
    admin::{Admin, Metrics},
    call::{Annotations, Method, Request, Response},
    catalogue::{Catalogue, Scope},
    error::Transport,
    retry::RetryLayer,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, time::interval};
use tower::service_fn;

use crate::script;

const HOSTILE: &str = "<img src=x onerror=alert(1)>";

#[tokio::test]
#[ignore = "interop: needs Chromium"]
async fn the_page_shows_what_happens_and_says_when_it_cannot() {
    let metrics = Metrics::install().expect("no other test of this process installs a recorder");
    let stack = Stack::new().retry(RetryLayer::off());
    let catalogue = Arc::new(Catalogue::new(HOSTILE));
    let tools = ["steady", "flaky", HOSTILE].map(|name| (name, Annotations::default()));
    catalogue.learn(&Method::ToolsCall, Scope::Public, tools);
    let service = stack.service(service_fn(async |call: Request<()>| match call.head.target.name() {
        Some("flaky") => Err::<Response<()>, BoxError>(Transport::not_sent("connection refused").into()),
        _ => Ok(Response::new(())),
    }));
    let call = {
        let catalogue = catalogue.clone();
        move |name: &'static str| {
            let target = catalogue.resolve(&Method::ToolsCall, Some(name), None);
            service.answer(Request::new(target, ()))
        }
    };

    let admin = Admin::bind(([127, 0, 0, 1], 0)).await.expect("a free port");
    admin.watch(&stack, &catalogue);
    let page = format!("http://{}/", admin.local_addr());
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let serving = tokio::spawn(admin.serve(metrics, async move { stopped.notified().await }));

    let steady = call.clone();
    let load = tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            let _ = steady("steady").await;
            let _ = steady(HOSTILE).await;
        }
    });
    let fail = move || async move {
        for _ in 0..7 {
            let _ = call("flaky").await;
        }
    };
    let control = Router::new().route("/fail", post(fail)).route("/stop", post(async move || stop.notify_one()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let control_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let controlling = tokio::spawn(async { axum::serve(listener, control).await });

    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let seen = script::node("browser/page.mjs", &[&page, &control_url, pictures.to_str().expect("the path is UTF-8")]).await;
    load.abort();
    controlling.abort();
    serving.await.expect("it does not panic").expect("it ends in peace");
    println!("{seen}");

    assert_eq!((&seen["complaintsWhileUp"], &seen["dialogs"]), (&json!(0), &json!(0)));
    assert_eq!((&seen["upstream"], &seen["hostile"]), (&json!(HOSTILE), &json!(1)), "names are text");
    assert_eq!((&seen["images"], &seen["link"]), (&json!(1), &json!("Live")));
    assert_eq!((&seen["headers"], &seen["overflows"]), (&json!(9), &json!(false)));
    assert!(text(&seen["breaker"]).starts_with("Open, probe in "), "{}", seen["breaker"]);
    assert!(text(&seen["transition"]).contains("flaky") && text(&seen["transition"]).contains("too many failures"));
    assert_eq!(seen["title"], "(1 open) Buttress");
    assert!(text(&seen["stale"]).contains("cannot be reached") && text(&seen["stale"]).contains("stale since"));
    assert_eq!((&seen["lost"], &seen["kept"]), (&json!("Lost"), &json!(1)), "what was seen last stays in sight");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
