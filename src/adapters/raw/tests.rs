use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{RawAnswer, RawCall};
use crate::{
    call::{
        Baggage, CacheScope, CallParams, CallResult, Caller, ErrorObject, Facts, Freshness, Method, Repeats, Response,
        ResultKind, Revision, TargetPolicy, TraceContext, Traced, Verdict,
    },
    catalogue::Catalogue,
    classify::code,
};

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
    for params in [r#"{"_meta":{},"_meta":{}}"#, r#"{"_meta":{"progressToken":1,"progressToken":2}}"#] {
        let message = format!(r#"{{"id":1,"method":"x/custom","params":{params}}}"#);
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
        let named = Catalogue::new("up").tool("t", TargetPolicy::default());
        assert_eq!(call.request(&named, Caller::default()).head.target.name(), Some("t"));
        let answer = call.answer(Response::from_error(ErrorObject::new(429, "no")));
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":429,"message":"no"}}}}"#);
        assert_eq!(answer, expected.as_bytes());
    }
}

#[test]
fn a_call_is_safe_by_its_key_where_the_operator_says_that_the_backend_honours_it() {
    let keyed = r#"{"id":1,"method":"tools/call","params":{"name":"t","_meta":{"dev.buttress/idempotencyKey":"k"}}}"#;
    let plain = r#"{"id":1,"method":"tools/call","params":{"name":"t"}}"#;
    let honours = TargetPolicy::default().honours_idempotency_key();
    let (honoured, other) = (Catalogue::new("up").tool("t", honours), Catalogue::new("up").tool("t", Default::default()));
    let is_idempotent = |message: &'static str, catalogue| {
        let call = RawCall::parse(Bytes::from_static(message.as_bytes())).unwrap();
        call.request(catalogue, Caller::default()).head.is_idempotent()
    };
    assert!(is_idempotent(keyed, &honoured));
    assert!(!is_idempotent(plain, &honoured) && !is_idempotent(keyed, &other));
}

#[test]
fn answers_are_told_apart() {
    let kind = |message: &'static str| RawAnswer::parse(Bytes::from_static(message.as_bytes())).map(|answer| answer.kind());
    assert_eq!(kind(r#"{"id":1,"result":{}}"#), Ok(ResultKind::Complete));
    assert_eq!(kind(r#"{"id":1,"result":{"isError":true}}"#), Ok(ResultKind::ToolError));
    assert_eq!(kind(r#"{"id":1,"result":{"resultType":"input_required"}}"#), Ok(ResultKind::InputRequired));
    assert_eq!(kind(r#"{"id":1,"result":{"resultType":"task"}}"#), Ok(ResultKind::Task));
    assert_eq!(kind(r#"{"id":1,"result":{"resultType":"complete","isError":true}}"#), Ok(ResultKind::ToolError));
    assert_eq!(kind(r#"{"id":1,"result":{"task":{"taskId":"a"}}}"#), Ok(ResultKind::Task));
    for other in [r#""task":{"taskId":"a"},"isError":true"#, r#""task":"write","isError":true"#] {
        assert_eq!(
            RawAnswer::parse(format!(r#"{{"result":{{{other}}}}}"#).into()).unwrap().kind(),
            ResultKind::ToolError,
            "{other}"
        );
    }
    for other in
        [r#""task":{"taskId":"a"},"resultType":"complete""#, r#""task":{"id":"a"}"#, r#""task":["a"]"#, r#""taskId":"a""#]
    {
        assert_eq!(
            RawAnswer::parse(format!(r#"{{"result":{{{other}}}}}"#).into()).unwrap().kind(),
            ResultKind::Complete,
            "{other}"
        );
    }
    for odd in [r#"{"resultType":"half"}"#, r#"{"isError":true,"isError":false}"#, r#"{"isError":"no"}"#, "[]", "7"] {
        assert_eq!(
            RawAnswer::parse(format!(r#"{{"id":1,"result":{odd}}}"#).into()).unwrap().kind(),
            ResultKind::Unrecognised,
            "{odd}"
        );
    }
    for odd in [r#"{"id":1,"result":{},"error":{"code":1,"message":""}}"#, r#"{"id":1,"error":"no"}"#, r#"[1,{}]"#] {
        assert_eq!(kind(odd).unwrap_err().code, code::INTERNAL_ERROR, "{odd}");
    }
    assert_eq!(kind(r#"{"id":1,"error":{"code":-32603,"message":""}}"#), Ok(ResultKind::Error(-32603)));
    assert_eq!(kind("<html>").unwrap_err().code, code::INTERNAL_ERROR);
    assert_eq!(kind(r#"{"id":1}"#).unwrap_err().code, code::INTERNAL_ERROR);
}

#[test]
fn an_answer_that_has_aged_says_so_and_every_other_byte_stays() {
    let left = |message: &'static str| {
        let mut answer = RawAnswer::parse(Bytes::from_static(message.as_bytes())).unwrap();
        let asked = RawCall::parse(Bytes::from_static(br#"{"id":7,"method":"tools/list"}"#)).unwrap();
        answer.set_ttl(Duration::from_millis(1_500));
        String::from_utf8(asked.answer(Response::new(answer)).to_vec()).unwrap()
    };
    assert_eq!(
        left(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[ 1.50 ],"ttlMs": 60000 ,"cacheScope":"public"}}"#),
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[ 1.50 ],"ttlMs": 1500 ,"cacheScope":"public"}}"#
    );
    let says_nothing = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}"#;
    assert_eq!(left(says_nothing), says_nothing);
}

#[test]
fn what_is_added_to_an_answer_leaves_every_other_byte() {
    let noted = |came: &str, text: &str| {
        let mut answer = RawAnswer::parse(format!(r#"{{"jsonrpc":"2.0","id":1,{came},"n":1e2}}"#).into()).unwrap();
        answer.add_notice(text, &Facts::new("throttled", true));
        assert_eq!(answer.said_facts().is_some(), !came.contains("null"), "{came}");
        let id = "123456789012345678901234567890";
        let call = RawCall::parse(format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#).into()).unwrap();
        let message = String::from_utf8(call.answer(Response::new(answer)).to_vec()).unwrap();
        let inside =
            message.strip_prefix(&format!(r#"{{"jsonrpc":"2.0","id":{id},"#)).and_then(|rest| rest.strip_suffix(r#","n":1e2}"#));
        inside.unwrap_or_else(|| panic!("{message}")).to_owned()
    };
    const FACTS: &str = r#""dev.buttress/outcome":{"class":"throttled","retryable":true}"#;
    for (came, text, goes) in [
        (r#""error":{"code":-32000,"x":1.50}"#, "", r#""error":{"data":{F},"code":-32000,"x":1.50}"#),
        (r#""error":{"code":7,"data": {"t" :1.50}}"#, "", r#""error":{"code":7,"data": {F,"t" :1.50}}"#),
        (r#""error":{"code":7,"data":null}"#, "", r#""error":{"code":7,"data":null}"#),
        (r#""error":{"code":7,"message":"bo\"om"}"#, "Careful.", r#""error":{"data":{F},"code":7,"message":"bo\"om. Careful."}"#),
        (r#""error":{"code":7}"#, "Careful.", r#""error":{"message":"Careful.","data":{F},"code":7}"#),
        (r#""result":{"isError":true,"x":1.50}"#, "", r#""result":{"_meta":{F},"isError":true,"x":1.50}"#),
        (r#""result":{"_meta":{ },"content":[ ]}"#, "", r#""result":{"_meta":{F },"content":[ ]}"#),
        (r#""result":{"_meta":null}"#, "", r#""result":{"_meta":null}"#),
        (
            r#""result":{"_meta":{"dev.buttress/outcome":{"class":"ambiguous"}},"content":[{"n":1.50} ]}"#,
            "Old.",
            r#""result":{"_meta":{F},"content":[{"n":1.50} ,{"type":"text","text":"Old."}]}"#,
        ),
        (r#""result":{}"#, "Old.", r#""result":{"content":[{"type":"text","text":"Old."}],"_meta":{F}}"#),
        (r#""result":{"content":[ ]}"#, "Old.", r#""result":{"_meta":{F},"content":[ {"type":"text","text":"Old."}]}"#),
    ] {
        assert_eq!(noted(came, text), goes.replace('F', FACTS), "{came}");
    }
    // What is made here is added to as well.
    let mut made = RawAnswer::tool_error("no".into(), &Facts::new("ambiguous", true)).unwrap();
    made.add_notice("Careful.", &Facts::new("outcome_unknown", false));
    assert_eq!(made.error_text().as_deref(), Some("no\nCareful."));
    assert_eq!(made.said_facts().unwrap()["class"], "outcome_unknown");
}

#[test]
fn calls_are_told_apart_by_what_the_server_sees() {
    let call = |params: &str| {
        let message = format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#);
        RawCall::parse(message.into()).unwrap().request(&Catalogue::new("up"), Caller::default()).params
    };
    let one = call(r#"{"name":"t","arguments":{"a":1,"b":2},"_meta":{"progressToken":1}}"#);
    assert_eq!(one.arguments(), call(r#"{"arguments":{"b":2, "a":1},"name":"t"}"#).arguments());
    assert_ne!(one.arguments(), call(r#"{"name":"u","arguments":{"a":1,"b":2}}"#).arguments());
    assert_ne!(one.arguments(), call(r#"{"name":"t","arguments":{"a":1,"b":3}}"#).arguments());
    assert_eq!(one.continuation(), None);
    let answered = call(r#"{"name":"t","arguments":{"a":1,"b":2},"requestState":"s"}"#);
    assert_eq!(one.arguments(), answered.arguments());
    assert!(answered.continuation().is_some());
    assert_eq!(call(r#"{"name":"t","arguments":{"a":1,"a":2}}"#).arguments(), None);
}

#[test]
fn a_request_says_what_it_asks_for_whether_or_not_it_was_listed() {
    let name = |method: &str, params: &str| {
        let message = format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#);
        let params = RawCall::parse(message.into()).unwrap().request(&Catalogue::new("up"), Caller::default()).params;
        params.name().map(std::borrow::Cow::into_owned)
    };
    assert_eq!(name("tools/call", r#"{"name":"p\u0061y","arguments":{"a":1,"a":2}}"#).as_deref(), Some("pay"));
    assert_eq!(name("prompts/get", r#"{"name":"greet"}"#).as_deref(), Some("greet"));
    assert_eq!(name("x/one", r#"{"name":"pay"}"#).as_deref(), Some("x/one"));
    assert_eq!([name("tools/list", r#"{"name":"pay"}"#), name("tools/call", "{}")], [None, None]);
}

#[tokio::test(start_paused = true)]
async fn the_next_hop_is_told_which_attempt_it_is_and_every_other_byte_stays() {
    let onward = |params: &str| {
        let message = format!(r#"{{"id":1, "method":"tools/call"{params}}}"#);
        let call = RawCall::parse(message.into()).unwrap();
        let mut request = call.request(&Catalogue::new("up").trust_next_hop(), Caller::default());
        request.head.repeats = true;
        request.head.deadline.hard = Some(request.head.arrived + Duration::from_secs(3));
        String::from_utf8(request.params.onward(&request.head, None).to_vec()).unwrap()
    };
    const SAID: &str = r#""dev.buttress/attempt":1,"dev.buttress/repeats":"unexecuted","dev.buttress/timeoutMs":3000"#;
    let expect = |params: &str| format!(r#"{{"id":1, "method":"tools/call"{params}}}"#);
    assert_eq!(onward(r#","params":{"x":1.50}"#), expect(&format!(r#","params":{{"_meta":{{{SAID}}},"x":1.50}}"#)));
    assert_eq!(onward(r#","params":{ }"#), expect(&format!(r#","params":{{"_meta":{{{SAID}}} }}"#)));
    assert_eq!(
        onward(r#","params":{"_meta": {"a" :1},"n":1e2}"#),
        expect(&format!(r#","params":{{"_meta": {{{SAID},"a" :1}},"n":1e2}}"#))
    );
    let known = r#","params":{"_meta":{"dev.buttress/timeoutMs":9000, "dev.buttress/repeats": "", "dev.buttress/attempt": 7}}"#;
    let told =
        r#","params":{"_meta":{"dev.buttress/timeoutMs":3000, "dev.buttress/repeats": "unexecuted", "dev.buttress/attempt": 1}}"#;
    assert_eq!(onward(known), expect(told));
    let message: Value = serde_json::from_str(&onward("")).unwrap();
    assert_eq!(message["params"]["_meta"]["dev.buttress/attempt"], 1);
    // A member that is there is not written a second time, whatever it says.
    let odd = r#","params":{"_meta":{"dev.buttress/attempt":null},"requestState":1,"requestState":2}"#;
    let told = r#","params":{"_meta":{"dev.buttress/repeats":"unexecuted","dev.buttress/timeoutMs":3000,"dev.buttress/attempt":1},"requestState":1,"requestState":2}"#;
    assert_eq!(onward(odd), expect(told));
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What goes on of a ping with this `_meta`, where a layer says this of its trace.
fn traced(meta: &str, traced: Option<Traced>) -> String {
    let message = format!(r#"{{"id":1,"method":"ping","params":{{"_meta":{meta}}}}}"#);
    let mut request = RawCall::parse(message.into()).unwrap().request(&Catalogue::new("up"), Caller::default());
    request.head.traced = traced.map(Arc::new);
    let onward = String::from_utf8(request.params.onward(&request.head, None).to_vec()).unwrap();
    onward[r#"{"id":1,"method":"ping","params":{"_meta":"#.len()..onward.len() - 2].to_owned()
}

#[tokio::test]
async fn the_next_hop_is_told_of_the_trace_by_who_traces_here_and_else_by_the_caller() {
    let span = TraceContext::parse(PARENT, None);
    let ours = || Some(Traced { span: span.clone(), relayed: None, baggage: None });
    let caller = r#"{"a": 1,"traceparent" :"theirs","tracestate":"x=1","b":1.50,"baggage":"c=d"}"#;
    assert_eq!(traced(caller, None), caller);
    assert_eq!(traced(caller, ours()), format!(r#"{{"a":1,"traceparent":"{PARENT}","b":1.50}}"#));
    let full = Traced {
        span: span.clone().map(|span| span.with_state("v=1")),
        relayed: TraceContext::new(7, 7, 0),
        baggage: Baggage::parse("plan=gold"),
    };
    let told = format!(r#"{{"a": 1,"traceparent" :"{PARENT}","tracestate":"v=1","b":1.50,"baggage":"plan=gold"}}"#);
    assert_eq!(traced(caller, Some(full)), told);
    assert_eq!(traced(r#"{"a" :1}"#, ours()), format!(r#"{{"traceparent":"{PARENT}","a" :1}}"#));
    let relayed = Traced { relayed: span.clone(), ..Traced::default() };
    assert_eq!(traced("{}", Some(relayed)), format!(r#"{{"traceparent":"{PARENT}"}}"#));
    // Where nothing is to go on, nothing does, whatever it is and however its name is spelled.
    for odd in [r#""traceparent":null"#, r#""tr\u0061cestate":[1]"#, r#""baggage":{"traceparent":1},"traceparent":"""#] {
        assert_eq!(traced(&format!("{{{odd}}}"), Some(Traced::default())), "{}");
        assert_eq!(traced(&format!(r#"{{"a":" ",{odd}}}"#), Some(Traced::default())), r#"{"a":" "}"#);
        assert_eq!(traced(&format!(r#"{{{odd},"a":{{}}}}"#), ours()), format!(r#"{{"traceparent":"{PARENT}","a":{{}}}}"#));
    }
}

#[test]
fn a_request_says_its_trace_in_its_meta_and_else_in_the_headers_that_it_came_with() {
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", PARENT.parse().unwrap());
    headers.insert("baggage", "plan=gold".parse().unwrap());
    let read = |meta: &str| {
        let message = format!(r#"{{"id":1,"method":"ping","params":{{"_meta":{meta}}}}}"#);
        RawCall::parse(message.into()).unwrap().with_headers(&headers).request(&Catalogue::new("up"), Caller::default()).head.meta
    };
    let said = |meta: &str| {
        let meta = read(meta).unwrap();
        (meta.trace.as_ref().unwrap().traceparent(), meta.baggage.as_ref().unwrap().as_str().to_owned())
    };
    let theirs = PARENT.replace("b7ad", "0000");
    let escaped = theirs.replacen('-', r"\u002d", 1);
    for parent in [&theirs, &escaped] {
        let meta = format!(r#"{{"traceparent":"{parent}","baggage":"plan=free"}}"#);
        assert_eq!(said(&meta), (theirs.clone(), "plan=free".to_owned()));
    }
    let bomb = format!(r#"{{"traceparent":"{}","baggage":"a={}"}}"#, "0".repeat(1 << 20), "1".repeat(1 << 20));
    for garbage in ["{}", "7", r#"{"traceparent":7,"baggage":[]}"#, &bomb] {
        assert_eq!(said(garbage), (PARENT.to_owned(), "plan=gold".to_owned()));
    }
    headers.clear();
    let message = r#"{"id":1,"method":"ping","params":{}}"#;
    let call = RawCall::parse(message.into()).unwrap().with_headers(&headers);
    assert_eq!(call.request(&Catalogue::new("up"), Caller::default()).head.meta, None);
}

#[test]
fn an_error_may_name_a_delay() {
    let of = |data: &str| {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32000,"message":"busy","data":{data}}}}}"#);
        Verdict::of_answer(&Response::new(RawAnswer::parse(message.into()).unwrap()))
    };
    let delayed = Verdict::Ambiguous { retry_after: Some(Duration::from_secs(3)), overload: false };
    assert_eq!(of(r#"{"a":1,"retryAfterMs":3000}"#), delayed);
    for odd in [r#"{"retryAfterMs":"3000"}"#, r#"{"retryAfterMs":1,"retryAfterMs":2}"#, "[3000]", "7"] {
        assert_eq!(of(odd), Verdict::AMBIGUOUS, "{odd}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_no_place_for_what_is_to_be_said_goes_on_as_it_came() {
    for params in ["null", "[]", "[[],[],{}]", "7", r#"{"_meta":null}"#, r#"{"_meta":[]}"#, r#"{"_meta":"x"}"#] {
        let message = format!(r#"{{"id":1,"method":"x/custom","params":{params}}}"#);
        let call = RawCall::parse(message.clone().into()).unwrap();
        let mut request = call.request(&Catalogue::new("up"), Caller::default());
        request.head.repeats = true;
        assert_eq!(request.params.onward(&request.head, None), message.as_bytes());
    }
}

#[test]
fn a_request_may_say_who_repeats_it_and_how_long_it_waits() {
    let read = |meta: &str| {
        let message = format!(r#"{{"id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        let meta = RawCall::parse(message.into()).unwrap().request(&Catalogue::new("up"), Caller::default()).head.meta;
        meta.map(|meta| (meta.repeated(), meta.attempt, meta.timeout))
    };
    let timeout = Some(Duration::from_millis(1500));
    let all = Some(Repeats::All);
    assert_eq!(read(r#"{"dev.buttress/attempt":2,"dev.buttress/timeoutMs":1500}"#), Some((all, Some(2), timeout)));
    assert_eq!(read(r#"{"dev.buttress/attempt":2,"dev.buttress/repeats":7}"#), Some((all, Some(2), None)));
    for word in ["unexecuted", r"unex\u0065cuted"] {
        let meta = format!(r#"{{"dev.buttress/attempt":2,"dev.buttress/repeats":"{word}"}}"#);
        assert_eq!(read(&meta), Some((Some(Repeats::Unexecuted), Some(2), None)));
    }
    assert_eq!(read(r#"{"dev.buttress/attempt":"2","dev.buttress/timeoutMs":-1,"dev.buttress/hardTimeoutMs":"9"}"#), None);
    assert_eq!(read(r#"{"dev.buttress/hardTimeoutMs":9}"#), Some((None, None, None)));
    assert_eq!(read("7"), None);
}

#[test]
fn a_request_may_say_its_revision() {
    let read = |version: &str| {
        let meta = format!(r#"{{"io.modelcontextprotocol/protocolVersion":{version}}}"#);
        let message = format!(r#"{{"id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        RawCall::parse(message.into()).unwrap().request(&Catalogue::new("up"), Caller::default()).head.revision
    };
    assert_eq!(read(r#""2026-07-28""#), Revision::from_wire("2026-07-28"));
    assert_eq!([read("2026"), read(r#""tomorrow""#), read(r#""2026-07-28x""#), read(r#""2026/07/28""#)], [None; 4]);
}

#[test]
fn an_answer_comes_back_under_the_callers_own_id() {
    let call = RawCall::parse(Bytes::from_static(br#"{"id":"b","method":"tools/list"}"#)).unwrap();
    let read = |came: &str| {
        let answer = RawAnswer::parse(came.to_owned().into()).unwrap();
        (answer.id(), String::from_utf8(call.answer(Response::new(answer)).to_vec()).unwrap())
    };
    for (came, id) in [("1", Some(1)), ("\"b\"", None), ("\"1\"", None), ("null", None), ("-1", None)] {
        let message = |id| format!(r#"{{"jsonrpc":"2.0", "id" : {id} ,"result":{{"id":1,"x":1.50}}}}"#);
        assert_eq!(read(&message(came)), (id, message("\"b\"")));
    }
    let error = r#"{"error":{"code":-32600,"message":"what?"}}"#;
    assert_eq!(read(error), (None, error.replacen('{', r#"{"id":"b","#, 1)));
}

#[tokio::test]
async fn a_connection_that_calls_share_sees_neither_an_id_nor_a_token_twice() {
    let onward = |message: &str, id| {
        let request = RawCall::parse(message.to_owned().into()).unwrap().request(&Catalogue::new("up"), Caller::default());
        String::from_utf8(request.params.onward(&request.head, id).to_vec()).unwrap()
    };
    let message = |id: &str, token: &str| {
        format!(r#"{{"method":"x/y","params":{{"id":1,"_meta":{{"progressToken":{token},"x":1.50}}}}, "id" : {id} }}"#)
    };
    let came = message("\"a\"", "\"a\"");
    assert_eq!(onward(&came, Some(7)), message("7", "7"));
    assert_eq!(onward(&came, None), came);
    assert_eq!(onward(r#"{"id":1,"method":"ping"}"#, Some(7)), r#"{"id":7,"method":"ping"}"#);
    assert_eq!(onward(r#"{"id":1,"method":"x/y","params":[]}"#, Some(7)), r#"{"id":7,"method":"x/y","params":[]}"#);
}

#[test]
fn names_are_learned_from_the_lists_that_pass_by() {
    let catalogue = Catalogue::new("up").trust_annotations();
    let caller = Caller::default();
    let learn = |method: &str, result: &str| {
        let call = RawCall::parse(format!(r#"{{"id":1,"method":"{method}"}}"#).into()).unwrap();
        let answer = RawAnswer::parse(format!(r#"{{"id":1,"result":{result}}}"#).into()).unwrap();
        call.learn(&catalogue, &caller, &Response::new(answer));
    };
    let tools = r#"[{"name":"reads","annotations":{"readOnlyHint":true}},7,{"title":"x"},{"name":"odd","annotations":[true]},
        {"name":"again","annotations":{"idempotentHint":true,"readOnlyHint":"no"}}]"#;
    learn("tools/list", &format!(r#"{{"cacheScope":"public","tools":{tools}}}"#));
    learn("prompts/list", r#"{"prompts":[{"name":"p","annotations":{"readOnlyHint":true}}],"tools":[{"name":"no"}]}"#);
    learn("tools/list", r#"{"resultType":"other","tools":[{"name":"no"}]}"#);
    learn("x/list", r#"{"tools":[{"name":"no"}]}"#);
    let safe = |name| catalogue.known(&Method::ToolsCall, name, None).map(|target| target.is_idempotent());
    assert_eq!([safe("reads"), safe("odd"), safe("again"), safe("no")], [Some(true), Some(false), Some(false), None]);
    assert!(catalogue.known(&Method::PromptsGet, "p", None).is_some());
}

#[test]
fn a_subscription_is_told_from_a_call() {
    let is = |method: &str| RawCall::parse(format!(r#"{{"id":1,"method":"{method}"}}"#).into()).unwrap().is_subscription();
    assert!(is("subscriptions/listen") && !is("resources/subscribe") && !is("tools/call"));
}

#[test]
fn a_refusal_says_that_it_is_complete() {
    let refusal = RawAnswer::tool_error("no".into(), &Facts::new("local_reject", true)).unwrap();
    let call = RawCall::parse(Bytes::from_static(br#"{"id":1,"method":"tools/call","params":{"name":"t"}}"#)).unwrap();
    let message: Value = serde_json::from_slice(&call.answer(Response::new(refusal))).unwrap();
    assert_eq!((&message["result"]["resultType"], &message["result"]["isError"]), (&json!("complete"), &json!(true)));
}

#[test]
fn a_server_that_stamps_the_time_says_the_same_all_the_same() {
    let digest = |result: &str| RawAnswer::parse(format!(r#"{{"id":1,"result":{result}}}"#).into()).unwrap().digest();
    assert_eq!(digest(r#"{"content":[],"_meta":{"now":1}}"#), digest(r#"{"_meta":{"now":2},"content": []}"#));
    assert_ne!(digest(r#"{"content":[]}"#), digest(r#"{"content":[1]}"#));
    assert_ne!(digest(r#"{"content":[]}"#), None);
}

#[test]
fn what_an_answer_says_is_read() {
    let answer = |message: &'static str| RawAnswer::parse(Bytes::from_static(message.as_bytes())).unwrap();
    let one = answer(r#"{"id":1,"result":{"isError":true,"content":[{"type":"text","text":"a\"b"}]}}"#);
    assert_eq!((one.error_text().as_deref(), one.structured()), (Some("a\"b"), None));
    let two = answer(r#"{"id":1,"result":{"isError":true,"content":[],"structuredContent":{"n":1}}}"#);
    assert_eq!(two.structured().as_deref(), Some(&json!({ "n": 1 })));
    let error = answer(r#"{"id":1,"error":{"code":1001,"message":"rate limit","data":[2]}}"#);
    assert_eq!((error.error_text().as_deref(), error.structured().as_deref()), (Some("rate limit"), Some(&json!([2]))));
    let facts = r#"{"id":1,"error":{"code":503,"message":"","data":{"dev.buttress/outcome":{"class":"throttled"}}}}"#;
    assert_eq!(answer(facts).said_facts(), Some(json!({ "class": "throttled" })));
    assert_eq!(one.said_facts(), None);
    let fresh = Freshness { ttl: Duration::from_secs(2), scope: CacheScope::Public };
    assert_eq!(answer(r#"{"id":1,"result":{"ttlMs":2000,"cacheScope":"public"}}"#).freshness(), fresh);
    assert_eq!(answer(r#"{"id":1,"result":{"ttlMs":-1}}"#).freshness(), Freshness::default());
}
