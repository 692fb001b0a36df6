//! Figures of many calls.

/// Some numbers, sorted.
#[derive(Debug, Clone)]
pub struct Account(Vec<f64>);

impl Account {
    /// Of these numbers.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest number that at least this share of all are not above; not a number where there are none.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    pub fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The largest.
    pub fn worst(&self) -> f64 {
        self.percentile(1.0)
    }

    /// The mean; not a number where there are none.
    #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The share of them that is at most `bound`; not a number where there are none.
    #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
    pub fn share_within(&self, bound: f64) -> f64 {
        self.0.partition_point(|value| *value <= bound) as f64 / self.0.len() as f64
    }
}

mod tests {
    use super::*;

    #[test]
    fn figures() {
        let account = Account::of((1..=200).rev().map(f64::from));
        assert_eq!((account.len(), account.mean(), account.worst()), (200, 100.5, 200.0));
        assert_eq!((account.percentile(0.5), account.percentile(0.99), account.percentile(0.0)), (100.0, 198.0, 1.0));
        assert_eq!((account.share_within(50.0), account.share_within(0.5)), (0.25, 0.0));
        assert!(Account::of([]).percentile(0.5).is_nan());
    }
}
