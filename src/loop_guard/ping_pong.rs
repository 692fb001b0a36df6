//! An agent that goes to and fro between two calls.

use super::key::Key;
use crate::call::Digest;

/// A call that failed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    key: Key,
    how: Digest,
}

/// The last failures of an agent, as far as they are two in turn.
#[derive(Debug, Default)]
pub(super) struct PingPong {
    last: Option<Failed>,
    before: Option<Failed>,
    length: u32,
}

impl PingPong {
    /// Another failure. `Some`: the agent has gone to and fro, so often, between this call and that one.
    pub(super) fn failed(&mut self, key: Key, how: Digest) -> Option<(Key, u32)> {
        let failed = Some(Failed { key, how });
        // Two are a pair once the first has come again. From then on either may be next: who is refused with one tries the other.
        let (paired, again) = (self.length > 2, failed == self.last);
        if again && !paired {
            self.length = 1;
        } else if again || failed == self.before {
            self.length = self.length.saturating_add(1);
        } else {
            self.length = 2;
        }
        if !again {
            self.before = std::mem::replace(&mut self.last, failed);
        }
        self.before.filter(|_| self.length > 2).map(|other| (other.key, self.length))
    }

    /// Something else has happened.
    pub(super) fn ended(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the alternation is after each of these failures; 0: there is none.
    fn lengths(failures: &[(u128, &str)]) -> Vec<u32> {
        let mut pair = PingPong::default();
        let failed = |(key, how): &(u128, &str)| pair.failed(Key(*key), Digest::of(how.as_bytes()));
        failures.iter().map(failed).map(|pair| pair.map_or(0, |(_, length)| length)).collect()
    }

    #[test]
    fn two_failures_in_turn_are_found() {
        assert_eq!(lengths(&[(1, "x"), (2, "y"), (1, "x"), (2, "y"), (1, "x")]), [0, 0, 3, 4, 5]);
        // In any order, once they are known to be two.
        assert_eq!(lengths(&[(1, "x"), (1, "x"), (2, "y"), (1, "x"), (1, "x"), (3, "z"), (1, "x")]), [0, 0, 0, 3, 4, 0, 3]);
        // Also where it is one call whose failure flips between two.
        assert_eq!(lengths(&[(1, "x"), (1, "y"), (1, "x"), (1, "y")]), [0, 0, 3, 4]);
    }

    #[test]
    fn other_sequences_are_none() {
        assert_eq!(lengths(&[(1, "x"); 4]), [0; 4]);
        assert_eq!(lengths(&[(1, "x"), (2, "y"), (3, "z"), (1, "x"), (2, "y"), (3, "z")]), [0; 6]);
        // The failure changes each time: something moves.
        assert_eq!(lengths(&[(1, "a"), (2, "b"), (1, "c"), (2, "d"), (1, "e")]), [0; 5]);
    }
}
