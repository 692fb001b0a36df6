//! What a name must be like to be a metric's label.

/// What shares a series with whatever else has none of its own.
pub(crate) const OTHER: &str = "_OTHER";

/// How many bytes a name may have that is a label: as many as the specification lets a tool's name have (Tools, 2025-11-25 on).
pub(crate) const LONGEST: usize = 128;

/// Whether a name that is a label may have this in it.
pub(crate) const fn is_fit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}
