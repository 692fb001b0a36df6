use std::fmt::Write;

use proptest::prelude::*;
use regex::Regex;

use super::template::{Steps, Template, TemplateError, encoded};

/// Whether they match, and in how many steps.
fn looked_at(template: &str, uri: &str) -> (bool, usize) {
    let mut steps = Steps::default();
    let matches = Template::parse(template).unwrap().matches(&encoded(uri), &mut steps);
    (matches, Steps::MOST - steps.0)
}

fn matches(template: &str, uri: &str) -> bool {
    looked_at(template, uri).0
}

#[test]
fn a_template_covers_what_it_may_expand_to() {
    for (template, of_it, others) in [
        ("a://b", &["a://b"][..], &["a://", "a://bc", "x"][..]),
        ("a://{x}", &["a://", "a://1", "a://caf%C3%A9", "a://café", "a://1:2"], &["a:/1", "a://1/2", "a://1?2", "a://1#2"]),
        ("a://{x}/b", &["a://1/b", "a:///b"], &["a://1", "a://1/2/b", "a://1/b/"]),
        ("a://{x*}", &["a://1/2", "a://1,2"], &["a://1/2?3"]),
        ("a://{+x}/b", &["a://1/2/b", "a://b/b/b"], &["a://1/b/2"]),
        ("a://{+x}/{y}.txt", &["a://1/2/3.txt", "a://x.txt/3.txt"], &["a://3.txt", "a://1/2.txt/3"]),
        ("a://b{#x}", &["a://b", "a://b#", "a://b#1/2#3"], &["a://b1", "a://b/#1"]),
        ("a://b{.x}", &["a://b", "a://b.1.2"], &["a://b.1/2", "a://b1"]),
        ("a://b{;x,y}/c", &["a://b;x=1;y=2/c", "a://b/c"], &["a://b;x=1/2/c", "a://bx/c"]),
        ("a://b{/x}", &["a://b", "a://b/", "a://b/1"], &["a://b/1/2", "a://b1"]),
        ("a://b{/x,y}", &["a://b", "a://b/1", "a://b/1/2"], &["a://b/1/2/3"]),
        ("a://b{/x*}", &["a://b", "a://b/1/2/3"], &["a://b1"]),
        ("a://b{?x,y}", &["a://b", "a://b?y=2&x=1", "a://b?x=1/2"], &["a://b&x=1", "a://b?x#1"]),
        ("a://b?c{&x}#d", &["a://b?c#d", "a://b?c&x=1#d"], &["a://b?cx#d", "a://b?c"]),
        ("my docs/é{x:3}", &["my docs/é1", "my%20docs/%C3%A91"], &["mydocs/é1"]),
    ] {
        for uri in of_it {
            assert!(matches(template, uri), "{template} should match {uri}");
        }
        for uri in others {
            assert!(!matches(template, uri), "{template} should not match {uri}");
        }
    }
}

#[test]
fn what_is_no_template_is_refused() {
    let error = |text: &str| Template::parse(text).unwrap_err();
    for text in ["{", "a{", "a://{x", "a}", "{x}}", "{a{b}", "{a{b}c}", "}{"] {
        assert_eq!(error(text), TemplateError::Brace(text.to_owned()), "{text}");
    }
    for expression in ["", "+", "?", "=x", "!x", "@x", "|x", ","] {
        let text = format!("a{{{expression}}}b");
        assert_eq!(error(&text), TemplateError::Expression { template: text.clone(), expression: expression.to_owned() });
    }
    assert_eq!(error(&"x".repeat(10_000)), TemplateError::Long { bytes: 10_000, places: 0 });
    assert_eq!(error(&"{x}".repeat(256)), TemplateError::Long { bytes: 768, places: 256 });
    assert_eq!(error(&format!("{{x}}{}{{y}}", "é".repeat(43))).to_string().matches("260").count(), 1);
    assert!(Template::parse(&"{x}".repeat(255)).is_ok());
    assert!(Template::parse(&format!("{}{{x}}", "x".repeat(1021))).is_ok(), "what is before the first expression takes no place");
    assert!(Template::parse("").is_ok(), "it expands to nothing");
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Value {
    Undefined,
    Text(String),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    /// An operator, and for each name its modifier and its value.
    Expression(&'static str, Vec<(Modifier, Value)>),
}

#[derive(Debug, Clone, Copy)]
enum Modifier {
    None,
    Explode,
    First(usize),
}

fn value() -> impl Strategy<Value = Value> {
    let text = || "[a-c/?#&=,.;:%é ]{0,4}";
    prop_oneof![
        Just(Value::Undefined),
        text().prop_map(Value::Text),
        prop::collection::vec(text(), 0..3).prop_map(Value::List),
        prop::collection::vec((text(), text()), 0..3).prop_map(Value::Pairs),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let modifier = prop_oneof![Just(Modifier::None), Just(Modifier::Explode), (1_usize..4).prop_map(Modifier::First)];
    let operator = prop::sample::select(vec!["", "+", "#", ".", "/", ";", "?", "&"]);
    prop_oneof![
        "[a-c/?#&=.:é ]{0,3}".prop_map(Part::Literal),
        (operator, prop::collection::vec((modifier, value()), 1..4))
            .prop_map(|(operator, names)| Part::Expression(operator, names)),
    ]
}

fn text_of(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Expression(operator, names) => {
                let names = names.iter().enumerate().map(|(n, (modifier, _))| match modifier {
                    Modifier::None => format!("v{n}"),
                    Modifier::Explode => format!("v{n}*"),
                    Modifier::First(most) => format!("v{n}:{most}"),
                });
                write!(text, "{{{operator}{}}}", names.collect::<Vec<_>>().join(",")).unwrap();
            }
        }
    }
    text
}

/// Percent-encodes all but what may stay: what no URI reserves, and with `reserved` what it does.
fn escape(text: &str, reserved: bool) -> String {
    let stays = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c) || (reserved && ":/?#[]@!$&'()*+,;=".contains(c));
    text.chars()
        .map(|c| if stays(c) { c.to_string() } else { c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect() })
        .collect()
}

/// RFC 6570, section 3.2, by the table of its appendix A.
fn expand(operator: &str, names: &[(Modifier, Value)]) -> String {
    let (first, between, named, if_empty, reserved) = match operator {
        "" => ("", ",", false, "", false),
        "+" => ("", ",", false, "", true),
        "#" => ("#", ",", false, "", true),
        "." => (".", ".", false, "", false),
        "/" => ("/", "/", false, "", false),
        ";" => (";", ";", true, "", false),
        "?" => ("?", "&", true, "=", false),
        "&" => ("&", "&", true, "=", false),
        _ => unreachable!(),
    };
    let say = |text: &str| escape(text, reserved);
    let with_name = |name: &str, value: String| match () {
        () if !named => value,
        () if value.is_empty() => format!("{name}{if_empty}"),
        () => format!("{name}={value}"),
    };
    let one = |(n, (modifier, value)): (usize, &(Modifier, Value))| -> Option<String> {
        let name = format!("v{n}");
        match (value, modifier) {
            (Value::Undefined, _) => None,
            (Value::List(list), _) if list.is_empty() => None,
            (Value::Pairs(pairs), _) if pairs.is_empty() => None,
            (Value::Text(text), Modifier::First(most)) => {
                Some(with_name(&name, say(&text.chars().take(*most).collect::<String>())))
            }
            (Value::Text(text), _) => Some(with_name(&name, say(text))),
            (Value::List(list), Modifier::Explode) => {
                Some(list.iter().map(|item| with_name(&name, say(item))).collect::<Vec<_>>().join(between))
            }
            (Value::List(list), _) => Some(with_name(&name, list.iter().map(|item| say(item)).collect::<Vec<_>>().join(","))),
            (Value::Pairs(pairs), Modifier::Explode) => {
                Some(pairs.iter().map(|(key, value)| format!("{}={}", say(key), say(value))).collect::<Vec<_>>().join(between))
            }
            (Value::Pairs(pairs), _) => Some(with_name(
                &name,
                pairs.iter().map(|(key, value)| format!("{},{}", say(key), say(value))).collect::<Vec<_>>().join(","),
            )),
        }
    };
    let defined: Vec<String> = names.iter().enumerate().filter_map(one).collect();
    if defined.is_empty() { String::new() } else { format!("{first}{}", defined.join(between)) }
}

/// The same template as a regular expression, by a reader that has nothing in common with the other.
fn regex(template: &str) -> Regex {
    let expression = Regex::new(r"\{([+#./;?&]?)([^{}]*)\}").unwrap();
    let (mut pattern, mut end) = (String::from("^(?s)"), 0);
    for found in expression.captures_iter(template) {
        let whole = found.get(0).unwrap();
        pattern.push_str(&regex::escape(&template[end..whole.start()]));
        end = whole.end();
        let names = found[2].split(',');
        pattern.push_str(&match &found[1] {
            "" if found[2].contains('*') => "[^?#]*".to_owned(),
            "" => "[^/?#]*".to_owned(),
            "+" => ".*".to_owned(),
            "#" => "(?:#.*)?".to_owned(),
            "." => r"(?:\.[^/?#]*)?".to_owned(),
            ";" => "(?:;[^/?#]*)?".to_owned(),
            "/" => names.map(|name| if name.contains('*') { "(?:/[^?#]*)?" } else { "(?:/[^/?#]*)?" }).collect(),
            "?" => r"(?:\?[^#]*)?".to_owned(),
            _ => "(?:&[^#]*)?".to_owned(),
        });
    }
    pattern.push_str(&regex::escape(&template[end..]));
    Regex::new(&(pattern + "$")).unwrap()
}

fn piece() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["x", "x,y", "x*", "x,y*", "x*,y"]);
    let operator = prop::sample::select(vec!["", "+", "#", ".", "/", ";", "?", "&"]);
    prop_oneof!["[ab/?#&;.]{1,2}", (operator, names).prop_map(|(operator, names)| format!("{{{operator}{names}}}"))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_expansion_matches(parts in prop::collection::vec(part(), 0..6)) {
        let template = text_of(&parts);
        let uri: String = parts.iter().map(|part| match part {
            Part::Literal(literal) => encoded(literal).into_owned(),
            Part::Expression(operator, names) => expand(operator, names),
        }).collect();
        prop_assert!(matches(&template, &uri), "{template} expands to {uri}");
    }

    #[test]
    fn it_is_the_regular_expression_that_it_says(
        pieces in prop::collection::vec(piece(), 0..6),
        uris in prop::collection::vec("[ab/?#&;.]{0,8}", 1..9),
    ) {
        let template = pieces.concat();
        let expected = regex(&template);
        for uri in uris {
            prop_assert_eq!(matches(&template, &uri), expected.is_match(&uri), "{} of {}", template, uri);
        }
    }

    #[test]
    fn no_template_takes_longer_than_the_one_length_times_the_other(
        pieces in prop::collection::vec(piece(), 0..40),
        uri in "[ab/]{0,200}",
    ) {
        let template = pieces.concat();
        let (_, steps) = looked_at(&template, &uri);
        prop_assert!(steps <= (uri.len() + 1) * (template.len() + 1), "{steps} steps for {template} and {uri}");
    }

    #[test]
    fn garbage_is_read_or_refused(text in ".{0,40}", braces in "[{}a/?*,+]{0,12}", uri in ".{0,40}") {
        for text in [text, braces] {
            if let Ok(template) = Template::parse(&text) {
                let mut steps = Steps::default();
                template.matches(&encoded(&uri), &mut steps);
            }
        }
    }
}

#[test]
fn a_long_uri_and_many_templates_are_soon_told_apart() {
    let mut steps = Steps::default();
    let long = format!("https://example.com/{}", "a".repeat(10_000));
    for n in 0..1_000 {
        assert!(!Template::parse(&format!("https://example.com/kind_{n}/{{id}}")).unwrap().matches(&long, &mut steps));
    }
    assert_eq!(steps.0, Steps::MOST, "their beginnings tell");
    for n in 0..1_000 {
        let template = format!("https://example.com/{{tenant}}/kind_{n}/{{id}}");
        let uri = "https://example.com/8f14e45f-ceea-467f-a0e6-0c5b0f1d2c3b/kind_999/7";
        assert_eq!(Template::parse(&template).unwrap().matches(uri, &mut steps), n == 999);
    }
}

#[test]
fn what_would_take_too_long_is_not_found() {
    let mut steps = Steps::default();
    let hostile = Template::parse(&"{+x}a".repeat(127)).unwrap();
    assert!(!hostile.matches(&"a".repeat(10_000), &mut steps));
    assert_eq!(steps.0, 0);
    assert!(!Template::parse("{x}{y}").unwrap().matches("b", &mut steps), "nor anything behind it");
    assert!(matches(&"{+x}a".repeat(127), &"a".repeat(200)));
}
