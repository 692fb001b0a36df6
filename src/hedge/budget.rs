//! What hedges may cost.

/// Each call earns a share of a hedge. Nothing is there at the start and time earns nothing, so that hedges are never more than
/// that share of the calls, over any number of them since the start.
#[derive(Debug, Default)]
pub(super) struct Budget {
    hedges: f64,
}

/// No more is saved up: when a tool becomes slow all at once, its calls are hedged so many times beyond the share.
const MOST: f64 = 20.0;

impl Budget {
    pub(super) fn earn(&mut self, share: f64) {
        self.hedges = (self.hedges + share).min(MOST);
    }

    pub(super) const fn earned(&self) -> f64 {
        self.hedges
    }

    pub(super) fn spend(&mut self) -> bool {
        // A thousandth of a hedge is a matter of rounding.
        let affordable = self.hedges >= 0.999;
        if affordable {
            self.hedges -= 1.0;
        }
        affordable
    }

    pub(super) fn refund(&mut self) {
        self.hedges = (self.hedges + 1.0).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However calls, hedges and refusals follow each other, never more are paid for than the calls have earned.
        #[test]
        fn hedges_are_never_more_than_their_share(steps in prop::collection::vec(0..4_u8, 0..2_000)) {
            let mut budget = Budget::default();
            let (mut calls, mut paid) = (0_u32, 0_u32);
            for step in steps {
                match step {
                    0 | 1 => {
                        budget.earn(0.05);
                        calls += 1;
                    }
                    2 => paid += u32::from(budget.spend()),
                    _ if paid > 0 => {
                        budget.refund();
                        paid -= 1;
                    }
                    _ => {}
                }
                prop_assert!(f64::from(paid) <= f64::from(calls) * 0.05 + 0.001);
            }
        }
    }
}
