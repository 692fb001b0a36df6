//! What the operator may set about the store in memory, and which settings make sense.

use std::time::Duration;

/// The bounds of an [`InMemory`](super::InMemory) store.
///
/// More may come: write them as changes of others, `Settings { .., ..Settings::default() }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many keys are known at once. A tenant may have half of them; seven eighths while no other holds any.
    pub keys: usize,
    /// How many bytes of answers are kept. A tenant may have half of them; seven eighths while no other holds a key.
    pub bytes: usize,
    /// How long a key is known after its last call has ended. `Duration::MAX`: as long as the process runs.
    pub keep_for: Duration,
    /// How many calls may wait for the one that is running, per key. 0: all are refused.
    pub waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keys: 1 << 16, bytes: 64 << 20, keep_for: Duration::from_secs(24 * 60 * 60), waiting: 8 }
    }
}

impl Settings {
    pub(super) const fn checked(self) -> Result<Self, SettingsError> {
        if self.keys < 2 {
            return Err(SettingsError::Keys(self.keys));
        }
        if self.bytes < self.keys {
            return Err(SettingsError::Bytes { bytes: self.bytes, keys: self.keys });
        }
        if self.keep_for.is_zero() {
            return Err(SettingsError::KeepFor(self.keep_for));
        }
        Ok(self)
    }
}

/// Why a store cannot be made with some settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no half of them.
    #[error("keys is {0}, but must be at least 2")]
    Keys(usize),
    /// Most keys could not keep an answer.
    #[error("bytes is {bytes}, but must be at least keys, which is {keys}")]
    Bytes {
        /// The `bytes` given.
        bytes: usize,
        /// The `keys` given.
        keys: usize,
    },
    /// Nothing would be kept.
    #[error("keep_for is {0:?}, but must be above 0")]
    KeepFor(Duration),
}
