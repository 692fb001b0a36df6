//! What a name must be like to be a metric's label.

/// What shares a series with whatever else has none of its own.
pub(crate) const OTHER: &str = "_OTHER";

/// How many bytes a name may have that is a label: as many as the specification lets a tool's name have (Tools, 2025-11-25 on).
pub(crate) const LONGEST: usize = 128;

/// Whether a name that is a label may have this in it.
pub(crate) const fn is_fit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}

/// Whether this name may be a label.
pub(crate) fn is_fit_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_fit)
}

/// Whether this resource template may be one: of the characters of a URI those that no quotation has to escape, and braces.
pub(crate) fn is_fit_template(template: &str) -> bool {
    let is_fit = |byte| is_fit(byte) || b"{}:?#[]@!$&()*+,;=%~".contains(&byte);
    (1..=LONGEST).contains(&template.len()) && template.bytes().all(is_fit)
}
