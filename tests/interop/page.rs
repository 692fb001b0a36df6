//! The admin page in a real browser, and a server that does to it whatever it should show.

use std::{collections::BTreeSet, process::Stdio, sync::Arc, time::Duration};

use axum::{Router, routing::post};
use buttress::{
    BoxError, Stack,
    admin::{Admin, Metrics},
    breaker::Force,
    call::{Annotations, Method, Request, Response},
    catalogue::{Catalogue, Scope},
    error::Transport,
    retry::RetryLayer,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::Command,
    sync::{Mutex, Notify},
    time::{interval, sleep, timeout},
};
use tower::service_fn;

use crate::{script, weather};

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
    let serving = tokio::spawn(admin.serve(metrics.clone(), async move { stopped.notified().await }));

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

    let seen = script::node("browser/page.mjs", &[&page, &control_url, pictures()]).await;
    load.abort();
    controlling.abort();
    serving.await.expect("it does not panic").expect("it ends in peace");
    println!("{seen}");

    assert_eq!((&seen["complaintsWhileUp"], &seen["dialogs"]), (&json!(0), &json!(0)));
    assert_eq!((&seen["upstream"], &seen["hostile"]), (&json!(HOSTILE), &json!(1)), "names are text");
    assert_eq!((&seen["images"], &seen["link"]), (&json!(1), &json!("Live")));
    assert_eq!((&seen["headers"], &seen["overflows"]), (&json!(9), &json!(false)));
    assert!(text(&seen["breaker"]).starts_with("Open, probe in "), "{}", seen["breaker"]);
    assert!(text(&seen["why"]).contains(" × breaker open"), "{}", seen["why"]);
    assert!(text(&seen["transition"]).contains("flaky") && text(&seen["transition"]).contains("too many failures"));
    assert_eq!(seen["title"], "(1 open) Buttress");
    assert!(text(&seen["stale"]).contains("cannot be reached") && text(&seen["stale"]).contains("stale since"));
    assert_eq!((&seen["lost"], &seen["kept"]), (&json!("Lost"), &json!(1)), "what was seen last stays in sight");
    assert_eq!(seen["saidOnce"], true, "an alert is not read out again and again");
    assert_eq!(seen["flickers"], json!([]));
    assert_eq!(seen["faint"], json!([]));
    assert_eq!(seen["first"], "flaky", "trouble comes first");
    let places: Vec<&str> = seen["tabs"].as_array().expect("a list").iter().map(|place| text(&place["name"])).collect();
    assert_eq!((&seen["hidden"], &seen["pressed"]), (&json!(true), &json!(1)));
    assert!(text(&seen["more"]).starts_with("since the start: "), "{}", seen["more"]);
    assert_eq!(
        places,
        ["Details", &*format!("Tools of {HOSTILE}"), "Last breaker transitions", "/status", "/metrics", "/readyz"]
    );
    assert!(seen["tabs"].as_array().expect("a list").iter().all(|place| place["shown"] == true), "{}", seen["tabs"]);

    a_thousand_tools(metrics).await;
}

/// One of them is in trouble, and one has a name that is not fit for a label.
async fn a_thousand_tools(metrics: Metrics) {
    const TOOLS: usize = 1_000;
    let (stack, catalogue) = (Stack::new(), Catalogue::new("crowd").capacity(2 * TOOLS));
    let names: Vec<String> = (0..TOOLS).map(|n| format!("tool-{n:04}")).chain(["天気".to_owned()]).collect();
    catalogue.learn(&Method::ToolsCall, Scope::Public, names.iter().map(|name| (&**name, Annotations::default())));
    let catalogue = Arc::new(catalogue);
    let service = stack.service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
    for name in &names {
        let target = catalogue.resolve(&Method::ToolsCall, Some(name), None);
        service.answer(Request::new(target, ())).await.expect("an answer");
    }
    stack.handles().breaker.force(&catalogue.resolve(&Method::ToolsCall, Some("tool-0777"), None), Force::Open);
    let admin = Admin::bind(([127, 0, 0, 1], 0)).await.expect("a free port");
    admin.watch(&stack, &catalogue);
    let page = format!("http://{}/", admin.local_addr());
    let serving = tokio::spawn(admin.serve(metrics, std::future::pending()));

    let seen = script::node("browser/crowd.mjs", &[&page, &TOOLS.to_string(), pictures()]).await;
    serving.abort();
    println!("{seen}");
    assert_eq!((&seen["complaints"], &seen["overflows"]), (&json!([]), &json!(false)));
    assert!(text(&seen["top"]).starts_with("tool-0777Open, forced") && seen["second"] == "tool-0000", "{seen}");
    assert_eq!((&seen["rows"], &seen["others"]), (&json!(TOOLS + 1), &json!(["other names"])));
    let figure = |name: &str| seen[name].as_f64().expect("a number");
    assert!(figure("bytes") < 600_000.0, "{} bytes of /status", figure("bytes"));
    assert!(figure("tallest") < 60.0, "names of {} px on a narrow page", figure("tallest"));
    // Once a second, it must not be felt. The bound is generous to a machine that is busy with other things.
    assert!(figure("again") < 250.0, "{} ms to show a thousand tools", figure("again"));
}

/// The program that the README names, driven as it says; gone; and back where nobody listens at its backend's address.
#[tokio::test]
#[ignore = "interop: needs Chromium"]
async fn the_page_of_the_weather_example() {
    let _alone = weather::alone().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let start = move |more: &[&str]| {
        let mut command = Command::new(weather::program());
        command.args(["--listen", "127.0.0.1:0", "--drive", "4", "--admin", &free.to_string()]).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("the example starts")
    };
    let running = Arc::new(Mutex::new(start(&[])));
    let stopped = running.clone();
    let stop = async move || stopped.lock().await.kill().await.expect("it can be killed");
    let begin = async move || *running.lock().await = start(&["--api", "http://127.0.0.1:9"]);
    let control = Router::new().route("/stop", post(stop)).route("/start", post(begin));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let control_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let controlling = tokio::spawn(async { axum::serve(listener, control).await });
    let page = format!("http://{free}/");
    answers(&page).await;

    let seen = script::node("browser/weather.mjs", &[&page, &control_url, pictures()]).await;
    controlling.abort();
    println!("{seen}");
    assert_eq!((&seen["whileUp"], &seen["whileBack"], &seen["overflows"]), (&json!([]), &json!([]), &json!(false)));
    assert_eq!(seen["faint"], json!([]));
    let tools: BTreeSet<&str> = seen["tools"].as_array().expect("a list").iter().map(text).collect();
    assert_eq!(tools, BTreeSet::from(["get_forecast", "get_weather", "report_observation"]));
    assert!(text(&seen["stale"]).contains("cannot be reached"), "{}", seen["stale"]);
    let open = seen["open"].as_array().expect("a list");
    assert!(open.iter().any(|badge| text(badge).to_lowercase().contains("open")), "{open:?}");
    assert!(text(&seen["title"]).ends_with(" open) Buttress"), "{}", seen["title"]);
}

/// Waits until somebody answers there.
async fn answers(url: &str) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let asking = async {
        while http.get(url).send().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), asking).await.expect("the example becomes ready in time");
}

/// Where pictures are left.
fn pictures() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
