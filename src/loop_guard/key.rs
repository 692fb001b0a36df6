//! Which calls are the same.

use crate::call::{CallParams, Digest, Target};

/// A call, as far as two calls are the same: a digest of its target, its name, its arguments and what it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u128);

impl Key {
    /// The name is in it since what nobody has listed shares a target. `None`: the parameters do not tell.
    pub(super) fn of<P: CallParams>(target: &Target, params: &P) -> Option<Self> {
        let arguments = params.arguments()?;
        Some(Self(Digest::of_parts(&(target.id(), params.name(), arguments, params.continuation())).bits()))
    }
}
