//! Arguments, with what nobody should read taken out.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Pieces of names whose values are never written down.
#[derive(Debug, Clone)]
pub(super) struct Deny(Vec<String>);

const FRAGMENTS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "bearer",
    "credential",
    "cookie",
    "session",
    "signature",
    "otp",
    "cvv",
    "ssn",
    "cardnumber",
    "iban",
];

impl Default for Deny {
    fn default() -> Self {
        Self(FRAGMENTS.map(str::to_owned).into())
    }
}

impl Deny {
    pub(super) fn add(&mut self, fragment: &str) {
        // Nothing but signs would be nothing, which is a piece of every name.
        self.0.extend(Some(plain(fragment)).filter(|fragment| !fragment.is_empty()));
    }

    pub(super) fn denies(&self, name: &str) -> bool {
        let name = plain(name);
        self.0.iter().any(|fragment| name.contains(&**fragment))
    }
}

/// So that `API-Key`, `api_key` and `apiKey` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether texts are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    Kept,
    Replaced,
}

/// The JSON text `json` with the values of denied names replaced, wherever they stand, and all texts too unless they are kept;
/// and whether it was cut at `cap` bytes. `None`: it cannot be read.
pub(super) fn redacted(json: &str, texts: Texts, deny: &Deny, cap: usize) -> Option<(String, bool)> {
    let mut copy = Copy { out: String::new(), cap, cut: false, texts, deny };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    copy.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some((copy.out, copy.cut))
}

/// Writes what it reads, in one pass; so a member that comes twice is written twice, and none hides another.
struct Copy<'a> {
    out: String,
    cap: usize,
    cut: bool,
    texts: Texts,
    deny: &'a Deny,
}

impl Copy<'_> {
    fn write(&mut self, text: &str) {
        if self.cut {
            return;
        }
        let room = self.cap - self.out.len();
        self.cut = text.len() > room;
        let end = if self.cut { (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0) } else { text.len() };
        self.out.push_str(&text[..end]);
    }

    fn write_string(&mut self, string: &str) {
        // What is beyond the cap is cut anyway.
        let end = (0..=string.len().min(self.cap)).rev().find(|end| string.is_char_boundary(*end)).unwrap_or(0);
        let quoted = serde_json::to_string(&string[..end]).unwrap_or_default();
        self.write(if end < string.len() { quoted.strip_suffix('"').unwrap_or(&quoted) } else { &quoted });
        self.cut |= end < string.len();
    }
}

impl<'de> DeserializeSeed<'de> for &mut Copy<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.cut {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Copy<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.write("null");
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.write(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.write(&value.to_string());
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.write(&value.to_string());
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.write(&serde_json::to_string(&value).unwrap_or_default());
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        match self.texts {
            Texts::Kept => self.write_string(value),
            Texts::Replaced => self.write(&format!("\"[{} bytes]\"", value.len())),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.write("[");
        let mut first = true;
        while items.next_element_seed(Item { copy: self, first })?.is_some() {
            first = false;
        }
        self.write("]");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.write("{");
        let mut first = true;
        while let Some(name) = members.next_key::<String>()? {
            if !std::mem::take(&mut first) {
                self.write(",");
            }
            self.write_string(&name);
            self.write(":");
            if self.deny.denies(&name) {
                members.next_value::<IgnoredAny>()?;
                self.write("\"[redacted]\"");
            } else {
                members.next_value_seed(&mut *self)?;
            }
        }
        self.write("}");
        Ok(())
    }
}

/// An item of an array: whether it is there is known when it is read, and then what stands between two is written.
struct Item<'a, 'b> {
    copy: &'a mut Copy<'b>,
    first: bool,
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.first {
            self.copy.write(",");
        }
        self.copy.deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const PLENTY: usize = 1 << 20;

    fn with(texts: Texts, arguments: &Value) -> Value {
        let (text, cut) = redacted(&arguments.to_string(), texts, &Deny::default(), PLENTY).unwrap();
        assert!(!cut);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn denied_names_lose_their_values_wherever_they_stand() {
        let arguments = json!({
            "city": "Oslo", "days": 3, "exact": true, "none": null,
            "API-Key": "k", "login": [{ "userPassword": { "old": 1, "new": 2 } }, -1.5, []],
        });
        assert_eq!(
            with(Texts::Kept, &arguments),
            json!({
                "city": "Oslo", "days": 3, "exact": true, "none": null,
                "API-Key": "[redacted]", "login": [{ "userPassword": "[redacted]" }, -1.5, []],
            })
        );
        assert_eq!(
            with(Texts::Replaced, &arguments),
            json!({
                "city": "[4 bytes]", "days": 3, "exact": true, "none": null,
                "API-Key": "[redacted]", "login": [{ "userPassword": "[redacted]" }, -1.5, []],
            })
        );
    }

    #[test]
    fn a_member_that_comes_twice_is_written_twice() {
        let twice = r#"{"a":1,"a":2,"token":"x","token":"y"}"#;
        let (text, _) = redacted(twice, Texts::Kept, &Deny::default(), PLENTY).unwrap();
        assert_eq!(text, r#"{"a":1,"a":2,"token":"[redacted]","token":"[redacted]"}"#);
    }

    #[test]
    fn what_cannot_be_read_is_not_written() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for odd in ["", "{", r#"{"a":}"#, "1 2", &deep] {
            assert_eq!(redacted(odd, Texts::Kept, &Deny::default(), PLENTY), None, "{odd:.20}");
        }
    }

    #[test]
    fn a_text_that_is_cut_before_a_long_character_has_no_end() {
        let cut = redacted(r#""seven: €""#, Texts::Kept, &Deny::default(), 9);
        assert_eq!(cut, Some((r#""seven: "#.to_owned(), true)));
        assert_eq!(redacted(r#""seven: €""#, Texts::Kept, &Deny::default(), 12), Some((r#""seven: €""#.to_owned(), false)));
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{1,4}", Just("Pass_Word".to_owned()), Just("myTOKEN".to_owned())]
    }

    /// Values under a denied name hold `hush`, which stands nowhere else.
    fn arguments() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a-gé\"\\\\\u{0}]{0,9}".prop_map(Value::from)];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(name(), inner, 0..5).prop_map(|members| {
                    let deny = Deny::default();
                    members
                        .into_iter()
                        .map(|(name, value)| {
                            let value = if deny.denies(&name) { json!(["hush", { "x": "hush" }]) } else { value };
                            (name, value)
                        })
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_denied_is_ever_written(arguments in arguments(), cap in 0_usize..300) {
            let json = arguments.to_string();
            for texts in [Texts::Kept, Texts::Replaced] {
                let (whole, cut) = redacted(&json, texts, &Deny::default(), PLENTY).unwrap();
                prop_assert!(!cut && !whole.contains("hush"));
                prop_assert!(serde_json::from_str::<Value>(&whole).is_ok(), "{}", whole);
                let (part, cut) = redacted(&json, texts, &Deny::default(), cap).unwrap();
                prop_assert!(part.len() <= cap && whole.starts_with(&part));
                prop_assert_eq!(cut, part.len() < whole.len());
            }
        }
    }
}
