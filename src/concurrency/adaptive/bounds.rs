//! Between what a limit stays, and where it begins.

/// Where a limit begins and between what it stays: `1 <= floor <= initial <= ceiling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    floor: u32,
    initial: u32,
    ceiling: u32,
}

/// Why three numbers are no bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundsError {
    /// A limit of nothing lets nobody in, and so never learns that it may grow.
    #[error("the floor is 0, but must be at least 1")]
    NoFloor,
    /// The limit would begin below the least that it may be.
    #[error("the limit begins at {initial}, which is below its floor, {floor}")]
    BelowFloor {
        /// Where it begins.
        initial: u32,
        /// The least that it may be.
        floor: u32,
    },
    /// The limit would begin above the most that it may be.
    #[error("the limit begins at {initial}, which is above its ceiling, {ceiling}")]
    AboveCeiling {
        /// Where it begins.
        initial: u32,
        /// The most that it may be.
        ceiling: u32,
    },
    /// More than can be counted.
    #[error("the ceiling is {ceiling}, but must be at most {most}")]
    TooHigh {
        /// The ceiling given.
        ceiling: u32,
        /// The highest that there may be.
        most: u32,
    },
}

/// A million calls at once to one tool are not a limit any more.
const MOST: u32 = 1_000_000;

impl Default for Bounds {
    /// From 4 to 2048, at first 64: where the limit stands that does not adapt.
    fn default() -> Self {
        Self { floor: 4, initial: 64, ceiling: 2048 }
    }
}

impl Bounds {
    /// Begins at `initial` and never leaves `floor` to `ceiling`.
    ///
    /// # Errors
    ///
    /// The first two that contradict each other, by name and value.
    pub const fn try_new(floor: u32, initial: u32, ceiling: u32) -> Result<Self, BoundsError> {
        if floor == 0 {
            Err(BoundsError::NoFloor)
        } else if initial < floor {
            Err(BoundsError::BelowFloor { initial, floor })
        } else if initial > ceiling {
            Err(BoundsError::AboveCeiling { initial, ceiling })
        } else if ceiling > MOST {
            Err(BoundsError::TooHigh { ceiling, most: MOST })
        } else {
            Ok(Self { floor, initial, ceiling })
        }
    }

    /// The least that the limit may be.
    pub const fn floor(&self) -> u32 {
        self.floor
    }

    /// Where the limit begins.
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// The most that the limit may be.
    pub const fn ceiling(&self) -> u32 {
        self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_make_no_sense_are_refused_with_both_values() {
        let said = |floor, initial, ceiling| Bounds::try_new(floor, initial, ceiling).unwrap_err().to_string();
        assert_eq!(said(0, 1, 1), "the floor is 0, but must be at least 1");
        assert_eq!(said(5, 4, 9), "the limit begins at 4, which is below its floor, 5");
        assert_eq!(said(1, 10, 9), "the limit begins at 10, which is above its ceiling, 9");
        assert_eq!(said(1, 1, 1_000_001), "the ceiling is 1000001, but must be at most 1000000");
    }

    #[test]
    fn those_that_do_are_not() {
        let of = |bounds: Bounds| (bounds.floor(), bounds.initial(), bounds.ceiling());
        for (floor, initial, ceiling) in [(1, 1, 1), (4, 64, 2048), (1, 1_000_000, 1_000_000)] {
            assert_eq!(Bounds::try_new(floor, initial, ceiling).map(of), Ok((floor, initial, ceiling)));
        }
        let default = of(Bounds::default());
        assert_eq!(Bounds::try_new(default.0, default.1, default.2), Ok(Bounds::default()));
    }
}
