//! What was sent, and whether it was too much.

/// A limit as the operator says it.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub period_ns: u64,
    pub burst: u32,
}

/// What was found in many sequences.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub sequences: usize,
    pub calls: usize,
    /// Calls that end a window which holds more than its share.
    pub over: usize,
    /// The most that any window held beyond what its length allows, in bursts: 1 is exact.
    pub worst: f64,
    /// Answers that were not what they had to be; each row says what in its own module.
    pub wrong: usize,
}

impl Findings {
    pub fn merge(many: impl IntoIterator<Item = Self>) -> Self {
        many.into_iter().fold(Self::default(), |a, b| Self {
            sequences: a.sequences + b.sequences,
            calls: a.calls + b.calls,
            over: a.over + b.over,
            worst: a.worst.max(b.worst),
            wrong: a.wrong + b.wrong,
        })
    }

    /// Checks all pairs of what was sent under one limit: instants in nanoseconds, and costs.
    ///
    /// For a window from call `i` to call `j`: its cost minus `(t[j] - t[i]) / period` is at most the burst. With `sum[j]` the
    /// cost up to and with `j`, that is `sum[j] - t[j] / period` plus the largest `t[i] / period - sum[i - 1]` so far; so one
    /// pass sees all pairs, and all in whole numbers.
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    pub fn check(&mut self, limit: Limit, mut sent: Vec<(u64, u32)>) {
        sent.sort_unstable_by_key(|&(at, _)| at);
        let period = i128::from(limit.period_ns);
        let bound = i128::from(limit.burst) * period;
        let (mut sum, mut start) = (0, i128::MIN);
        for (at, cost) in sent {
            let at = i128::from(at);
            start = start.max(at - sum * period);
            sum += i128::from(cost);
            let most = sum * period - at + start;
            self.over += usize::from(most > bound);
            self.worst = self.worst.max(most as f64 / bound as f64);
        }
    }
}

#[test]
fn the_checker_sees_what_all_pairs_see() {
    let mut rng = fastrand::Rng::with_seed(6);
    for _ in 0..2_000 {
        let limit = Limit { period_ns: rng.u64(1..20), burst: rng.u32(1..5) };
        let mut at = 0;
        let sent: Vec<(u64, u32)> = (0..rng.usize(1..15))
            .map(|_| {
                at += rng.u64(0..30);
                (at, rng.u32(1..3))
            })
            .collect();
        let too_much = |to: usize| {
            (0..=to).any(|from| {
                let cost: u64 = sent[from..=to].iter().map(|&(_, cost)| u64::from(cost)).sum();
                cost * limit.period_ns > u64::from(limit.burst) * limit.period_ns + sent[to].0 - sent[from].0
            })
        };
        let expected = (0..sent.len()).filter(|&to| too_much(to)).count();
        let mut findings = Findings::default();
        findings.check(limit, sent.clone());
        assert_eq!(findings.over > 0, expected > 0, "{limit:?} {sent:?}");
        assert!(findings.over >= expected.min(1) && (findings.worst > 1.0) == (expected > 0));
    }
}
