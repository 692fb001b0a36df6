//! Trace context and baggage that are too much.

use buttress::{
    BoxError, Stack,
    call::{Caller, Request, Response},
    catalogue::Catalogue,
    raw::{RawAnswer, RawCall, RawMessage},
};
use bytes::Bytes;
use serde_json::json;
use tower::service_fn;

use crate::resident;

/// A megabyte each of trace context and baggage that nobody can read: the call is made, nothing of it is kept, and nothing of it
/// is sent on where a layer says what is.
#[tokio::test]
async fn a_bomb_in_the_trace_of_a_call_goes_no_further() {
    let megabyte = |of: &str| of.repeat((1 << 20) / of.len());
    let handler = service_fn(async |call: Request<RawMessage>| {
        assert!(call.head.meta.is_none(), "{:?}", call.head.meta);
        let (traced, size) = (call.head.traced.is_some(), call.params.onward(&call.head, 7).len());
        assert!(if traced { size < 200 } else { size > 3 << 20 }, "{size} bytes go on");
        let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
        Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer)?))
    });
    let (service, catalogue) = (Stack::new().service(handler), Catalogue::new("bombed"));
    let mut memory = 0;
    for n in 0..8 {
        let part = megabyte(["0", "a=1,", "\n", "\u{202e}\""][n % 4]);
        let said = json!({ "traceparent": part, "tracestate": part, "baggage": part });
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "_meta": said}});
        let call = RawCall::parse(message.to_string().into()).unwrap();
        let mut request = call.request(&catalogue, Caller::default());
        request.head.traced = (n % 8 < 4).then(Default::default);
        let answer = call.answer(service.answer(request).await.unwrap());
        assert_eq!(answer, br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#.as_slice());
        if n == 4 {
            memory = resident();
        }
    }
    let grown = resident().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes have come to stay");
}
