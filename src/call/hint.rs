//! A yes, a no, or nothing, in two bits: stated, and true.

pub(super) const fn pack(hint: Option<bool>) -> u8 {
    match hint {
        None => 0b00,
        Some(false) => 0b01,
        Some(true) => 0b11,
    }
}

/// The lowest two bits; whatever stands above them counts for nothing.
pub(super) const fn unpack(bits: u8) -> Option<bool> {
    match bits & 0b11 {
        0b00 => None,
        0b01 => Some(false),
        _ => Some(true),
    }
}
