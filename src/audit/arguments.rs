//! What is written down of a call's arguments.

use std::{borrow::Cow, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess},
};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::{
    redact::{Deny, Texts, redacted},
    text::capped,
};
use crate::call::canonical;

/// What is written down of a call's arguments.
///
/// Whatever it is, names are written only of tools that the server has listed: those of an invented tool are as invented, and
/// only counted. What is not written never leaves the call.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Arguments {
    /// Nothing.
    None,
    /// The names of the members at the top, and how many bytes each value has: 32 names of 64 bytes at the most.
    #[default]
    Names,
    /// A keyed hash: tells whether two calls had the same arguments, and what they were to nobody who has not guessed both
    /// them and the key.
    Hash(HashKey),
    /// Names, numbers, truth values and nulls; of texts only their length.
    Redacted,
    /// All, except for the values of [denied](super::AuditLayer::deny) names.
    Full,
}

impl Arguments {
    pub(super) const fn mode(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Names => "names",
            Self::Hash(_) => "hash",
            Self::Redacted => "redacted",
            Self::Full => "full",
        }
    }

    /// The `arguments` member of a record, of a call with these arguments. `None`: they are not known.
    pub(super) fn said(&self, json: Option<&str>, listed: bool, deny: &Deny, cap: usize) -> Said {
        let mut said = Said { mode: self.mode(), ..Said::default() };
        let Some(json) = json.filter(|_| !matches!(self, Self::None)) else { return said };
        let outline = serde_json::from_str::<Outline>(json).ok();
        said.bytes = Some(json.len());
        said.count = outline.as_ref().map(|outline| outline.count);
        match self {
            Self::Hash(key) => said.hash = key.hash(json),
            Self::None => {}
            _ if !listed => {}
            Self::Names => (said.names, said.sizes) = outline.map_or((None, None), |all| (Some(all.names), Some(all.sizes))),
            Self::Redacted | Self::Full => {
                let texts = if matches!(self, Self::Full) { Texts::Kept } else { Texts::Replaced };
                if let Some((text, cut)) = redacted(json, texts, deny, cap) {
                    (said.text, said.cut) = (Some(text), Some(cut));
                }
            }
        }
        said
    }
}

/// What is written down of them.
#[derive(Debug, Serialize, Default)]
pub(super) struct Said {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sizes: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<bool>,
}

const NAMES: usize = 32;
const NAME: usize = 64;

/// An object's members in the order in which they came, also those that come twice.
#[derive(Default)]
struct Outline {
    count: usize,
    names: Vec<String>,
    sizes: Vec<usize>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Outline, A::Error> {
                let mut outline = Outline::default();
                while outline.count < NAMES
                    && let Some((name, value)) = members.next_entry::<String, &RawValue>()?
                {
                    outline.count += 1;
                    match capped(&name, NAME) {
                        Cow::Borrowed(_) => outline.names.push(name),
                        Cow::Owned(cut) => outline.names.push(cut),
                    }
                    outline.sizes.push(value.get().len());
                }
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    outline.count += 1;
                }
                Ok(outline)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// A key for hashes that say nothing to those who do not have it (HMAC-SHA-256).
///
/// Cheap to clone. Keep it: records under two keys cannot be compared.
#[derive(Clone)]
pub struct HashKey(Arc<Hmac<Sha256>>);

/// A key is too short to keep anybody from guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of {length} bytes, where at least {} are asked for", HashKey::SHORTEST)]
pub struct ShortKey {
    length: usize,
}

impl HashKey {
    const SHORTEST: usize = 16;

    /// A key of these bytes. Draw 32 at random.
    ///
    /// # Errors
    ///
    /// [`ShortKey`], for fewer than 16 bytes.
    pub fn new(key: &[u8]) -> Result<Self, ShortKey> {
        let short = ShortKey { length: key.len() };
        let mac = Hmac::new_from_slice(key).map_err(|_| short)?;
        if key.len() < Self::SHORTEST { Err(short) } else { Ok(Self(Arc::new(mac))) }
    }

    /// The hash of some arguments, as it stands in a record: to find the calls that had them. The order of members, space and
    /// the spelling of strings make no difference; the spelling of numbers does. `None`: not one JSON value with one of each
    /// member.
    pub fn hash(&self, arguments: &str) -> Option<String> {
        Some(self.hash_bytes(&canonical::text_of_text(arguments)?))
    }

    /// The hash of some bytes, in hexadecimal.
    pub(super) fn hash_bytes(&self, bytes: &[u8]) -> String {
        let mut mac = Hmac::clone(&self.0);
        mac.update(bytes);
        mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
            hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
            hex
        })
    }
}

/// A key is not for eyes.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> HashKey {
        HashKey::new(b"sixteen bytes or more").unwrap()
    }

    fn said(arguments: &Arguments, json: &str, listed: bool) -> Value {
        serde_json::to_value(arguments.said(Some(json), listed, &Deny::default(), 64)).unwrap()
    }

    #[test]
    fn each_mode_says_what_it_is_for() {
        let arguments = r#"{"city":"Oslo","apiToken":"t0p","days":3}"#;
        assert_eq!(said(&Arguments::None, arguments, true), json!({ "mode": "none" }));
        assert_eq!(
            said(&Arguments::Names, arguments, true),
            json!({ "mode": "names", "bytes": 41, "count": 3, "names": ["city", "apiToken", "days"], "sizes": [6, 5, 1] })
        );
        assert_eq!(
            said(&Arguments::Redacted, arguments, true)["text"],
            r#"{"city":"[4 bytes]","apiToken":"[redacted]","days":3}"#
        );
        assert_eq!(said(&Arguments::Full, arguments, true)["text"], r#"{"city":"Oslo","apiToken":"[redacted]","days":3}"#);
        let hash = said(&Arguments::Hash(key()), arguments, true)["hash"].clone();
        assert_eq!(hash, key().hash(r#"{ "days": 3, "apiToken": "t0p", "city": "Oslo" }"#).unwrap());
        assert_ne!(hash, HashKey::new(b"sixteen bytes or less").unwrap().hash(arguments).unwrap());
    }

    #[test]
    fn of_a_tool_that_is_not_listed_names_are_only_counted() {
        for mode in [Arguments::Names, Arguments::Redacted, Arguments::Full] {
            assert_eq!(said(&mode, r#"{"made up":1}"#, false), json!({ "mode": mode.mode(), "bytes": 13, "count": 1 }));
        }
    }

    #[test]
    fn names_are_capped_in_number_and_length() {
        let many: Value = (0..40).map(|n| (format!("{n:02}{}", "\u{1}".repeat(1000)), json!(n))).collect();
        let said = said(&Arguments::Names, &many.to_string(), true);
        assert_eq!((said["count"].as_u64(), said["names"].as_array().unwrap().len()), (Some(40), 32));
        assert_eq!(said["names"][7], format!("07{}…", "\u{1}".repeat(10)));
    }

    #[test]
    fn what_is_not_an_object_has_a_size_and_no_names() {
        assert_eq!(said(&Arguments::Names, "[1,2]", true), json!({ "mode": "names", "bytes": 5 }));
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let said = said(&Arguments::Full, &json!({ "text": "x".repeat(5000) }).to_string(), true);
        assert_eq!((said["cut"].as_bool(), said["text"].as_str().unwrap().len()), (Some(true), 64));
    }

    /// HMAC-SHA-256 of RFC 4231, test case 3.
    #[test]
    fn the_hash_is_hmac_sha_256() {
        let key = HashKey::new(&[0xaa; 20]).unwrap();
        assert_eq!(key.hash_bytes(&[0xdd; 50]), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
        let short = HashKey::new(b"short").unwrap_err();
        assert_eq!(short.to_string(), "a key of 5 bytes, where at least 16 are asked for");
        assert_eq!(format!("{key:?}"), "HashKey(..)");
    }
}
