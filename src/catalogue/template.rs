//! Whether a URI may be what a URI template (RFC 6570) expands to.
//!
//! All expansions of a template match it, and so does what clients leave unencoded that they should have encoded, as far as it
//! cannot be taken for another part of the URI:
//!
//! | expression | covers |
//! |---|---|
//! | `{x}` | what is within one segment of a path |
//! | `{x*}` | several segments: to the RFC a list without slashes, but servers use it for paths |
//! | `{+x}` | anything |
//! | `{#x}` | nothing, or `#` and anything |
//! | `{.x}`, `{;x}` | nothing, or `.` or `;` and what is within one segment |
//! | `{/x}`, `{/x*}` | nothing, or `/` and one segment, or several; each name one of its own |
//! | `{?x}`, `{&x}` | nothing, or `?` or `&` and all up to a `#`, whatever the names |
//!
//! A template is read into places, and a URI is read once, byte by byte, with the set of all places where it may have got to: so
//! it takes no longer than the one's length times the other's, whatever they are, and nothing is allocated.

use std::{borrow::Cow, cmp::Reverse, fmt::Write, sync::Arc};

/// How many bytes a template may have.
const LONGEST: usize = 1024;

/// How many characters and expressions may stand between the beginning of its first expression and the end of its last.
const PLACES: usize = 255;

/// Why a text is no URI template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It has a brace without the other.
    #[error("the URI template {0:?} has a brace that stands alone")]
    Brace(String),
    /// It has an expression without a name, or with an operator that RFC 6570 keeps for later.
    #[error("the URI template {template:?} has {{{expression}}} in it, which no revision of RFC 6570 gives a meaning")]
    Expression {
        /// The template.
        template: String,
        /// The expression, without its braces.
        expression: String,
    },
    /// It is longer than is worth looking at.
    #[error(
        "a URI template has {bytes} bytes, {places} of them from its first expression to its last, but at most {LONGEST} and {PLACES} are read"
    )]
    Long {
        /// Its length.
        bytes: usize,
        /// How many characters and expressions of it are not before the first expression, nor behind the last.
        places: usize,
    },
}

/// A template, read.
#[derive(Debug)]
pub(super) struct Template {
    text: Arc<str>,
    /// What stands before the first expression, and behind the last.
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
    places: Box<[Place]>,
    literals: usize,
    /// How far the furthest of its expressions goes.
    reach: Option<Reach>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This byte.
    Byte(u8),
    /// This byte, and the run behind it; or neither.
    Opening(u8),
    /// Any bytes within its reach, or none.
    Run(Reach),
}

/// How far an expression goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Segment,
    Path,
    Query,
    Anything,
}

impl Reach {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Segment => !matches!(byte, b'/' | b'?' | b'#'),
            Self::Path => !matches!(byte, b'?' | b'#'),
            Self::Query => byte != b'#',
            Self::Anything => true,
        }
    }
}

impl Template {
    /// Reads a template. What its names are does not matter.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LONGEST {
            return Err(TemplateError::Long { bytes: text.len(), places: 0 });
        }
        let alone = || TemplateError::Brace(text.to_owned());
        let (mut places, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, expressions) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if literal.contains('}') {
                return Err(alone());
            }
            places.extend(encoded(literal).bytes().map(Place::Byte));
            let Some(inside) = expressions.strip_prefix('{') else { break };
            let (expression, behind) =
                inside.split_once('}').filter(|(expression, _)| !expression.contains('{')).ok_or_else(alone)?;
            places.extend(
                covered(expression)
                    .ok_or_else(|| TemplateError::Expression { template: text.to_owned(), expression: expression.to_owned() })?,
            );
            rest = behind;
        }
        let literals = places.iter().filter_map(|place| place.literal()).count();
        let reach = places.iter().filter_map(|place| if let Place::Run(reach) = place { Some(*reach) } else { None }).max();
        let prefix: Box<[u8]> = places.iter().map_while(|place| place.literal()).collect();
        let mut places = places.split_off(prefix.len());
        let behind = places.iter().rposition(|place| place.literal().is_none()).map_or(0, |last| last + 1);
        let suffix = places.split_off(behind).iter().filter_map(|place| place.literal()).collect();
        if places.len() > PLACES {
            return Err(TemplateError::Long { bytes: text.len(), places: places.len() });
        }
        Ok(Self { text: text.into(), prefix, suffix, places: places.into(), literals, reach })
    }

    pub(super) const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// By this the one that says most about a URI comes first: the one with most characters of its own; of those with as many,
    /// the one that goes less far.
    pub(super) fn rank(&self) -> impl Ord {
        (Reverse(self.literals), self.reach, self.text.clone())
    }

    /// Whether it may expand to this URI, [`encoded`]. Also no if that takes more steps than are left.
    pub(super) fn matches(&self, uri: &str, steps: &mut Steps) -> bool {
        let between = uri.as_bytes().strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        let Some(between) = between else { return false };
        let mut reached = Reached::default();
        self.enter(0, &mut reached);
        for &byte in between {
            let mut next = Reached::default();
            for at in reached.places() {
                if !steps.take() {
                    return false;
                }
                match self.places.get(at) {
                    Some(Place::Byte(expected) | Place::Opening(expected)) if *expected == byte => self.enter(at + 1, &mut next),
                    Some(Place::Run(reach)) if reach.has(byte) => self.enter(at, &mut next),
                    _ => {}
                }
            }
            reached = next;
            if reached == Reached::default() {
                return false;
            }
        }
        reached.has(self.places.len())
    }

    /// A place, and those behind it if nothing need stand there.
    fn enter(&self, mut at: usize, reached: &mut Reached) {
        while reached.insert(at) {
            at += match self.places.get(at) {
                Some(Place::Run(_)) => 1,
                Some(Place::Opening(_)) => 2,
                Some(Place::Byte(_)) | None => break,
            };
        }
    }
}

impl Place {
    const fn literal(self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(byte),
            Self::Opening(_) | Self::Run(_) => None,
        }
    }
}

/// What an expression covers. `None`: it is none.
fn covered(expression: &str) -> Option<Vec<Place>> {
    let (operator, names) = match expression.as_bytes().first()? {
        operator @ (b'+' | b'#' | b'.' | b';' | b'/' | b'?' | b'&') => (*operator, &expression[1..]),
        b'=' | b',' | b'!' | b'@' | b'|' => return None,
        _ => (b' ', expression),
    };
    if names.is_empty() {
        return None;
    }
    let path = |names: &str| Place::Run(if names.contains('*') { Reach::Path } else { Reach::Segment });
    Some(match operator {
        b'+' => vec![Place::Run(Reach::Anything)],
        b'#' => vec![Place::Opening(b'#'), Place::Run(Reach::Anything)],
        b'?' | b'&' => vec![Place::Opening(operator), Place::Run(Reach::Query)],
        b'.' | b';' => vec![Place::Opening(operator), Place::Run(Reach::Segment)],
        b'/' => names.split(',').flat_map(|name| [Place::Opening(b'/'), path(name)]).collect(),
        _ => vec![path(names)],
    })
}

/// A URI, or the literal part of a template, with what is no character of a URI percent-encoded: so two that were written by
/// different hands are alike.
pub(super) fn encoded(text: &str) -> Cow<'_, str> {
    let is_of_a_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    if text.bytes().all(is_of_a_uri) {
        return text.into();
    }
    let mut all = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_of_a_uri(byte) {
            all.push(byte.into());
        } else {
            // A string can always be written to.
            let _infallible = write!(all, "%{byte:02X}");
        }
    }
    all.into()
}

/// How much may still be looked at for one call: a place for a byte.
#[derive(Debug)]
pub(super) struct Steps(pub(super) usize);

impl Steps {
    /// Enough to find one of a thousand templates that all begin alike for a URI of a hundred bytes; about a millisecond.
    pub(super) const MOST: usize = 100_000;

    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self(Self::MOST)
    }
}

/// A set of places, and the end behind the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reached([u64; (PLACES + 1) / 64]);

impl Reached {
    /// Whether it is new.
    const fn insert(&mut self, at: usize) -> bool {
        let (word, bit) = (&mut self.0[at / 64], 1 << (at % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    const fn has(&self, at: usize) -> bool {
        self.0[at / 64] & 1 << (at % 64) != 0
    }

    fn places(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, bits)| {
            std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
                .take_while(|bits| *bits != 0)
                .map(move |bits| 64 * word + bits.trailing_zeros() as usize)
        })
    }
}
