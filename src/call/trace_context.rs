//! Where a call stands in a trace: W3C Trace Context.

use std::{
    num::{NonZeroU64, NonZeroU128},
    sync::Arc,
};

use http::HeaderMap;

use super::{TRACEPARENT_KEY, TRACESTATE_KEY};

/// Which span of which trace a call is made in, as W3C Trace Context has it: what `traceparent` and `tracestate` say, in `_meta`
/// or in HTTP headers.
///
/// Whatever is held here is valid: it may be sent on as it is. It says nothing of who made it up. Cheap to clone.
///
/// ```
/// use buttress::call::TraceContext;
///
/// let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let context = TraceContext::parse(sent, Some("vendor=opaque")).ok_or("not valid")?;
/// assert_eq!((context.span_id(), context.is_sampled()), (0xb7ad_6b71_6920_3331, true));
/// assert_eq!((&*context.traceparent(), context.state()), (sent, Some("vendor=opaque")));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    state: Option<Arc<str>>,
}

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;
/// How much of either may come: what everybody has to pass on of a `tracestate`, and ample for a `traceparent` of the future.
pub(crate) const LONGEST_CONTEXT: usize = 512;
/// How many members a `tracestate` may have.
const MEMBERS: usize = 32;
/// How long a member's key and its value may be.
const PART: usize = 256;

const SAMPLED: u8 = 0b01;
/// All flags that mean something: sampled, and that the trace id is random. The others have to be sent as zero.
const FLAGS: u8 = 0b11;

impl TraceContext {
    /// A span of a trace. `None` where one of the ids is zero, which stands for no id. Flags that mean nothing are taken off.
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        let (trace_id, span_id) = (NonZeroU128::new(trace_id)?, NonZeroU64::new(span_id)?);
        Some(Self { trace_id, span_id, flags: flags & FLAGS, state: None })
    }

    /// The same with what tracing systems keep with it. What is not valid, or is longer than 512 bytes, is dropped whole, and so
    /// is what was there before.
    #[must_use]
    pub fn with_state(mut self, state: &str) -> Self {
        let state = (state.len() <= LONGEST_CONTEXT).then(|| trim(state)).filter(|state| is_state(state));
        self.state = state.map(Arc::from);
        self
    }

    /// Reads both. `None` where the `traceparent` is not valid. A version that is not known yet is read as far as it must agree
    /// with this one; a `tracestate` that is not valid is dropped alone.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        if traceparent.len() > LONGEST_CONTEXT {
            return None;
        }
        let (known, more) = traceparent.as_bytes().split_at_checked(LENGTH)?;
        let [v1, v2, b'-', trace_id @ .., b'-', f1, f2] = known else { return None };
        let (trace_id, [b'-', span_id @ ..]) = trace_id.split_at_checked(32)? else { return None };
        match (hex(&[*v1, *v2])?, more) {
            (0xff, _) => return None,
            (0, []) | (1.., [] | [b'-', ..]) => {}
            _ => return None,
        }
        let (span_id, flags) = (u64::try_from(hex(span_id)?).ok()?, u8::try_from(hex(&[*f1, *f2])?).ok()?);
        let context = Self::new(hex(trace_id)?, span_id, flags)?;
        Some(match tracestate {
            Some(state) => context.with_state(state),
            None => context,
        })
    }

    /// Reads both from HTTP headers. `None` where there is no `traceparent`, more than one, or one that is not valid.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT_KEY).iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        let context = Self::parse(parent.to_str().ok()?, None)?;
        Some(match joined(headers, TRACESTATE_KEY, LONGEST_CONTEXT) {
            Some(state) => context.with_state(&state),
            None => context,
        })
    }

    /// The trace; never zero.
    pub const fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The span; never zero.
    pub const fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// The flags, of which only those are set that mean something.
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether its sender may have recorded the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }

    /// What tracing systems keep with it: the `tracestate`.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The `traceparent`, of version 00.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// What lower-case digits say. `None` where there is another one.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Without the white space that HTTP allows around a part.
pub(super) fn trim(part: &str) -> &str {
    part.trim_matches([' ', '\t'])
}

/// All headers of a name as one list. `None` where there is none, or they are longer than this.
pub(super) fn joined(headers: &HeaderMap, name: &str, longest: usize) -> Option<String> {
    let mut list = String::new();
    for (n, value) in headers.get_all(name).iter().enumerate() {
        let value = value.to_str().ok()?;
        if n > 0 {
            list.push(',');
        }
        if list.len() + value.len() > longest {
            return None;
        }
        list.push_str(value);
    }
    (!list.is_empty()).then_some(list)
}

fn is_state(state: &str) -> bool {
    let mut keys = [""; MEMBERS];
    let (mut members, mut known) = (0, 0);
    for member in state.split(',').map(trim) {
        members += 1;
        if members > MEMBERS {
            return false;
        }
        // Lists that were joined may leave empty members behind.
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else { return false };
        if !is_key(key) || !is_value(value) || keys[..known].contains(&key) {
            return false;
        }
        keys[known] = key;
        known += 1;
    }
    known > 0
}

fn is_key(key: &str) -> bool {
    let begins = |first: u8| first.is_ascii_lowercase() || first.is_ascii_digit();
    let goes_on = |byte: u8| begins(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= PART && key.bytes().next().is_some_and(begins) && key.bytes().all(goes_on)
}

fn is_value(value: &str) -> bool {
    // It ends with something to be seen: the space behind it is not its own.
    (1..=PART).contains(&value.len())
        && !value.ends_with(' ')
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
}
