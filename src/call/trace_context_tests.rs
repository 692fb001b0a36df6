//! What W3C Trace Context and Baggage allow, and what they do not.

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Baggage, Meta, TraceContext, trace_context::joined};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn parse(parent: &str) -> Option<String> {
    TraceContext::parse(parent, None).map(|context| context.traceparent())
}

fn state(state: &str) -> Option<String> {
    TraceContext::parse(PARENT, Some(state)).unwrap().state().map(str::to_owned)
}

#[test]
fn a_traceparent_is_as_the_specification_has_it() {
    assert_eq!(parse(PARENT).as_deref(), Some(PARENT));
    let flags = |flags: &str| parse(&format!("{}{flags}", &PARENT[..53])).map(|context| context[53..].to_owned());
    assert_eq!([flags("00"), flags("02"), flags("fe")].map(Option::unwrap), ["00", "02", "02"], "the others are sent as zero");
    for wrong in [
        "",
        &PARENT[..54],
        &format!("{PARENT}-"),
        &format!("{PARENT}-extra"),
        &format!(" {PARENT}"),
        &PARENT.replace("0af", "0AF"),
        &PARENT.replace("0af", "0ag"),
        &PARENT.replace("-b7", "_b7"),
        &PARENT.replacen("00-", "ff-", 1),
        &PARENT.replacen("00-", "0x-", 1),
        &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        &PARENT.replace("0af765191", "0af76519\u{e9}"),
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_must_agree() {
    let later = PARENT.replacen("00-", "cc-", 1);
    let long = |length: usize| format!("{later}-{}", "x".repeat(length - later.len() - 1));
    for fine in [later.clone(), format!("{later}-"), format!("{later}-what comes then"), long(512)] {
        assert_eq!(parse(&fine).as_deref(), Some(PARENT), "{fine}");
    }
    for wrong in [format!("{later}."), format!("{later}00"), long(513), long(1 << 20)] {
        assert_eq!(parse(&wrong), None);
    }
}

#[test]
fn a_tracestate_that_is_not_valid_is_dropped_alone_and_whole() {
    for fine in ["a=1", "a=1,b=2", "a=1 ,\tb=2,", "0@v/1_-*=!~ x", "t@v=a:b;c"] {
        assert_eq!(state(fine).as_deref(), Some(fine));
    }
    assert_eq!(state("\t a=1 ").as_deref(), Some("a=1"));
    let members = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert!(state(&members(32)).is_some());
    let long = |n: usize| format!("a={}", "v".repeat(n));
    assert!(state(&long(256)).is_some());
    let fits = format!("a={},b={}", "v".repeat(256), "w".repeat(251));
    assert!(fits.len() == 512 && state(&fits).is_some() && state(&format!("{fits}x")).is_none());
    let wrong = ["", " ", ",", "a", "a=", "=1", "A=1", "a =1", "a=1=2", "a=\u{e9}", "a=1,a=2", "a=\n", "a=1,b", "_a=1"];
    for wrong in wrong.map(str::to_owned).into_iter().chain([members(33), long(257)]) {
        assert_eq!(state(&wrong), None, "{wrong:?}");
    }
}

#[test]
fn baggage_keeps_to_its_bounds() {
    for fine in ["a=1", "a=", "a = 1 , b=2;p;q=r ;s = t", "a=1=2", "!#$%&'*+-.^_`|~=%20", "a=1,a=2"] {
        assert_eq!(Baggage::parse(fine).unwrap().as_str(), fine);
    }
    for wrong in ["", " ", "a", "=1", "a=1,", "a=\"1\"", "a=1 2", "a=\u{e9}", "(a)=1", "a=1;", "a=1;(p)", "a=\\", "a=\r\nb: c"] {
        assert_eq!(Baggage::parse(wrong), None, "{wrong:?}");
    }
    let members = |n: usize| vec!["a=1"; n].join(",");
    assert!(Baggage::parse(&members(64)).is_some() && Baggage::parse(&members(65)).is_none());
    let long = |n: usize| format!("a={}", "1".repeat(n - 2));
    assert!(Baggage::parse(&long(8192)).is_some() && Baggage::parse(&long(8193)).is_none());
}

#[test]
fn only_what_is_named_is_left_of_baggage() {
    let baggage = Baggage::parse("plan = gold;hop , Plan=x,user=ann,plan=2").unwrap();
    let only = |names: &[&str]| baggage.only(names).map(|left| left.as_str().to_owned());
    assert_eq!(only(&["plan", "other"]).as_deref(), Some("plan=gold;hop,plan=2"));
    assert_eq!((only(&["hop"]), only(&[])), (None, None));
}

fn headers(said: &[(&'static str, &str)]) -> HeaderMap {
    said.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).fold(
        HeaderMap::new(),
        |mut map, (name, value)| {
            let _: bool = map.append::<http::HeaderName>(name, value);
            map
        },
    )
}

#[test]
fn headers_say_the_same() {
    let context = |said: &[(&'static str, &str)]| TraceContext::of_headers(&headers(said));
    let one = context(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]).unwrap();
    assert_eq!((&*one.traceparent(), one.state()), (PARENT, Some("a=1,b=2")));
    assert_eq!(context(&[("traceparent", PARENT), ("tracestate", &"x".repeat(600))]).unwrap().state(), None);
    assert_eq!(context(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
    assert_eq!(context(&[("tracestate", "a=1")]), None);
    let baggage = Baggage::of_headers(&headers(&[("baggage", "a=1"), ("baggage", "b=2")]));
    assert_eq!(baggage.unwrap().as_str(), "a=1,b=2");
    assert_eq!(Baggage::of_headers(&headers(&[])), None);
}

#[test]
fn headers_may_be_as_long_as_meta_whether_they_are_one_or_several() {
    let list = |said: &[&str]| {
        let said: Vec<_> = said.iter().map(|said| ("tracestate", *said)).collect();
        joined(&headers(&said), "tracestate", 9)
    };
    assert_eq!(list(&["a=1,b=234"]).as_deref(), Some("a=1,b=234"));
    assert_eq!(list(&["a=1", "b=234"]).as_deref(), Some("a=1,b=234"));
    assert_eq!(
        [list(&["a=1,b=2345"]), list(&["a=1", "b=2345"]), list(&["a=1,b=234", ""]), list(&[""]), list(&[])],
        [const { None }; 5]
    );
    let longest = format!("a={},b={}", "v".repeat(256), "w".repeat(251));
    let context = TraceContext::of_headers(&headers(&[("traceparent", PARENT), ("tracestate", &longest)])).unwrap();
    assert_eq!(context.state(), Some(&*longest));
}

fn read(meta: Value) -> Meta {
    let Value::Object(meta) = meta else { return Meta::read(&Map::new()) };
    Meta::read(&meta)
}

#[test]
fn a_request_says_it_in_its_meta_and_else_in_its_headers() {
    let other = PARENT.replace("b7ad", "0000");
    let headers = headers(&[("traceparent", &other), ("baggage", "a=1"), ("idempotency-key", "k")]);
    let span = |meta: Meta| meta.trace.unwrap().span_id();
    let said = json!({ "traceparent": PARENT, "tracestate": "a=1", "baggage": "b=2" });
    let meta = read(said).or_headers(&headers);
    assert!(!meta.is_empty());
    assert_eq!((meta.baggage.as_ref().unwrap().as_str(), meta.idempotency_key.as_deref()), ("b=2", Some("k")));
    assert_eq!(span(meta), 0xb7ad_6b71_6920_3331);
    for garbage in [json!(null), json!(7), json!([PARENT]), json!("00-0-0-0"), json!("x".repeat(1 << 20))] {
        let meta = read(json!({ "traceparent": garbage, "tracestate": garbage, "baggage": garbage }));
        assert!(meta.is_empty(), "{meta:?}");
        assert_eq!(span(meta.or_headers(&headers)), 0x6b71_6920_3331);
    }
}

proptest! {
    #[test]
    fn what_is_made_is_read_again(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
        let context = TraceContext::new(trace_id, span_id, flags).unwrap();
        prop_assert_eq!(TraceContext::parse(&context.traceparent(), None), Some(context));
    }

    /// Whatever comes: what is made of it may be sent on, and says the same there.
    #[test]
    fn garbage_is_valid_or_not_there(
        parent in prop_oneof![any::<String>(), "[0-9a-fA-Fg]{1,3}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.*)?", "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?"],
        state in prop_oneof![any::<String>(), "([a-z0-9@]{0,3}=?[ -~\t]{0,4},?){0,40}"],
        baggage in prop_oneof![any::<String>(), "([a-z ]{0,3}=?[!-~]{0,4}[,;]?){0,70}"],
    ) {
        if let Some(context) = TraceContext::parse(&parent, Some(&state)) {
            prop_assert!(parent.is_char_boundary(55) && !parent.starts_with("ff"));
            prop_assert_eq!(&context.traceparent()[3..53], &parent[3..53]);
            prop_assert_eq!(TraceContext::parse(&context.traceparent(), context.state()), Some(context));
        }
        if let Some(baggage) = Baggage::parse(&baggage) {
            prop_assert!(baggage.members().count() <= 64);
            prop_assert_eq!(Baggage::parse(baggage.as_str()), Some(baggage.clone()));
            let names: Vec<_> = baggage.members().map(|(name, _)| name).collect();
            let same = baggage.only(&names).unwrap();
            prop_assert!(same.members().eq(baggage.members()));
        }
    }
}
