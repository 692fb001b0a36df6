//! A server that answers whatever it is asked, and what is asked of it.

use buttress::{
    BoxError, Stack,
    call::{Caller, Method, Request, Response},
    catalogue::Catalogue,
    raw::{RawAnswer, RawCall, RawMessage},
    stack::StackService,
};
use bytes::Bytes;
use serde_json::json;
use tower::service_fn;

pub struct Server {
    pub service: StackService<RawMessage, RawAnswer>,
    pub catalogue: Catalogue,
}

impl Server {
    /// Answers every call; a list, with the tools of these names, or the resource templates.
    pub fn new(upstream: &'static str, listed: &[String]) -> Self {
        let tools: Vec<_> = listed.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
        let templates: Vec<_> = listed.iter().map(|text| json!({"uriTemplate": text, "name": "one of many"})).collect();
        let result = json!({"tools": tools, "resourceTemplates": templates});
        let list = Bytes::from(json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string());
        let done = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
        Self::with(&Stack::new(), upstream, move |call| {
            let listing = matches!(call.head.method(), Method::ToolsList | Method::ResourcesTemplatesList);
            let answer = if listing { list.clone() } else { done.clone() };
            Ok(Response::new(RawAnswer::parse(answer)?))
        })
    }

    /// Answers each call like this.
    pub fn with<F>(stack: &Stack, upstream: &'static str, answer: F) -> Self
    where
        F: Fn(&Request<RawMessage>) -> Result<Response<RawAnswer>, BoxError> + Clone + Send + Sync + 'static,
    {
        let handler = service_fn(move |call: Request<RawMessage>| {
            let answer = answer.clone();
            async move { answer(&call) }
        });
        Self { service: stack.service(handler), catalogue: Catalogue::new(upstream) }
    }

    /// Whether a call is answered with a result.
    pub async fn call(&self, method: &str, name: &str) -> bool {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "uri": name}}).to_string();
        let call = RawCall::parse(message.into()).unwrap();
        let caller = Caller::of_tenant("t");
        let response = self.service.answer(call.request(&self.catalogue, caller.clone())).await.unwrap();
        call.learn(&self.catalogue, &caller, &response);
        call.answer(response).windows(8).any(|bytes| bytes == b"\"result\"")
    }
}

/// The `n`-th name that nobody listed, or that is no name.
pub fn invented(n: u32) -> String {
    match n % 1000 {
        0 => format!("{n}{}", "x".repeat(10_000)),
        1 => format!("a\"b{n}"),
        2 => format!("a\nb{n}"),
        3 => format!("a\\{n}\\\""),
        4 => format!("\u{202e}\0{n}"),
        5 => format!("}} 1\nup{{x=\"{n}"),
        _ => format!("made_up_{n}"),
    }
}

/// Most of ten thousand are plain names.
pub fn hostile() -> Vec<String> {
    (0..10_000).map(|n| if n % 10 == 0 { invented(n / 10) } else { format!("tool_{n}") }).collect()
}
