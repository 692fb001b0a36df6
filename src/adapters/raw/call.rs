use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    RawMessage,
    answer::{Body, RawAnswer, made},
    list::List,
    text::{Edits, object},
};
use crate::{
    call::{
        Baggage, CacheScope, CallResult, Caller, ErrorObject, LONGEST_BAGGAGE, LONGEST_CONTEXT, Meta, Method, Repeats, Request,
        Response, ResultKind, Revision, TraceContext,
    },
    catalogue::{Catalogue, Scope},
    classify::code,
};

/// A JSON-RPC request as it came, and the little that was read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    message: Bytes,
    /// As the caller spelled it; a part of `message`.
    id: Bytes,
    method: Method,
    /// Of the tool or the prompt, or the URI of what is read.
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

#[derive(Default, Deserialize)]
struct ParamsView<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

/// What is there in another type is as if it were not there: hence the raw values.
#[derive(Default, Deserialize)]
struct MetaView<'a> {
    // Only so that there is one: it is changed on a connection that calls share.
    #[serde(borrow, rename = "progressToken")]
    _token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/idempotencyKey")]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/attempt")]
    attempt: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/repeats")]
    repeats: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/timeoutMs")]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/hardTimeoutMs")]
    hard_timeout: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow)]
    tracestate: Option<&'a RawValue>,
    #[serde(borrow)]
    baggage: Option<&'a RawValue>,
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
        let word = self.repeats.and_then(|word| serde_json::from_str::<Cow<'_, str>>(word.get()).ok());
        meta.repeats = Repeats::read(word.as_deref());
        meta.timeout = number(self.timeout).map(Duration::from_millis);
        meta.hard_timeout = number(self.hard_timeout).map(Duration::from_millis);
        meta.trace = text(self.traceparent, LONGEST_CONTEXT)
            .and_then(|parent| TraceContext::parse(&parent, text(self.tracestate, LONGEST_CONTEXT).as_deref()));
        meta.baggage = text(self.baggage, LONGEST_BAGGAGE).and_then(|baggage| Baggage::parse(&baggage));
        (!meta.is_empty()).then(|| Arc::new(meta))
    }
}

/// What a string says that is no longer than this, so that no more is ever copied.
fn text(json: Option<&RawValue>, longest: usize) -> Option<Cow<'_, str>> {
    let json = json?.get();
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    // A character takes up to six when it is escaped.
    match inside.len() {
        length if length > 6 * longest => None,
        _ if inside.contains('\\') => serde_json::from_str(json).ok(),
        _ => Some(inside.into()),
    }
}

impl RawCall {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// The JSON-RPC error to answer with: -32700 for what is not JSON, -32600 for what is not one request with a string or a
    /// number as its id: a batch, a notification, a response; -32602 for params that are not one object, where a name has to be
    /// or a URI in it, and for names, URIs or `_meta` that are there twice or have a member twice.
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
        let named = matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead);
        // What we cannot read, the upstream might read otherwise: a second `name`, say, and so past a limit.
        let odd = || ErrorObject::new(code::INVALID_PARAMS, "the params must be one object with one of each member");
        let ParamsView { name, uri, meta } = match view.params.map(RawValue::get) {
            Some(params) if params.starts_with('{') => object(params).ok_or_else(odd)?,
            Some(_) if named => return Err(odd()),
            _ => ParamsView::default(),
        };
        let name = if method == Method::ResourcesRead { uri } else { name };
        let name = name.filter(|_| named).map(|name| serde_json::from_str(name.get()).map_err(|_| odd())).transpose()?;
        let said = match meta.map(RawValue::get) {
            Some(meta) if meta.starts_with('{') => object(meta).ok_or_else(odd)?,
            _ => MetaView::default(),
        };
        let (revision, meta) = (said.revision(), said.meta());
        Ok(Self { id: message.slice_ref(id.as_bytes()), method, name, revision, meta, message })
    }

    /// The same with what the HTTP headers that it came with say where its `_meta` does not: see [`Meta::or_headers`].
    #[must_use]
    pub fn with_headers(mut self, headers: &HeaderMap) -> Self {
        let said = self.meta.map(Arc::unwrap_or_clone).unwrap_or_default().or_headers(headers);
        self.meta = (!said.is_empty()).then(|| Arc::new(said));
        self
    }

    /// The request as the stack sees it; its parameters are the whole message. Not for a
    /// [subscription](Self::is_subscription).
    ///
    /// The revision is known where the request says it, as it must since 2026-07-28. Of older ones it stands in the handshake,
    /// and the session in a header: who keeps or shares answers sets both in the head (`revision`, `session`).
    pub fn request(&self, catalogue: &Catalogue, caller: Caller) -> Request<RawMessage> {
        let target = catalogue.resolve(&self.method, self.name.as_deref(), caller.audience());
        let mut request = Request::new(target, RawMessage::new(self.message.clone()));
        request.head.caller = caller;
        request.head.revision = self.revision;
        request.head.meta = self.meta.clone();
        request
    }

    /// Whether this is `subscriptions/listen`: no call, but a stream that goes on until somebody ends it. Pass it by the stack,
    /// which would hold a slot for it and end it by the deadline; and put a limit of your own on how many there are.
    pub fn is_subscription(&self) -> bool {
        self.method == Method::SubscriptionsListen
    }

    /// Learns the tools, prompts or resource templates in the answer to this request, if it asked for a list of them; to be
    /// called for every answer. Names that were never learned share one entry, and with it one breaker and one limit.
    pub fn learn(&self, catalogue: &Catalogue, caller: &Caller, response: &Response<RawAnswer>) {
        let Ok(answer) = &response.result else { return };
        if answer.kind() != ResultKind::Complete {
            return;
        }
        let Some(list) = answer.text().and_then(|result| List::read(&self.method, result)) else { return };
        let scope = match answer.freshness().scope {
            CacheScope::Public => Scope::Public,
            CacheScope::Private => Scope::Private(caller.audience()),
        };
        catalogue.learn(&list.method, scope, list.names().iter().map(|(name, said)| (&**name, *said)));
    }

    /// The message that answers this request: the upstream's as it came but for its id, which is the caller's own again, or one
    /// that carries what the stack has to say.
    pub fn answer(&self, response: Response<RawAnswer>) -> Bytes {
        let (member, body) = match response.result {
            Ok(RawAnswer { body: Body::AsItCame { message, id }, .. }) => return self.readdressed(message, id.as_ref()),
            Ok(RawAnswer { body: Body::Result(result), .. }) => ("result", result),
            Err(ErrorObject { code, message, mut data }) => {
                if let Some(facts) = response.facts {
                    facts.add_to(&mut data);
                }
                let error = match data {
                    None => made(&json!({ "code": code, "message": message })),
                    Some(data) => made(&json!({ "code": code, "message": message, "data": data })),
                };
                ("error", error)
            }
        };
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        message.extend_from_slice(&self.id);
        message.extend_from_slice(format!(r#","{member}":"#).as_bytes());
        message.extend_from_slice(&body);
        message.push(b'}');
        message.into()
    }

    /// The upstream's message under the caller's id: it may have been asked under another, or by another caller.
    fn readdressed(&self, message: Bytes, id: Option<&Bytes>) -> Bytes {
        if id == Some(&self.id) {
            return message;
        }
        let own = String::from_utf8_lossy(&self.id);
        let mut edits = Edits::of(&message);
        match id {
            Some(id) => edits.replace(id, own.into_owned()),
            None => edits.open(message.trim_ascii(), &format!("\"id\":{own}")),
        }
        edits.apply().unwrap_or(message)
    }
}
