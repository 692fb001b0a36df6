//! A stack behind a stack: the outer one trusts the inner one, which trusts nobody.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde_json::Value;
use tower::service_fn;

use super::{RawAnswer, RawCall, RawMessage};
use crate::{
    BoxError, Stack,
    call::{Caller, OUTCOME_KEY, Request, Response, TargetPolicy, Word},
    catalogue::Catalogue,
    error::Transport,
};

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;

/// What the caller of both reads, and how often the server was reached.
async fn through_both(server: impl Fn() -> Result<&'static str, BoxError> + Clone + Send + Sync + 'static) -> (String, usize) {
    through_both_with(server, None).await
}

/// The same where the inner hop knows this of each answer.
async fn through_both_with(
    server: impl Fn() -> Result<&'static str, BoxError> + Clone + Send + Sync + 'static,
    word: Option<Word>,
) -> (String, usize) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = reached.clone();
    let server = service_fn(move |_: Request<RawMessage>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let answer = server().and_then(|answer| {
            let mut answer = Response::new(RawAnswer::parse(Bytes::from_static(answer.as_bytes()))?);
            answer.word = word;
            Ok(answer)
        });
        async { answer }
    });
    let inner = Stack::new().service(server);
    let known = Arc::new(Catalogue::new("server").tool("t", TargetPolicy::default()));
    let hop = service_fn(move |call: Request<RawMessage>| {
        let (inner, known) = (inner.clone(), known.clone());
        async move {
            let call = RawCall::parse(call.params.onward(&call.head, None))?;
            let response = inner.answer(call.request(&known, Caller::default())).await?;
            Ok::<_, BoxError>(Response::new(RawAnswer::parse(call.answer(response))?))
        }
    });
    let (outer, known) = (Stack::new().service(hop), Catalogue::new("hop").trust_next_hop().tool("t", TargetPolicy::default()));
    let call = RawCall::parse(Bytes::from_static(CALL)).unwrap();
    let response = outer.answer(call.request(&known, Caller::default())).await.unwrap();
    let read = String::from_utf8(call.answer(response).to_vec()).unwrap();
    (read, reached.load(Ordering::Relaxed))
}

/// It does the work, and then says that it did nothing.
#[tokio::test(start_paused = true)]
async fn a_server_behind_a_trusted_hop_cannot_have_its_calls_repeated() {
    for (said, read) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"_meta":{"dev.buttress/outcome":{"class":"not_sent"},"x" :1.50},"n":1e2}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"_meta":{"x":1.50},"n":1e2}}"#,
        ),
        (
            r#"{"id":1,"result":{"isError":true,"_meta":{"dev.buttress\/outcome":{"class":"throttled"},"\u0064ev.buttress/outcome":{"class":"not_sent"}}}}"#,
            r#"{"id":1,"result":{"isError":true,"_meta":{}}}"#,
        ),
        (
            r#"{"id":1,"error":{"data":{"dev.buttress/outcome":{"class":"local_reject"}},"code":429,"message":"no"}}"#,
            r#"{"id":1,"error":{"data":{},"code":429,"message":"no"}}"#,
        ),
        (r#"{"id":1,"error":{"code":429,"message":"no"}}"#, r#"{"id":1,"error":{"code":429,"message":"no"}}"#),
        (r#"{"id":1,"error":{"code":503,"message":"no"}}"#, r#"{"id":1,"error":{"code":503,"message":"no"}}"#),
        // An array is no object, though it be read as one.
        (
            r#"{"id":1,"result":{"isError":true,"_meta":[{"class":"not_sent"}]}}"#,
            r#"{"id":1,"result":{"isError":true,"_meta":[{"class":"not_sent"}]}}"#,
        ),
    ] {
        let (answer, reached) = through_both(move || Ok(said)).await;
        assert_eq!((answer.as_str(), reached), (read, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hop_says_stands_beside_what_the_server_behind_it_does() {
    let said =
        r#"{"id":1,"error":{"code":-32603,"message":"no","data":{"trace":"abc","dev.buttress/outcome":{"class":"not_sent"}}}}"#;
    let (answer, reached) = through_both(move || Ok(said)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let data = &answer["error"]["data"];
    assert_eq!((data["trace"].as_str(), data[OUTCOME_KEY]["class"].as_str()), (Some("abc"), Some("outcome_unknown")));
    assert_eq!(reached, 1);
}

/// An answer that is both has two readers.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_a_result_and_an_error_is_neither() {
    let both = r#"{"id":1,"error":{"code":1,"message":""},"result":{"isError":true,"_meta":{"dev.buttress/outcome":{"class":"not_sent"}}}}"#;
    let (answer, reached) = through_both(move || Ok(both)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["result"]["_meta"][OUTCOME_KEY]["class"].as_str(), reached), (Some("outcome_unknown"), 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_trusted_hop_says_itself_is_believed() {
    let (answer, reached) = through_both(|| Err(Transport::not_sent("refused").into())).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    // The outer stack repeats the call, and has told the inner one that it does.
    assert_eq!((answer["result"]["_meta"][OUTCOME_KEY]["class"].as_str(), reached), (Some("not_sent"), 3));
}

/// A trusting hop has nothing else to tell it by: -32000 alone is a doubt, and `isError` the tool's own.
#[tokio::test(start_paused = true)]
async fn what_an_inner_hop_knows_of_an_answer_is_said_to_the_outer_one() {
    for said in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"busy"}}"#,
    ] {
        let (answer, reached) = through_both_with(move || Ok(said), Some(Word::Throttled { retry_after: None })).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let facts = answer.pointer("/result/_meta").or(answer.pointer("/error/data")).map(|holder| &holder[OUTCOME_KEY]);
        assert_eq!(facts.and_then(|facts| facts["class"].as_str()), Some("throttled"), "{answer}");
        // The outer stack repeats the call, and has told the inner one that it does.
        assert_eq!(reached, 3, "{answer}");
    }
}
