use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    RawMessage,
    answer::{Body, RawAnswer, made},
};
use crate::{
    call::{Caller, ErrorObject, Meta, Method, Request, Response, Revision},
    catalogue::Catalogue,
    classify::code,
};

/// A JSON-RPC request as it came, and the little that was read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    message: Bytes,
    /// As the caller spelled it; a part of `message`.
    id: Bytes,
    method: Method,
    name: Option<String>,
    revision: Option<Revision>,
    meta: Option<Arc<Meta>>,
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
    meta: Option<&'a RawValue>,
}

/// What is there in another type is as if it were not there: hence the raw values.
#[derive(Deserialize)]
struct MetaView<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/idempotencyKey")]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/attempt")]
    attempt: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/timeoutMs")]
    timeout: Option<&'a RawValue>,
}

impl MetaView<'_> {
    fn revision(&self) -> Option<Revision> {
        Revision::from_wire(&serde_json::from_str::<String>(self.revision?.get()).ok()?)
    }

    fn meta(&self) -> Option<Arc<Meta>> {
        let number = |value: Option<&RawValue>| serde_json::from_str::<u64>(value?.get()).ok();
        let mut meta = Meta::default();
        let key = self.idempotency_key.and_then(|key| serde_json::from_str::<String>(key.get()).ok());
        meta.idempotency_key = key.map(Arc::from);
        meta.attempt = number(self.attempt).map(|attempt| u32::try_from(attempt).unwrap_or(u32::MAX));
        meta.timeout = number(self.timeout).map(Duration::from_millis);
        (!meta.is_empty()).then(|| Arc::new(meta))
    }
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
        let named = matches!(method, Method::ToolsCall | Method::PromptsGet);
        let params = match view.params {
            Some(params) => {
                // What we cannot read, the upstream might read otherwise: a second `name`, say, and so past a limit.
                let object = Some(params.get()).filter(|params| params.starts_with('{')).unwrap_or_default();
                match serde_json::from_str::<ParamsView<'_>>(object) {
                    Ok(params) => Some(params),
                    Err(_) if !named => None,
                    Err(_) => {
                        return Err(ErrorObject::new(code::INVALID_PARAMS, "the params must be one object with one name"));
                    }
                }
            }
            None => None,
        };
        let (name, meta) = params.map_or((None, None), |params| (params.name.filter(|_| named), params.meta));
        let said = meta.and_then(|meta| serde_json::from_str::<MetaView<'_>>(meta.get()).ok());
        let (revision, meta) = said.map_or((None, None), |said| (said.revision(), said.meta()));
        let name = name.map(Cow::into_owned);
        Ok(Self { id: message.slice_ref(id.as_bytes()), method, name, revision, meta, message })
    }

    /// The request as the stack sees it; its parameters are the whole message.
    ///
    /// The revision is known where the request says it, as it must since 2026-07-28. Of older ones it stands in the handshake, and
    /// the session in a header: who keeps or shares answers sets both in the head (`revision`, `session`).
    pub fn request(&self, catalogue: &Catalogue, caller: Caller) -> Request<RawMessage> {
        let target = catalogue.resolve(&self.method, self.name.as_deref(), caller.audience());
        let mut request = Request::new(target, RawMessage::new(self.message.clone()));
        request.head.caller = caller;
        request.head.revision = self.revision;
        request.head.meta = self.meta.clone();
        request
    }

    /// The message that answers this request: the upstream's as it came, or one that carries what the stack has to say.
    pub fn answer(&self, response: Response<RawAnswer>) -> Bytes {
        let (member, body) = match response.result {
            Ok(RawAnswer { body: Body::AsItCame(message), .. }) => return message,
            Ok(RawAnswer { body: Body::Result(result), .. }) => ("result", result),
            Ok(RawAnswer { body: Body::Error(error), .. }) => ("error", error),
            Err(ErrorObject { code, message, data }) => (
                "error",
                match data.or_else(|| Some(response.facts?.to_data())) {
                    None => made(&json!({ "code": code, "message": message })),
                    Some(data) => made(&json!({ "code": code, "message": message, "data": data })),
                },
            ),
        };
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        message.extend_from_slice(&self.id);
        message.extend_from_slice(format!(r#","{member}":"#).as_bytes());
        message.extend_from_slice(&body);
        message.push(b'}');
        message.into()
    }
}
