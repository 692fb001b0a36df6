//! Which calls are the same.

use crate::call::{CallParams, Digest, Target};

/// A call, as far as two calls are the same: a digest of its target, its name, its arguments, what it continues, and the access
/// token that it is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u128);

impl Key {
    /// The name is in it since what nobody has listed shares a target, and the token since with another one what was denied may
    /// be granted. `None`: the parameters do not tell.
    pub(super) fn of<P: CallParams>(target: &Target, params: &P, authorisation: Option<Digest>) -> Option<Self> {
        let arguments = params.arguments()?;
        let parts = (target.id(), params.name(), arguments, params.continuation(), authorisation);
        Some(Self(Digest::of_parts(&parts).bits()))
    }
}
