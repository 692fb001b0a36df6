//! Text that others chose, made safe to write down and to look at.

use std::{borrow::Cow, io};

use serde_json::ser::Formatter;

use crate::call::is_unsafe;

/// How many bytes a character takes in a record.
fn written(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        // All of them are in the basic plane: one escape each.
        c if is_unsafe(c) => 6,
        c => c.len_utf8(),
    }
}

/// The beginning of a text that takes at most `cap` bytes in a record; what is missing is an ellipsis.
pub(super) fn capped(text: &str, cap: usize) -> Cow<'_, str> {
    let mut length = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        length += written(c);
        (length > cap).then_some(at)
    });
    match end {
        None => text.into(),
        Some(end) => format!("{}…", &text[..end]).into(),
    }
}

/// Compact JSON in which every unsafe character is escaped, and so on one line.
pub(super) struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    fn printed(text: &str) -> String {
        let mut line = Vec::new();
        text.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Printable)).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_would_turn_a_line_around_is_escaped() {
        assert_eq!(printed("a\"b\nc\u{7f}\u{9b}\u{202e}\u{2028}é"), "\"a\\\"b\\nc\\u007f\\u009b\\u202e\\u2028é\"");
    }

    proptest! {
        /// What is written is one line, says the same, and is no longer than it may be.
        #[test]
        fn a_text_is_written_as_it_is_or_cut(text in any::<String>(), cap in 0_usize..80) {
            let line = printed(&text);
            prop_assert!(!line.chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), &*text);
            let cut = capped(&text, cap);
            // The quotes and the ellipsis.
            prop_assert!(printed(&cut).len() <= 2 + cap + 3, "{}", cut);
            prop_assert!(cut == text || text.starts_with(cut.strip_suffix('…').unwrap()));
        }
    }
}
