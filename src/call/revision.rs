//! Which revision of the protocol is spoken, and in which session.

use std::{
    fmt,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Digest;

/// A revision of the protocol, by its date. Later ones are greater.
///
/// ```
/// use buttress::call::Revision;
///
/// let (old, new) = (Revision::from_wire("2025-11-25"), Revision::from_wire("2026-07-28"));
/// assert!(old < new);
/// assert_eq!((old.map(Revision::has_sessions), new.map(Revision::has_sessions)), (Some(true), Some(false)));
/// assert_eq!(Revision::from_wire("DRAFT-2027-v1"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(NonZeroU32);

/// The first revision in which each request stands for itself.
const STATELESS: u32 = 20_260_728;

impl Revision {
    /// Reads a revision as the protocol spells it. `None`: it is no date, as that of a draft.
    pub fn from_wire(text: &str) -> Option<Self> {
        let text: &[u8; 10] = text.as_bytes().try_into().ok()?;
        let mut date = 0;
        for (place, byte) in text.iter().enumerate() {
            match (place, byte) {
                (4 | 7, b'-') => {}
                (4 | 7, _) => return None,
                (_, b'0'..=b'9') => date = date * 10 + u32::from(byte - b'0'),
                _ => return None,
            }
        }
        NonZeroU32::new(date).map(Self)
    }

    /// Whether a connection is a session, which a server may keep state for: so up to 2025-11-25. Since then each request says
    /// itself all that its answer depends on.
    pub const fn has_sessions(self) -> bool {
        self.0.get() < STATELESS
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As the protocol spells it.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.0.get();
        write!(f, "{:04}-{:02}-{:02}", date / 10_000, date / 100 % 100, date % 100)
    }
}

/// Tells the sessions of one caller apart. Short, as it stands beside who calls and never for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session(u64);

impl Session {
    /// The session that bears this id on the wire.
    #[expect(clippy::cast_possible_truncation, reason = "half of a digest is one too")]
    pub fn of(id: &[u8]) -> Self {
        Self(Digest::of(id).bits() as u64)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// What to call it where people read: 16 digits that tell the sessions of this process apart, and let nobody speak in one.
    /// Another process calls the same session something else.
    pub fn pseudonym(self) -> String {
        format!("{:016x}", self.0)
    }

    /// A session that has no id, and is no other.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::of(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes())
    }
}

/// One that is no other.
impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// Not for eyes: who knows a session's id can speak in it.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}
