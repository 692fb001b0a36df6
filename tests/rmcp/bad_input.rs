//! Requests that are at fault: the protocol layer answers them as it would without us, and nobody else pays.

use buttress::{
    Stack,
    call::TargetPolicy,
    catalogue::Catalogue,
    metrics::{BREAKER_TRANSITIONS, REJECTIONS, RETRIES, SERVER_DURATION},
    quota::QuotaLayer,
    rmcp::ServerLayer,
};
use governor::Quota;
use rmcp::{
    ServerHandler,
    handler::server::wrapper::Parameters,
    schemars::{self, JsonSchema},
    tool, tool_handler, tool_router,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::Layer;

use crate::{
    raw::{Pipe, Poster, Reply, legacy, modern},
    road::{BODY_CAP, Site},
    series::Series,
};

/// Written as most servers are: with rmcp's macros, which check the arguments.
#[derive(Clone)]
struct Weather;

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
struct Forecast {
    city: String,
    days: u8,
}

#[tool_router]
impl Weather {
    #[tool(description = "The days to come.", annotations(read_only_hint = true))]
    async fn get_forecast(&self, Parameters(Forecast { city, days }): Parameters<Forecast>) -> Result<String, String> {
        if city == "Atlantis" { Err("no such city".to_owned()) } else { Ok(format!("{days} days of sun in {city}")) }
    }
}

#[tool_handler]
impl ServerHandler for Weather {}

/// A body, and the method and name that its headers state.
struct Bad {
    what: &'static str,
    body: String,
    name: &'static str,
    /// The status in the modern era, and in a session of an older one.
    status: [u16; 2],
}

/// An invented name, which must not turn up anywhere.
const INVENTED: &str = "rm_rf_slash";

/// Everything that can be wrong with a call. `request` makes it whole in one era or the other.
fn bad(request: impl Fn(Value, &str, Value) -> Value) -> Vec<Bad> {
    let call = |id: Value, name: &str, arguments: Value| {
        request(id, "tools/call", json!({ "name": name, "arguments": arguments })).to_string()
    };
    let good = json!({ "city": "Oslo", "days": 2 });
    let sound = call(json!(1), "get_forecast", good.clone());
    let case = |what, body, name, status| Bad { what, body, name, status };
    vec![
        case("an unknown tool", call(json!(2), INVENTED, good.clone()), INVENTED, [200, 200]),
        case("JSON that stops", sound[..sound.len() - 3].to_owned(), "get_forecast", [415, 415]),
        case("no JSON at all", "hello?".to_owned(), "get_forecast", [415, 415]),
        case("nothing", String::new(), "get_forecast", [415, 415]),
        case("a batch", format!("[{sound},{sound}]"), "get_forecast", [415, 415]),
        case("an id that is null", call(Value::Null, "get_forecast", good), "get_forecast", [415, 415]),
        case(
            "a wrong type within",
            call(json!(3), "get_forecast", json!({ "city": "Oslo", "days": "two" })),
            "get_forecast",
            [200, 200],
        ),
        case("a field missing", call(json!(4), "get_forecast", json!({ "city": "Oslo" })), "get_forecast", [200, 200]),
        case("arguments that are a list", call(json!(5), "get_forecast", json!([1])), "get_forecast", [404, 200]),
        case(
            "a city that does not exist",
            call(json!(6), "get_forecast", json!({ "city": "Atlantis", "days": 1 })),
            "get_forecast",
            [200, 200],
        ),
        case("an unknown method", request(json!(7), "tools/destroy", json!({})).to_string(), "", [404, 200]),
        case(
            "a body over the cap",
            call(json!(8), "get_forecast", json!({ "city": "x".repeat(BODY_CAP) })),
            "get_forecast",
            [413, 413],
        ),
    ]
}

async fn send(poster: &Poster, bad: &Bad) -> Reply {
    let method = if bad.what == "an unknown method" { "tools/destroy" } else { "tools/call" };
    poster.post_bytes(bad.body.clone(), method, bad.name).await
}

fn assert_good(reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.message()["result"]["content"][0]["text"], "2 days of sun in Oslo", "{reply:?}");
}

/// Bad input left no trace but the calls themselves.
fn assert_nobody_paid(series: &Series) {
    for metric in [RETRIES, BREAKER_TRANSITIONS, REJECTIONS] {
        let counted = series.sum(metric, &[]);
        assert!(counted == 0.0, "{}: {counted}", metric.name);
    }
    assert_eq!(series.values("gen_ai_tool_name"), ["_OTHER", "get_forecast"]);
    assert!(!series.values("mcp_method_name").iter().any(|method| method.contains("destroy")));
    assert!(series.sum(SERVER_DURATION, &[("gen_ai_tool_name", "_OTHER")]) >= 1.0, "the unknown tool's call is counted");
}

#[tokio::test]
async fn modern_bad_requests_are_answered_as_rmcp_answers_them() {
    let series = Series::new();
    let _recording = series.record();
    let layer = ServerLayer::new("weather", &Stack::new());
    let (bare, wrapped) = (Site::open(|| Weather).await, Site::open(move || layer.layer(Weather)).await);
    let (bare, wrapped) = (Poster::modern(&bare), Poster::modern(&wrapped));
    for bad in bad(modern) {
        let (expected, seen) = (send(&bare, &bad).await, send(&wrapped, &bad).await);
        assert_eq!(seen.seen(), expected.seen(), "{}", bad.what);
        assert_eq!(seen.status, bad.status[0], "{}: {seen:?}", bad.what);
        let good = modern(9, "tools/call", json!({ "name": "get_forecast", "arguments": { "city": "Oslo", "days": 2 } }));
        assert_good(&wrapped.post(&good).await);
    }
    assert_nobody_paid(&series);
}

#[tokio::test]
async fn bad_requests_in_a_session_are_answered_as_rmcp_answers_them() {
    let series = Series::new();
    let _recording = series.record();
    let layer = ServerLayer::new("weather", &Stack::new());
    let (bare, wrapped) = (Site::open(|| Weather).await, Site::open(move || layer.layer(Weather)).await);
    let (bare, wrapped) = (Poster::session(&bare).await, Poster::session(&wrapped).await);
    for bad in bad(legacy) {
        let (expected, seen) = (send(&bare, &bad).await, send(&wrapped, &bad).await);
        assert_eq!(seen.seen(), expected.seen(), "{}", bad.what);
        assert_eq!(seen.status, bad.status[1], "{}: {seen:?}", bad.what);
        let good = legacy(9, "tools/call", json!({ "name": "get_forecast", "arguments": { "city": "Oslo", "days": 2 } }));
        // Both, so that the events of both sessions are counted alike.
        for poster in [&bare, &wrapped] {
            assert_good(&poster.post(&good).await);
        }
    }
    assert_nobody_paid(&series);
}

/// Over a pipe rmcp answers some bad lines and drops others; either way the next line is answered.
#[tokio::test]
async fn bad_lines_on_a_pipe_are_answered_as_rmcp_answers_them() {
    let series = Series::new();
    let _recording = series.record();
    let good = legacy(9, "tools/call", json!({ "name": "get_forecast", "arguments": { "city": "Oslo", "days": 2 } }));
    let mut bare = Pipe::open(Weather).await;
    let mut wrapped = Pipe::open(ServerLayer::new("weather", &Stack::new()).layer(Weather)).await;
    for bad in bad(legacy).iter().filter(|bad| bad.what != "a body over the cap") {
        let mut answers = [Vec::new(), Vec::new()];
        for (pipe, lines) in [&mut bare, &mut wrapped].into_iter().zip(&mut answers) {
            pipe.send(&bad.body).await;
            pipe.send(&good.to_string()).await;
            // Whatever the bad line brought, both answers may come in either order.
            let expected = 1 + usize::from(answered_on_a_pipe(bad.what));
            for _ in 0..expected {
                lines.push(pipe.line().await);
            }
            lines.sort_unstable();
        }
        let [expected, seen] = answers;
        assert_eq!(seen, expected, "{}", bad.what);
        assert!(seen.iter().any(|line| line.contains("2 days of sun in Oslo")), "{}: {seen:?}", bad.what);
    }
    assert_nobody_paid(&series);
}

fn answered_on_a_pipe(what: &str) -> bool {
    !matches!(what, "JSON that stops" | "no JSON at all" | "nothing")
}

#[test]
fn a_tool_that_costs_more_than_a_burst_is_refused_where_stack_and_catalogue_meet() {
    let catalogue = Catalogue::new("up").tool("dear", TargetPolicy::default().cost(5.try_into().unwrap()));
    let quota = QuotaLayer::new().per_tenant(Quota::per_minute(4.try_into().unwrap()));
    let refused = ServerLayer::<Weather>::with_catalogue(catalogue.into(), &Stack::new().quota(quota)).unwrap_err().to_string();
    assert!(refused.contains("\"dear\" costs 5") && refused.contains("per tenant is 4"), "{refused}");
}
