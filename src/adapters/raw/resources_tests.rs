//! Reads of resources find the template that covers them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tower::service_fn;

use super::{RawAnswer, RawCall, RawMessage};
use crate::{
    BoxError, Stack, StackService,
    breaker::{BreakerLayer, Policy, Settings},
    call::{CallParams, Caller, ErrorObject, Method, Request, Response},
    catalogue::Catalogue,
    classify::code,
    retry::RetryLayer,
};

const LISTED: &str = r#"[{"uriTemplate":"logs://{day}","name":"logs"},{"uriTemplate":"notes://{+name}","name":"notes"},7,
    {"name":"no template"},{"uriTemplate":7},{"uriTemplate":"odd://{"},{"uriTemplate":"a","uriTemplate":"b"}]"#;

/// An upstream whose logs cannot be read, and which counts what it is asked.
struct Upstream {
    catalogue: Catalogue,
    service: StackService<RawMessage, RawAnswer>,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    fn new() -> Self {
        let settings = Settings { consecutive_failures: 1, ..Settings::default() };
        let breaker = BreakerLayer::new(Policy::try_new(settings).unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let handler = service_fn({
            let asked = asked.clone();
            move |call: Request<RawMessage>| {
                asked.fetch_add(1, Ordering::Relaxed);
                let uri = call.params.name().unwrap_or_default().into_owned();
                let answer = match call.head.method() {
                    Method::ResourcesTemplatesList => format!(r#"{{"id":1,"result":{{"resourceTemplates":{LISTED}}}}}"#),
                    _ if uri.starts_with("logs:") => {
                        r#"{"id":1,"error":{"code":-32603,"message":"the disk is on fire"}}"#.to_owned()
                    }
                    _ => r#"{"id":1,"result":{"contents":[]}}"#.to_owned(),
                };
                async move { Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer.into())?)) }
            }
        });
        let service = Stack::new().retry(RetryLayer::off()).breaker(breaker).service(handler);
        Self { catalogue: Catalogue::new("up"), service, asked }
    }

    /// The answer's error code; 0 where it is a result.
    async fn ask(&self, method: &str, params: Value) -> i64 {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let call = RawCall::parse(message.to_string().into()).unwrap();
        let response = self.service.answer(call.request(&self.catalogue, Caller::default())).await.unwrap();
        call.learn(&self.catalogue, &Caller::default(), &response);
        let answer: Value = serde_json::from_slice(&call.answer(response)).unwrap();
        answer["error"]["code"].as_i64().unwrap_or_default()
    }

    async fn read(&self, uri: &str) -> i64 {
        self.ask("resources/read", json!({ "uri": uri })).await
    }
}

#[tokio::test(start_paused = true)]
async fn one_sick_kind_of_resource_leaves_the_others_alone() {
    let upstream = Upstream::new();
    assert_eq!(upstream.ask("resources/templates/list", json!({})).await, 0);
    assert_eq!((upstream.read("logs://monday").await, upstream.read("logs://tuesday").await), (code::INTERNAL_ERROR, 503));
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 2, "the second is refused here");
    assert_eq!((upstream.read("notes://a/b").await, upstream.read("other://c").await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn resources_without_a_template_share_one_entry() {
    let upstream = Upstream::new();
    assert_eq!((upstream.read("logs://monday").await, upstream.read("notes://a/b").await), (code::INTERNAL_ERROR, 503));
}

#[test]
fn a_read_that_cannot_be_told_is_refused() {
    let parse = |params: &str| RawCall::parse(format!(r#"{{"id":1,"method":"resources/read","params":{params}}}"#).into());
    for odd in ["[]", "7", r#"{"uri":7}"#, r#"{"uri":"a://1","uri":"b://2"}"#, r#"{"uri":"\ud800"}"#] {
        assert_eq!(parse(odd).map_err(|ErrorObject { code, .. }| code), Err(code::INVALID_PARAMS), "{odd}");
    }
    let catalogue = Catalogue::new("up").resource_template("a://{x}", Default::default()).unwrap();
    let long = format!(r#"{{"uri":"a://{}/"}}"#, "x".repeat(10_000));
    for none in ["{}", r#"{"uri":null}"#, r#"{"uri":""}"#, r#"{"uri":"\u0000\n"}"#, r#"{"name":"a://1"}"#, &long] {
        let target = parse(none).unwrap().request(&catalogue, Caller::default()).head.target;
        assert_eq!((target.method(), target.name()), (&Method::ResourcesRead, None), "{none:.40}");
    }
    let read = |uri| parse(&json!({ "uri": uri }).to_string()).unwrap().request(&catalogue, Caller::default());
    assert_eq!(read("a://1").head.target.name(), Some("a://{x}"));
    assert_eq!(read("a://1").params.name().as_deref(), Some("a://1"), "the same before and after it is listed");
}
