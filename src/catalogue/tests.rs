use std::collections::HashMap;

use super::{scopes::SCOPES, *};
use crate::call::Caller;

const READS: Annotations = Annotations { read_only: Some(true), idempotent: None };
const WRITES: Annotations = Annotations { read_only: Some(false), idempotent: None };
const UNSTATED: Annotations = Annotations { read_only: None, idempotent: None };

fn public<'a>(catalogue: &Catalogue, names: impl IntoIterator<Item = &'a str>) {
    catalogue.learn(&Method::ToolsCall, Scope::Public, names.into_iter().map(|name| (name, READS)));
}

#[test]
fn invented_names_share_the_entry_of_their_method() {
    let catalogue = Catalogue::new("up");
    public(&catalogue, ["listed"]);
    let resolve = |name| catalogue.resolve(&Method::ToolsCall, Some(name), None);
    assert_eq!(resolve("listed").name(), Some("listed"));
    assert!(Arc::ptr_eq(&resolve("made up"), &resolve("also made up")));
    assert_eq!(resolve("made up").label(), "_OTHER");
    let custom = |name: &str| catalogue.resolve(&Method::from_wire(name), None, None);
    assert!(Arc::ptr_eq(&custom("x/one"), &custom("x/two")));
    assert_eq!(custom("x/one").method().label(), "_OTHER");
}

#[test]
fn a_name_keeps_its_entry_when_it_is_listed_again() {
    let catalogue = Catalogue::new("up").trust_annotations();
    public(&catalogue, ["t"]);
    let before = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
    assert!(before.is_idempotent());
    catalogue.learn(&Method::ToolsCall, Scope::Public, [("t", Annotations::default())]);
    let after = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
    assert!(Arc::ptr_eq(&before, &after) && !after.is_idempotent());
}

#[test]
fn a_private_name_is_known_to_its_authorisation_only() {
    let catalogue = Catalogue::new("up");
    let (mine, yours) = (Some(Digest::of(b"mine")), Some(Digest::of(b"yours")));
    catalogue.learn(&Method::ToolsCall, Scope::Private(mine), [("secret", READS)]);
    assert!(catalogue.known(&Method::ToolsCall, "secret", mine).is_some());
    assert!(catalogue.known(&Method::ToolsCall, "secret", yours).is_none());
    assert!(catalogue.known(&Method::ToolsCall, "secret", None).is_none());
}

#[test]
fn beyond_its_capacity_a_catalogue_learns_nothing() {
    let catalogue = Catalogue::new("up").capacity(2);
    public(&catalogue, ["a", "b", "c"]);
    assert!(catalogue.known(&Method::ToolsCall, "b", None).is_some());
    assert!(catalogue.known(&Method::ToolsCall, "c", None).is_none());
    assert_eq!(catalogue.names.load().learned, 2);
}

#[test]
fn what_is_known_already_changes_nothing() {
    let catalogue = Catalogue::new("up");
    public(&catalogue, ["a", "b"]);
    let before = catalogue.names.load_full();
    public(&catalogue, ["b", "a"]);
    assert!(Arc::ptr_eq(&before, &catalogue.names.load_full()), "it would be copied with every list");
    public(&catalogue, ["c"]);
    assert!(!Arc::ptr_eq(&before, &catalogue.names.load_full()));
}

#[test]
fn metrics_have_room_by_all_names_that_there_are() {
    let catalogue = Catalogue::new("up").scrape_budget(100_000).tool("a", TargetPolicy::default());
    let has_room = || catalogue.upstream.ledger().is_roomy();
    public(&catalogue, ["b", "c"]);
    catalogue.learn(&Method::PromptsGet, Scope::Public, [("p", UNSTATED)]);
    assert!(has_room());
    catalogue.learn(&Method::ResourcesRead, Scope::Public, [("file:///{path}", UNSTATED)]);
    assert!(!has_room());
}

#[test]
fn a_catalogue_may_be_built_in_any_order() {
    let safe = TargetPolicy::default().idempotent(true);
    let catalogue = Catalogue::new("up")
        .tool("a", TargetPolicy::default())
        .tool("b", TargetPolicy::default())
        .tool("b", safe)
        .capacity(1)
        .trust_annotations();
    public(&catalogue, ["a", "c", "d"]);
    let safe = |name| catalogue.known(&Method::ToolsCall, name, None).map(|target| target.is_idempotent());
    assert_eq!([safe("a"), safe("b"), safe("c"), safe("d")], [Some(true), Some(true), Some(true), None]);
}

#[test]
fn the_operators_word_holds_whenever_the_tool_is_listed() {
    let safe = TargetPolicy::default().idempotent(true);
    let catalogue = Catalogue::new("up").tool("t", safe);
    public(&catalogue, ["t"]);
    assert!(catalogue.resolve(&Method::ToolsCall, Some("t"), None).is_idempotent());
}

/// What an upstream that names no `cacheScope` teaches, caller by caller.
fn privately<'a>(catalogue: &Catalogue, caller: &Caller, names: impl IntoIterator<Item = &'a str>, said: Annotations) {
    let listed = names.into_iter().map(|name| (name, said));
    catalogue.learn(&Method::ToolsCall, Scope::Private(caller.audience()), listed);
}

fn known(catalogue: &Catalogue, caller: &Caller, name: &str) -> Option<Arc<Target>> {
    catalogue.known(&Method::ToolsCall, name, caller.audience())
}

fn caller(token: usize) -> Caller {
    Caller::default().access_token(&token.to_le_bytes())
}

#[test]
fn a_name_has_one_entry_whoever_it_was_listed_to() {
    let catalogue = Catalogue::new("up").tool("declared", TargetPolicy::default());
    let find = |caller: &Caller, name| known(&catalogue, caller, name).unwrap();
    let anybody = Caller::default();
    for caller in [&caller(1), &caller(2), &anybody] {
        privately(&catalogue, caller, ["t", "declared"], READS);
    }
    public(&catalogue, ["t"]);
    for name in ["t", "declared"] {
        for caller in [caller(1), caller(2)] {
            assert!(Arc::ptr_eq(&find(&caller, name), &find(&anybody, name)), "{name}");
        }
        assert_eq!(find(&anybody, name).annotations(), READS);
    }
    assert_eq!(catalogue.names.load().learned, 1);
}

#[test]
fn a_renewed_token_takes_no_room() {
    let catalogue = Catalogue::new("up").capacity(20);
    let names: Vec<String> = (0..20).map(|name| name.to_string()).collect();
    for hour in 0..SCOPES + 2 {
        privately(&catalogue, &caller(hour), names.iter().map(String::as_str), READS);
        assert!(known(&catalogue, &caller(hour), "19").is_some(), "{hour}");
    }
    let ann = |token: &[u8]| Caller::default().principal("ann").access_token(token);
    privately(&catalogue, &ann(b"old"), ["1"], READS);
    assert!(known(&catalogue, &ann(b"new"), "1").is_some(), "she has seen it, whatever her token");
    assert!(known(&catalogue, &Caller::default().access_token(b"new"), "1").is_none());
    assert!(known(&catalogue, &Caller::of_tenant("other").principal("ann"), "1").is_none());
}

#[test]
fn the_oldest_private_scopes_make_room() {
    let catalogue = Catalogue::new("up");
    public(&catalogue, ["open"]);
    for token in 0..SCOPES {
        privately(&catalogue, &caller(token), ["t"], READS);
    }
    // The public list is one of them, and the last to go.
    assert!(known(&catalogue, &caller(0), "t").is_none());
    assert!((1..SCOPES).all(|token| known(&catalogue, &caller(token), "t").is_some()));
    privately(&catalogue, &caller(0), ["t"], READS);
    assert!(known(&catalogue, &caller(0), "t").is_some() && known(&catalogue, &caller(1), "t").is_none());
    assert!(known(&catalogue, &caller(1), "open").is_some());
    privately(&catalogue, &caller(0), ["u"], READS);
    assert!(known(&catalogue, &caller(2), "t").is_some(), "a scope that is known needs no room");
}

#[test]
fn what_lists_do_not_agree_on_does_not_count() {
    let catalogue = Catalogue::new("up").trust_annotations();
    let (one, other) = (caller(1), caller(2));
    let read_only = |caller| known(&catalogue, caller, "t").unwrap().annotations().read_only;
    privately(&catalogue, &one, ["t"], READS);
    assert_eq!(read_only(&one), Some(true));
    for (said, agreed) in [(WRITES, Some(false)), (UNSTATED, None), (READS, Some(true)), (WRITES, Some(false))] {
        privately(&catalogue, &other, ["t"], said);
        assert_eq!((read_only(&one), read_only(&other)), (agreed, agreed), "{said:?}");
        // What is said again changes nothing.
        privately(&catalogue, &one, ["t"], READS);
        assert_eq!(read_only(&one), agreed, "{said:?}");
    }
    public(&catalogue, ["t"]);
    assert_eq!(read_only(&one), Some(false), "what all may see is not what all may do");
    // Long after, it has not been said again.
    for token in 3..SCOPES + 3 {
        privately(&catalogue, &caller(token), ["t"], READS);
    }
    assert_eq!(read_only(&one), Some(true));
}

#[test]
fn a_full_catalogue_still_learns_of_what_it_knows() {
    let catalogue = Catalogue::new("up").capacity(1);
    public(&catalogue, ["a"]);
    catalogue.learn(&Method::ToolsCall, Scope::Public, [("b", READS), ("a", UNSTATED)]);
    privately(&catalogue, &caller(1), ["b", "a"], UNSTATED);
    assert_eq!(known(&catalogue, &caller(1), "a").map(|target| target.annotations()), Some(UNSTATED));
}

fn templates<'a>(catalogue: &Catalogue, scope: Scope, templates: impl IntoIterator<Item = &'a str>) {
    catalogue.learn(&Method::ResourcesRead, scope, templates.into_iter().map(|template| (template, UNSTATED)));
}

fn read(catalogue: &Catalogue, uri: &str) -> Option<String> {
    catalogue.resolve(&Method::ResourcesRead, Some(uri), None).name().map(str::to_owned)
}

#[test]
fn a_read_is_of_the_template_that_says_most_of_its_uri() {
    let catalogue = Catalogue::new("up");
    let listed = ["a://{+x}", "a://{x}{?q}", "a://{x}", "a://logs/{x}", "a://logs/today", "a://{y}/{+x}"];
    templates(&catalogue, Scope::Public, listed);
    let of = |uri| read(&catalogue, uri);
    for (uri, template) in [
        ("a://logs/today", "a://logs/today"),
        ("a://logs/1", "a://logs/{x}"),
        ("a://1", "a://{x}"),
        ("a://1?q=1", "a://{x}{?q}"),
        ("a://1/2", "a://{y}/{+x}"),
        ("a://1#2", "a://{+x}"),
    ] {
        assert_eq!(of(uri).as_deref(), Some(template), "{uri}");
    }
    let none = catalogue.resolve(&Method::ResourcesRead, Some("b://1"), None);
    assert!(Arc::ptr_eq(&none, &catalogue.resolve(&Method::ResourcesRead, None, None)));
    assert_eq!((none.name(), none.label()), (None, ""));
    // In whatever order they were listed, and whoever else has none of it.
    let backwards = Catalogue::new("up");
    templates(&backwards, Scope::Public, listed.into_iter().rev());
    assert_eq!(read(&backwards, "a://logs/1"), of("a://logs/1"));
    assert!(backwards.known(&Method::PromptsGet, "a://1", None).is_none());
    assert!(backwards.resolve(&Method::ResourcesSubscribe, Some("a://1"), None).name().is_none());
}

#[test]
fn a_template_that_callers_do_not_see_hides_none_that_they_do() {
    let catalogue = Catalogue::new("up");
    let mine = Some(Digest::of(b"mine"));
    templates(&catalogue, Scope::Public, ["a://{+x}"]);
    templates(&catalogue, Scope::Private(mine), ["a://logs/{x}"]);
    assert_eq!(read(&catalogue, "a://logs/1").as_deref(), Some("a://{+x}"));
    let of = |audience| catalogue.resolve(&Method::ResourcesRead, Some("a://logs/1"), audience);
    assert_eq!(of(mine).name(), Some("a://logs/{x}"));
    templates(&catalogue, Scope::Public, ["a://logs/{x}"]);
    assert!(Arc::ptr_eq(&of(mine), &of(None)), "one entry, whoever it was listed to");
}

#[test]
fn the_operators_word_on_a_template_holds() {
    let heavy = TargetPolicy::default().cost(5.try_into().unwrap());
    let catalogue = Catalogue::new("up").resource_template("a://{x}", heavy).unwrap().capacity(1).trust_annotations();
    templates(&catalogue, Scope::Public, ["a://{x}", "b://{x}", "c://{x}"]);
    let target = catalogue.resolve(&Method::ResourcesRead, Some("a://1"), None);
    assert_eq!((target.policy().cost.map(u32::from), target.is_idempotent()), (Some(5), true));
    assert_eq!(read(&catalogue, "b://1").as_deref(), Some("b://{x}"), "what is declared takes no room");
    assert_eq!(read(&catalogue, "c://1"), None);
    let refused = Catalogue::new("up").resource_template("a://{x", TargetPolicy::default()).unwrap_err();
    assert_eq!(refused.to_string(), "the URI template \"a://{x\" has a brace that stands alone");
}

#[test]
fn what_is_no_template_takes_no_room() {
    let catalogue = Catalogue::new("up").capacity(2);
    let (long, crowd): (_, Vec<String>) = ("x".repeat(10_000), (0..5_000).map(|n| format!("a://{n}/{{x}}")).collect());
    templates(
        &catalogue,
        Scope::Public,
        ["{", "a{", "}", "{}", "{=x}", &long].into_iter().chain(crowd.iter().map(String::as_str)),
    );
    assert_eq!((catalogue.names.load().learned, catalogue.targets().len()), (2, 2));
    assert_eq!(read(&catalogue, "a://1/2").as_deref(), Some("a://1/{x}"));
    for uri in ["", "{", "{x}", "\u{0}", "a://2/3", &long] {
        assert_eq!(read(&catalogue, uri), None, "{uri:.9}");
    }
}

#[test]
fn a_template_is_a_label_where_nothing_in_it_has_to_be_escaped() {
    let longest = format!("{}{{x}}", "x".repeat(125));
    let long = format!("x{longest}");
    let catalogue = Catalogue::new("up");
    let listed = ["a://b.c/{+x}{?y,z*}#100%~", &longest, "a\"{x}", "a\\{x}", "a\n{x}", "a é{x}", &long];
    templates(&catalogue, Scope::Public, listed);
    let labels: HashMap<_, _> =
        catalogue.targets().iter().map(|target| (target.name().unwrap().to_owned(), target.label().to_owned())).collect();
    for (n, template) in listed.into_iter().enumerate() {
        assert_eq!(labels[template], if n < 2 { template } else { "_OTHER" });
    }
}
