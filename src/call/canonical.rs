//! One spelling for JSON that a server cannot tell apart, so that equal arguments have equal digests.
//!
//! Members are sorted, space is dropped, and strings are compared by what they say. Numbers keep their spelling: `1` and
//! `1.0` may well be two things to a server, and rounding would make two large numbers one. So a digest may differ where the
//! arguments do not; it is never equal where they do.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value, value::RawValue};

use super::Digest;

/// The digest of a JSON value.
pub(crate) fn digest_of_value(value: &Value) -> Digest {
    let mut text = Vec::new();
    write_value(value, &mut text);
    Digest::of(&text)
}

/// The digest of those members of an object whose name passes.
pub(crate) fn digest_of_map(members: &Map<String, Value>, mut passes: impl FnMut(&str) -> bool) -> Digest {
    let mut text = Vec::new();
    write_members(members.iter().filter(|(name, _)| passes(name)), &mut text);
    Digest::of(&text)
}

/// The digest of a JSON text. `None` where it is not one value with one of each member: what a server would make of it is then
/// not known here.
pub(crate) fn digest_of_text(json: &str) -> Option<Digest> {
    text_of_text(json).as_deref().map(Digest::of)
}

/// The one spelling of a JSON text. `None` as for [`digest_of_text`].
pub(crate) fn text_of_text(json: &str) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(json.len());
    Reader::of(serde_json::from_str(json).ok()?).write(&mut text, DEPTH)?;
    Some(text)
}

/// The digest of those members of an object whose name passes. `None` where it is not one object with one of each member, all the
/// way down: what a server would make of it is then not known here.
pub(crate) fn digest_of_members(json: &str, mut passes: impl FnMut(&str) -> bool) -> Option<Digest> {
    let Members(members) = serde_json::from_str(json).ok()?;
    let mut text = Vec::with_capacity(json.len());
    for (name, value) in members.iter().filter(|(name, _)| passes(name)) {
        write_string(name, &mut text);
        Reader::of(value).write(&mut text, DEPTH)?;
        text.push(b',');
    }
    Some(Digest::of(&text))
}

/// As deep as serde_json itself goes.
const DEPTH: u8 = 127;

fn write_value(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Object(members) => write_members(members, to),
        Value::Array(items) => enclose(b"[]", items, to, write_value),
        Value::String(string) => write_string(string, to),
        Value::Number(number) => to.extend_from_slice(number.to_string().as_bytes()),
        Value::Bool(true) => to.push(b't'),
        Value::Bool(false) => to.push(b'f'),
        Value::Null => to.push(b'n'),
    }
}

fn write_members<'a>(members: impl IntoIterator<Item = (&'a String, &'a Value)>, to: &mut Vec<u8>) {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    enclose(b"{}", members, to, |(name, value), to| {
        write_string(name, to);
        write_value(value, to);
    });
}

fn enclose<T>(marks: &[u8; 2], items: impl IntoIterator<Item = T>, to: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    to.push(marks[0]);
    for item in items {
        write(item, to);
        to.push(b',');
    }
    to.push(marks[1]);
}

/// With its length in front, so that no string can pass for the end of itself.
fn write_string(string: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("\"{}:", string.len()).as_bytes());
    to.extend_from_slice(string.as_bytes());
}

/// Reads a text that serde_json has found to be JSON, in one pass: each level of nesting would be found so anew.
struct Reader<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn of(json: &'a RawValue) -> Self {
        Self { json: json.get(), at: 0 }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.json.as_bytes().get(self.at).copied()
    }

    /// The text up to the first byte for which this holds, or to the end.
    fn until(&mut self, ends: impl FnMut(u8) -> bool) -> Option<&'a str> {
        let rest = self.json.get(self.at..)?;
        let end = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end)
    }

    /// What a string says.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let began = self.at;
        self.at += 1;
        let (mut escaped, mut escapes) = (false, false);
        let inside = self.until(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            escapes |= escaped;
            ends
        })?;
        self.at += 1;
        if escapes { serde_json::from_str(self.json.get(began..self.at)?).ok() } else { Some(inside.into()) }
    }

    fn write(&mut self, to: &mut Vec<u8>, depth: u8) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'{' => self.write_object(to, depth)?,
            b'[' => self.write_array(to, depth)?,
            b'"' => write_string(&self.string()?, to),
            _ => match self.until(|byte| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace())? {
                word @ ("true" | "false" | "null") => to.extend_from_slice(&word.as_bytes()[..1]),
                number => to.extend_from_slice(number.as_bytes()),
            },
        }
        Some(())
    }

    fn write_array(&mut self, to: &mut Vec<u8>, depth: u8) -> Option<()> {
        self.at += 1;
        to.push(b'[');
        while self.peek()? != b']' {
            self.write(to, depth)?;
            to.push(b',');
            self.comma()?;
        }
        self.at += 1;
        to.push(b']');
        Some(())
    }

    fn write_object(&mut self, to: &mut Vec<u8>, depth: u8) -> Option<()> {
        self.at += 1;
        to.push(b'{');
        let (began, mut members) = (to.len(), Vec::new());
        while self.peek()? != b'}' {
            let (name, member) = (self.string()?, to.len() - began);
            write_string(&name, to);
            // The colon.
            self.peek()?;
            self.at += 1;
            self.write(to, depth)?;
            to.push(b',');
            members.push((name, member..to.len() - began));
            self.comma()?;
        }
        self.at += 1;
        if !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return None;
            }
            let written = to.split_off(began);
            members.into_iter().for_each(|(_, member)| to.extend_from_slice(&written[member]));
        }
        to.push(b'}');
        Some(())
    }

    /// Steps over a comma, if there is one.
    fn comma(&mut self) -> Option<()> {
        if self.peek()? == b',' {
            self.at += 1;
        }
        Some(())
    }
}

/// The members of an object, sorted; a name that comes twice is an error.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(std::marker::PhantomData<&'a ()>);

        impl<'de: 'a, 'a> de::Visitor<'de> for Visitor<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(Cow::Owned(name), value).is_some() {
                        return Err(de::Error::custom("a member comes twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_cannot_tell_apart_is_one() {
        let one = digest_of_text(r#"{"a":[1,true,null],"b":"\u00e9"}"#);
        assert_eq!(one, digest_of_text("{ \"b\" : \"é\", \"a\" : [ 1 , true , null ] }"));
        assert_eq!(one, Some(digest_of_value(&json!({ "b": "é", "a": [1, true, null] }))));
    }

    #[test]
    fn what_differs_differs() {
        let texts = [
            "{}",
            "[]",
            "\"\"",
            "null",
            "true",
            "\"true\"",
            "1",
            "1.0",
            "10",
            "\"1\"",
            "[1]",
            "[[1]]",
            "[1,1]",
            "[11]",
            r#"["1,1"]"#,
            r#"["1","1"]"#,
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            "12345678901234567890123",
            "12345678901234567890124",
        ];
        for (i, one) in texts.iter().enumerate() {
            assert!(digest_of_text(one).is_some(), "{one}");
            for other in &texts[..i] {
                assert_ne!(digest_of_text(one), digest_of_text(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_not_one_value_has_no_digest() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for odd in ["", " ", "{", r#"{"a":1,"a":1}"#, r#"[{"a":1,"\u0061":2}]"#, "1 2", "nul", &deep] {
            assert_eq!(digest_of_text(odd), None, "{odd:.40}");
        }
    }

    #[test]
    fn strings_are_compared_by_what_they_say() {
        let same = [r#"["a\"b\\","\u00e9\n"]"#, "[ \"\\u0061\\\"b\\u005c\" , \"é\\u000a\" ]"];
        assert!(digest_of_text(same[0]).is_some() && digest_of_text(same[0]) == digest_of_text(same[1]));
        assert_eq!(digest_of_text(same[0]), Some(digest_of_value(&json!(["a\"b\\", "é\n"]))));
        assert_eq!(digest_of_text(r#"["\ud800"]"#), None, "half a character");
        for (one, other) in [(r#"{"\u0062":1,"a":{}}"#, r#"{"a":{ },"b":1}"#), (r#"["\\",[]]"#, r#"[ "\u005c" , [ ] ]"#)] {
            assert!(digest_of_text(one).is_some() && digest_of_text(one) == digest_of_text(other), "{one} {other}");
        }
    }

    #[test]
    fn members_that_do_not_pass_do_not_count() {
        let of = |json| digest_of_members(json, |name| name != "meta");
        let one = of(r#"{"a":1,"b":[2]}"#);
        assert!(one.is_some());
        assert_eq!(one, of(r#"{ "meta": {"n": 1}, "b": [ 2 ], "a": 1 }"#));
        for other in [r#"{"a":1}"#, r#"{"a":1,"b":[3]}"#, r#"{"a":1,"c":[2]}"#, r#"{"a":1,"b":[2],"c":3}"#, "{}"] {
            assert_ne!(one, of(other), "{other}");
        }
        for odd in ["", "[]", r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":1}}"#] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        /// A value and its text have one digest, and two values only if they are equal.
        #[test]
        fn a_value_and_its_text_agree(one in json(), other in json()) {
            prop_assert_eq!(digest_of_text(&one.to_string()), Some(digest_of_value(&one)));
            prop_assert_eq!(digest_of_value(&one) == digest_of_value(&other), one == other);
        }
    }
}
