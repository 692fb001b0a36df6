//! Requests that make no sense, over HTTP: each is answered as it would be without the stack, and leaves no trace but its count.

use buttress::metrics::{BREAKER_TRANSITIONS, REJECTIONS, RETRIES, SERVER_DURATION};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    ask::{Ask, FORECAST, INVENTED, TOOLS},
    bench::{bare, calm},
    binary::Site,
    client::Era,
    message::{Message, Session},
    series::Series,
};

/// More than the example takes.
const TOO_LARGE: usize = 1024 * 1024 + 1;

/// What is wrong, the request, its status, and what is said about it.
type Case = (&'static str, Message, StatusCode, &'static str);

fn forecast(city: Value, days: Value) -> Value {
    json!({ "name": FORECAST, "arguments": { "city": city, "days": days } })
}

/// Each kind of nonsense, as a client of `era` would send it.
fn nonsense(era: Era, session: &Session) -> Vec<Case> {
    let request = |method: &str, params: Value| match era {
        Era::Legacy => Message::request(1, method, params).with(session.headers()),
        Era::Modern => Message::modern(method, params),
    };
    let raw = |body: String| match era {
        Era::Legacy => Message::raw(body).with(session.headers()),
        Era::Modern => Message::raw(body).modern_headers("tools/call").with([("mcp-name", FORECAST.to_owned())]),
    };
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": forecast(json!("Oslo"), json!(2)) });
    let mut without_id = call.clone();
    without_id["id"] = Value::Null;
    let unknown_method = match era {
        Era::Legacy => StatusCode::OK,
        Era::Modern => StatusCode::NOT_FOUND,
    };
    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    vec![
        ("an unknown tool", request("tools/call", json!({ "name": INVENTED })), StatusCode::OK, "-32602"),
        ("a city of a wrong type", request("tools/call", forecast(json!(7), json!(2))), StatusCode::OK, "invalid type"),
        ("days out of range", request("tools/call", forecast(json!("Oslo"), json!(17))), StatusCode::OK, "from 1 to 16"),
        ("an unknown city", request("tools/call", forecast(json!("Atlantis"), json!(2))), StatusCode::OK, "No city called"),
        ("an unknown method", request("tools/conjure", json!({})), unknown_method, "-32601"),
        ("malformed JSON", raw("{\"jsonrpc\": \"2.0\", \"id\": 1, \"meth".to_owned()), unsupported, ""),
        ("a batch", raw(json!([call]).to_string()), unsupported, ""),
        ("an id that is null", raw(without_id.to_string()), unsupported, ""),
        ("a body over the cap", raw(" ".repeat(TOO_LARGE)), StatusCode::PAYLOAD_TOO_LARGE, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_as_without_the_stack_and_leaves_no_trace() {
    let backend = calm().await;
    let site = Site::asking(&backend.url()).await;
    let bare = bare(&backend.url(), TOO_LARGE - 1).await;
    for era in Era::BOTH {
        let (ours, theirs) = (Session::open(&site.mcp).await, Session::open(&bare).await);
        for (case, theirs) in nonsense(era, &ours).into_iter().zip(nonsense(era, &theirs)) {
            let (what, message, status, said) = case;
            let answer = message.answer(&site.mcp).await;
            assert_eq!(answer, theirs.1.answer(&bare).await, "{what}, {era:?}: with the stack (left) and without (right)");
            assert_eq!(answer.status, status, "{what}, {era:?}: {answer:?}");
            assert!(answer.body.contains(said), "{what}, {era:?}: {answer:?}");
        }
    }

    // The server lives on.
    for era in Era::BOTH {
        assert!(Ask::forecast("Oslo").put(&era.over_http(&site.mcp).await).await.is("ok"));
    }
    let series = Series::at_rest(&site.metrics).await;
    for metric in [BREAKER_TRANSITIONS, RETRIES, REJECTIONS] {
        assert_eq!(series.sum(metric, &[]), 0, "{}", metric.name);
    }
    let of = |tool: &str, error: &str| series.sum(SERVER_DURATION, &[("gen_ai_tool_name", tool), ("error_type", error)]);
    assert_eq!((of(FORECAST, ""), of(FORECAST, "tool_error"), of("_OTHER", "")), (2, 6, 2));
    let others = TOOLS.into_iter().chain(["", "_OTHER"]).collect();
    assert!(series.values("gen_ai_tool_name").is_subset(&others), "{series:?}");
    let methods = series.values("mcp_method_name");
    assert!(methods.iter().all(|method| *method == "_OTHER" || !method.contains("conjure")), "{methods:?}");
}
