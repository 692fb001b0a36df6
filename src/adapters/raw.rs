//! Raw JSON-RPC: messages as the bytes they came in.
//!
//! For all that is not Rust. A typed model drops what it does not know; here a message goes on byte for byte, number
//! spelling, unknown members and `_meta` included. Only what layers need is read: the method, the name, and whether an
//! answer is a failure. An answer is written anew only where the stack itself has something to say (numbers may then be spelt
//! otherwise, but for the id).
//!
//! ```
//! use bytes::Bytes;
//! use buttress::{BoxError, Stack, call::{Caller, Request, Response}, catalogue::Catalogue, raw::{RawAnswer, RawCall}};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let upstream = service_fn(async |call: Request<Bytes>| {
//!     // A real one would send `call.params` and read the answer.
//!     assert!(call.params.ends_with(b"\"exact\":1.50}}"));
//!     let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"exact":1.50}}"#);
//!     Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer)?))
//! });
//! let (stack, catalogue) = (Stack::new().service(upstream), Catalogue::new("words"));
//!
//! let message = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"say","exact":1.50}}"#;
//! let call = RawCall::parse(Bytes::from_static(message))?;
//! let response = stack.answer(call.request(&catalogue, Caller::default())).await?;
//! assert_eq!(call.answer(response), br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"exact":1.50}}"#.as_slice());
//! # Ok(())
//! # }
//! ```

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    call::{CallResult, Caller, ErrorObject, Meta, Method, Request, Response, ResultKind},
    catalogue::Catalogue,
    classify::code,
    rescue::META_KEY,
};

/// A JSON-RPC request as it came, and the little that was read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    message: Bytes,
    /// As the caller spelled it; a part of `message`.
    id: Bytes,
    method: Method,
    name: Option<String>,
    idempotency_key: Option<String>,
}

const NOT_ONE: &str = "not a JSON-RPC request: one object with one of each member is expected, not a batch";

#[derive(Deserialize)]
struct RequestView<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ParamsView<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<MetaView<'a>>,
}

#[derive(Deserialize)]
struct MetaView<'a> {
    #[serde(borrow, rename = "dev.buttress/idempotencyKey")]
    idempotency_key: Option<Cow<'a, str>>,
}

impl RawCall {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// The JSON-RPC error to answer with: -32700 for what is not JSON, -32600 for what is not one request with a string or a
    /// number as its id: a batch, a notification, a response; -32602 for params that are not one object with one name.
    pub fn parse(message: Bytes) -> Result<Self, ErrorObject> {
        let invalid = |what| ErrorObject::new(code::INVALID_REQUEST, what);
        let view: RequestView<'_> = match serde_json::from_slice(&message) {
            Ok(view) => view,
            Err(error) if error.is_data() => return Err(invalid(NOT_ONE)),
            Err(_) => return Err(ErrorObject::new(code::PARSE_ERROR, "the message is not valid JSON")),
        };
        // serde would take an array for the members in their order.
        if message.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid(NOT_ONE));
        }
        let method = view.method.ok_or_else(|| invalid("the request has no method"))?;
        let id =
            view.id.map(RawValue::get).filter(|id| id.starts_with(['"', '-']) || id.starts_with(|c: char| c.is_ascii_digit()));
        let id = id.ok_or_else(|| invalid("the request's id must be a string or a number"))?;
        let method = Method::from_wire(&method);
        let (name, idempotency_key) = match (&method, view.params) {
            (Method::ToolsCall | Method::PromptsGet, Some(params)) => {
                // What we cannot read, the upstream might read otherwise: a second `name`, say, and so past a limit.
                let object = Some(params.get()).filter(|params| params.starts_with('{')).unwrap_or_default();
                let params: ParamsView<'_> = serde_json::from_str(object)
                    .map_err(|_| ErrorObject::new(code::INVALID_PARAMS, "the params must be one object with one name"))?;
                let key = params.meta.and_then(|meta| meta.idempotency_key);
                (params.name.map(Cow::into_owned), key.map(Cow::into_owned))
            }
            _ => (None, None),
        };
        Ok(Self { id: message.slice_ref(id.as_bytes()), method, name, idempotency_key, message })
    }

    /// The request as the stack sees it; its parameters are the whole message.
    pub fn request(&self, catalogue: &Catalogue, caller: Caller) -> Request<Bytes> {
        let target = catalogue.resolve(&self.method, self.name.as_deref(), caller.authorisation());
        let mut request = Request::new(target, self.message.clone());
        request.head.caller = caller;
        if let Some(key) = &self.idempotency_key {
            request.head.meta = Some(Arc::new(Meta { idempotency_key: Some(key.as_str().into()) }));
        }
        request
    }

    /// The message that answers this request: the upstream's as it came, or one that carries what the stack has to say.
    pub fn answer(&self, response: Response<RawAnswer>) -> Bytes {
        let (member, body) = match response.result {
            Ok(RawAnswer { body: Body::AsItCame(message), .. }) => return message,
            Ok(RawAnswer { body: Body::Made(member, body), .. }) => (member, body),
            Err(ErrorObject { code, message, data: None }) => ("error", json!({ "code": code, "message": message })),
            Err(ErrorObject { code, message, data }) => ("error", json!({ "code": code, "message": message, "data": data })),
        };
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        message.extend_from_slice(&self.id);
        message.extend_from_slice(format!(r#","{member}":{body}}}"#).as_bytes());
        message.into()
    }
}

/// A JSON-RPC response: as it came, or made here.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAnswer {
    body: Body,
    kind: ResultKind,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    /// The whole message.
    AsItCame(Bytes),
    /// The `result` or `error` of a message that is still to be written, under the id of the caller's own spelling.
    Made(&'static str, Value),
}

#[derive(Deserialize)]
struct ResponseView<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorView>,
}

#[derive(Deserialize)]
struct ErrorView {
    code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultView<'a> {
    is_error: Option<bool>,
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
}

impl RawAnswer {
    /// Reads a response.
    ///
    /// # Errors
    ///
    /// -32603, if it is neither a result nor an error: what the upstream did is then not known.
    pub fn parse(message: Bytes) -> Result<Self, ErrorObject> {
        let view: Option<ResponseView<'_>> = serde_json::from_slice(&message).ok();
        let kind = match view {
            Some(ResponseView { error: Some(error), .. }) => ResultKind::Error(error.code),
            Some(ResponseView { result: Some(result), .. }) => result_kind(result.get()),
            _ => return Err(ErrorObject::new(code::INTERNAL_ERROR, "the upstream's answer is not a JSON-RPC response")),
        };
        Ok(Self { body: Body::AsItCame(message), kind })
    }
}

fn result_kind(result: &str) -> ResultKind {
    let view: Option<ResultView<'_>> = serde_json::from_str(result).ok();
    match view {
        Some(ResultView { result_type: Some(kind), .. }) if kind == "input_required" => ResultKind::InputRequired,
        Some(ResultView { result_type: Some(kind), .. }) if kind == "task" => ResultKind::Task,
        Some(ResultView { is_error: Some(true), .. }) => ResultKind::ToolError,
        _ => ResultKind::Complete,
    }
}

impl CallResult for RawAnswer {
    fn kind(&self) -> ResultKind {
        self.kind
    }

    fn tool_error(text: String, meta: Value) -> Option<Self> {
        let result = json!({ "content": [{ "type": "text", "text": text }], "isError": true, "_meta": { META_KEY: meta } });
        Some(Self { body: Body::Made("result", result), kind: ResultKind::ToolError })
    }

    fn add_notice(&mut self, text: &str, meta: Value) {
        // Facts alone are no reason to touch the upstream's bytes; a warning is.
        let Body::AsItCame(message) = &self.body else { return };
        if text.is_empty() {
            return;
        }
        let Ok(mut answer) = serde_json::from_slice::<Value>(message) else { return };
        if let Some(result) = answer.get_mut("result").and_then(Value::as_object_mut) {
            if let Some(content) = result.entry("content").or_insert_with(|| json!([])).as_array_mut() {
                content.push(json!({ "type": "text", "text": text }));
            }
            if let Some(known) = result.entry("_meta").or_insert_with(|| json!({})).as_object_mut() {
                known.insert(META_KEY.to_owned(), meta);
            }
        } else if let Some(error) = answer.get_mut("error").and_then(Value::as_object_mut) {
            let said = error.get("message").and_then(Value::as_str).unwrap_or_default();
            error.insert("message".to_owned(), json!(format!("{said}. {text}")));
            error.entry("data").or_insert_with(|| json!({ META_KEY: meta }));
        }
        for member in ["result", "error"] {
            if let Some(body) = answer.get_mut(member) {
                self.body = Body::Made(member, body.take());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &'static str) -> Result<RawCall, i64> {
        RawCall::parse(Bytes::from_static(message.as_bytes())).map_err(|error| error.code)
    }

    #[test]
    fn what_is_not_one_request_is_refused_with_the_code_that_says_so() {
        assert_eq!(parse("{"), Err(code::PARSE_ERROR));
        for params in [r#"["t"]"#, r#"{"name":7}"#, r#"{"name":"a","name":"b"}"#] {
            let message = format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#);
            assert_eq!(RawCall::parse(message.into()).unwrap_err().code, code::INVALID_PARAMS, "{params}");
        }
        for message in [
            "[]",
            "1",
            r#"[1,"ping",{}]"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ] {
            assert_eq!(parse(message), Err(code::INVALID_REQUEST), "{message}");
        }
    }

    #[test]
    fn a_made_answer_spells_the_id_as_the_caller_did() {
        for id in ["7", "-1.50e2", "9007199254740993", r#""a\u00e9\"b""#] {
            let message = format!(r#"{{"method":"tools/call", "id" : {id} ,"params":{{"name":"t"}}}}"#);
            let call = RawCall::parse(message.into()).unwrap();
            assert_eq!(call.name.as_deref(), Some("t"));
            let answer = call.answer(Response::from_error(ErrorObject::new(429, "no")));
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":429,"message":"no"}}}}"#);
            assert_eq!(answer, expected.as_bytes());
        }
    }

    #[test]
    fn a_call_is_safe_by_its_key_where_the_operator_says_that_the_backend_honours_it() {
        let keyed = r#"{"id":1,"method":"tools/call","params":{"name":"t","_meta":{"dev.buttress/idempotencyKey":"k"}}}"#;
        let plain = r#"{"id":1,"method":"tools/call","params":{"name":"t"}}"#;
        let honours = crate::call::TargetPolicy { honours_idempotency_key: true, ..Default::default() };
        let (honoured, other) = (Catalogue::new("up").tool("t", honours), Catalogue::new("up").tool("t", Default::default()));
        let is_safe = |message: &'static str, catalogue| {
            let call = RawCall::parse(Bytes::from_static(message.as_bytes())).unwrap();
            call.request(catalogue, Caller::default()).head.is_safe()
        };
        assert!(is_safe(keyed, &honoured));
        assert!(!is_safe(plain, &honoured) && !is_safe(keyed, &other));
    }

    #[test]
    fn answers_are_told_apart() {
        let kind = |message: &'static str| RawAnswer::parse(Bytes::from_static(message.as_bytes())).map(|answer| answer.kind);
        assert_eq!(kind(r#"{"id":1,"result":{}}"#), Ok(ResultKind::Complete));
        assert_eq!(kind(r#"{"id":1,"result":{"isError":true}}"#), Ok(ResultKind::ToolError));
        assert_eq!(kind(r#"{"id":1,"result":{"resultType":"input_required"}}"#), Ok(ResultKind::InputRequired));
        assert_eq!(kind(r#"{"id":1,"result":{"resultType":"task"}}"#), Ok(ResultKind::Task));
        assert_eq!(kind(r#"{"id":1,"error":{"code":-32603,"message":""}}"#), Ok(ResultKind::Error(-32603)));
        assert_eq!(kind("<html>").unwrap_err().code, code::INTERNAL_ERROR);
        assert_eq!(kind(r#"{"id":1}"#).unwrap_err().code, code::INTERNAL_ERROR);
    }

    #[test]
    fn only_a_warning_touches_the_upstreams_bytes() {
        let came = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"boom","x":1.50}}"#;
        let mut answer = RawAnswer::parse(Bytes::from_static(came.as_bytes())).unwrap();
        answer.add_notice("", json!({}));
        assert_eq!(answer.body, Body::AsItCame(Bytes::from_static(came.as_bytes())));
        answer.add_notice("Careful.", json!({ "class": "outcome_unknown" }));
        let id = "123456789012345678901234567890";
        let call = RawCall::parse(format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#).into()).unwrap();
        let message = String::from_utf8(call.answer(Response::new(answer)).to_vec()).unwrap();
        assert!(message.contains(&format!("\"id\":{id},")), "{message}");
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["error"]["message"], "boom. Careful.");
        assert_eq!(message["error"]["data"][META_KEY]["class"], "outcome_unknown");
    }
}
