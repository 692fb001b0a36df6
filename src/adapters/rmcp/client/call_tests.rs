//! What a request says of its trace to the next hop.

use std::{sync::Arc, time::Duration};

use ::rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, CustomRequest, GetMeta, ListToolsRequest, NumberOrString,
    PaginatedRequestParams, PingRequest, RequestMetaObject, RequestParamsMeta,
};
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Link, Ways},
    changes::Changes,
    line::Line,
    transport_error::Plain,
};
use crate::{
    call::{Head, TraceContext, Traced},
    catalogue::Catalogue,
    stack::Stack,
    testing::tool,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn theirs() -> Map<String, Value> {
    let said = json!({ "traceparent": "theirs", "tracestate": "their=state", "baggage": "their=baggage", "kept": 1 });
    said.as_object().cloned().unwrap()
}

fn meta() -> RequestMetaObject {
    RequestMetaObject::from(theirs())
}

/// What goes out, as it is on the wire.
fn sent(request: ClientRequest, traced: Option<Traced>) -> Value {
    let changes = Arc::new(Changes::new(&Stack::new(), &Arc::new(Catalogue::new("up"))));
    let ways = Arc::new(Ways { errors: Arc::new(Plain), lease: Duration::ZERO, changes });
    let call = Call::new(request, Link::Line(Arc::<Line>::default(), NumberOrString::Number(7)), ways);
    let mut head = Head::new(tool("t"));
    head.traced = traced.map(Arc::new);
    serde_json::to_value(call.onward(&head)).unwrap()["params"]["_meta"].take()
}

/// Wherever a program has put what is not to go on: within the parameters, or where rmcp keeps it.
fn requests() -> Vec<ClientRequest> {
    let mut params = CallToolRequestParams::new("t");
    params.set_meta(meta());
    let within = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    let mut both = within.clone();
    *both.get_meta_mut() = meta();
    let mut page = PaginatedRequestParams::default();
    page.set_meta(meta());
    let list = ListToolsRequest { params: Some(page), ..Default::default() };
    let custom = CustomRequest::new("x/custom", Some(json!({ "_meta": theirs() })));
    let mut ping = ClientRequest::PingRequest(PingRequest::default());
    *ping.get_meta_mut() = meta();
    vec![within, both, ClientRequest::ListToolsRequest(list), ClientRequest::CustomRequest(custom), ping]
}

#[tokio::test]
async fn what_a_layer_says_of_the_trace_stands_in_the_place_of_what_the_caller_said() {
    let span = TraceContext::parse(PARENT, Some("ours=state"));
    for request in requests() {
        assert_eq!(sent(request.clone(), None), Value::Object(theirs()), "{request:?}");
        let ours = Traced { span: span.clone(), ..Traced::default() };
        let told = json!({ "traceparent": PARENT, "tracestate": "ours=state", "kept": 1 });
        assert_eq!(sent(request.clone(), Some(ours)), told, "{request:?}");
        assert_eq!(sent(request.clone(), Some(Traced::default())), json!({ "kept": 1 }), "{request:?}");
    }
}
