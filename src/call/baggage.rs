//! What a trace carries for its applications: W3C Baggage.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    BAGGAGE_KEY,
    trace_context::{joined, trim},
};

/// What a trace carries along for applications, as W3C Baggage has it: what `baggage` says, in `_meta` or in HTTP headers.
///
/// Whatever is held here is valid, and within the bounds up to which everybody has to pass it on: 8,192 bytes and 64 members. It
/// may say anything of anybody, so name [those members](Self::only) that are to go on. Cheap to clone.
///
/// ```
/// use buttress::call::Baggage;
///
/// let baggage = Baggage::parse("plan=gold, email=a%40example.com;consent").ok_or("not valid")?;
/// assert_eq!(baggage.members().collect::<Vec<_>>(), [("plan", "gold"), ("email", "a%40example.com;consent")]);
/// assert_eq!(baggage.only(&["plan"]).ok_or("not there")?.as_str(), "plan=gold");
/// assert_eq!(baggage.only(&["tier"]), None);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baggage(Arc<str>);

/// How many bytes it may be.
pub(crate) const LONGEST_BAGGAGE: usize = 8192;
/// How many members it may have.
const MEMBERS: usize = 64;

impl Baggage {
    /// Reads it. `None` where it is not valid or beyond its bounds: then it is as if it were not there.
    pub fn parse(baggage: &str) -> Option<Self> {
        if baggage.len() > LONGEST_BAGGAGE {
            return None;
        }
        let baggage = trim(baggage);
        let valid = baggage.split(',').enumerate().all(|(n, member)| n < MEMBERS && is_member(member));
        valid.then(|| Self(baggage.into()))
    }

    /// Reads it from HTTP headers, of which there may be several.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        Self::parse(&joined(headers, BAGGAGE_KEY, LONGEST_BAGGAGE)?)
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of each member, and its value: percent-encoded as it came, with its properties, if it has some. A name may come
    /// twice.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|member| member.split_once('=')).map(|(name, value)| (trim(name), trim(value)))
    }

    /// Those of its members that have one of these names, which are case sensitive. `None`: there are none.
    pub fn only<N: AsRef<str>>(&self, names: &[N]) -> Option<Self> {
        let mut kept = String::new();
        for (name, value) in self.members().filter(|(name, _)| names.iter().any(|wanted| wanted.as_ref() == *name)) {
            let comma = if kept.is_empty() { "" } else { "," };
            kept.extend([comma, name, "=", value]);
        }
        (!kept.is_empty()).then(|| Self(kept.into()))
    }
}

fn is_member(member: &str) -> bool {
    let mut parts = member.split(';');
    let named = parts.next().and_then(|member| member.split_once('=')).is_some_and(is_pair);
    named && parts.all(|property| property.split_once('=').map_or_else(|| is_token(trim(property)), is_pair))
}

fn is_pair((name, value): (&str, &str)) -> bool {
    is_token(trim(name))
        && trim(value).bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b',' | b';' | b'\\'))
}

/// As in HTTP.
fn is_token(name: &str) -> bool {
    let signs = b"!#$%&'*+-.^_`|~";
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
}
