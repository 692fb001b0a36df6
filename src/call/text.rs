//! Text that others chose, before somebody looks at it.

/// Whether a character must not be shown as it is: it would move a terminal's cursor, turn the line around, or not be seen at
/// all.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
