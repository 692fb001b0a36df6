//! Reading and changing a JSON text without parsing it whole.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Reads an object. serde would take an array for the members in their order.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    if json.trim_ascii_start().starts_with('{') { serde_json::from_str(json).ok() } else { None }
}

/// For a member whose `null` is not the same as its absence.
pub(super) fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// All members of an object, in their order; a name may come twice.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

impl<'a> Members<'a> {
    /// The first of this name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The object without the members whose name is one of these; the values of the others as they stood.
    pub(super) fn without(&self, gone: impl Fn(&str) -> bool) -> String {
        let kept = self.0.iter().filter(|(name, _)| !gone(name));
        let members: Vec<_> = kept.map(|(name, value)| format!("{}:{value}", serde_json::Value::from(&**name))).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Changes to parts of a text; every byte outside of them stays.
pub(super) struct Edits<'a> {
    text: &'a Bytes,
    /// Where a part begins, how long it is, and what takes its place.
    edits: Vec<(usize, usize, String)>,
}

impl<'a> Edits<'a> {
    pub(super) const fn of(text: &'a Bytes) -> Self {
        Self { text, edits: Vec::new() }
    }

    /// Puts `new` in the place of a part, which is a slice of the text itself.
    pub(super) fn replace(&mut self, part: &[u8], new: String) {
        // What is no part of the text is not found in it, and nothing is changed.
        let at = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if at.checked_add(part.len()).is_some_and(|end| end <= self.text.len()) {
            self.edits.push((at, part.len(), new));
        }
    }

    /// Puts `members` first into an object, which is a part of the text.
    pub(super) fn open(&mut self, object: &[u8], members: &str) {
        if let Some((b'{', inside)) = object.split_first() {
            let comma = if inside.trim_ascii_start().starts_with(b"}") { "" } else { "," };
            self.replace(&inside[..0], format!("{members}{comma}"));
        }
    }

    /// Puts `item` last into an array, which is a part of the text.
    pub(super) fn push(&mut self, array: &[u8], item: &str) {
        if let [b'[', inside @ .., b']'] = array {
            let comma = if inside.trim_ascii().is_empty() { "" } else { "," };
            self.replace(&inside[inside.len()..], format!("{comma}{item}"));
        }
    }

    /// The changed text. `None`: there is nothing to change.
    pub(super) fn apply(mut self) -> Option<Bytes> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|(at, ..)| *at);
        let grown: usize = self.edits.iter().map(|(.., new)| new.len()).sum();
        let (mut text, mut copied) = (Vec::with_capacity(self.text.len() + grown), 0);
        for (at, length, new) in self.edits {
            text.extend_from_slice(&self.text[copied..at]);
            text.extend_from_slice(new.as_bytes());
            copied = at + length;
        }
        text.extend_from_slice(&self.text[copied..]);
        Some(text.into())
    }
}
