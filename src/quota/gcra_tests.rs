use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

use super::*;

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn weight(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("test weights are positive")
}

fn quota(period_ns: u64, burst: u32) -> Quota {
    Quota::with_period(Duration::from_nanos(period_ns)).expect("test periods are positive").allow_burst(weight(burst))
}

/// How long a decision makes the call wait, in nanoseconds.
fn waits(decision: Decision) -> Option<u64> {
    match decision {
        Decision::Wait { retry_after, .. } => Some(nanos(retry_after)),
        Decision::Admit { .. } | Decision::Never => None,
    }
}

#[test]
fn a_cell_means_something_for_as_long_as_a_burst_takes_to_come_back() {
    assert_eq!(Gcra::new(quota(100, 3)).memory_ns(), 300);
}

#[test]
fn a_burst_passes_at_once_and_then_one_call_an_emission() {
    let gcra = Gcra::new(quota(100, 3));
    assert_eq!(gcra.decide(0, 1_000, ONE), Decision::Admit { tat: 1_100 });
    assert_eq!(gcra.decide(1_100, 1_000, ONE), Decision::Admit { tat: 1_200 });
    assert_eq!(gcra.decide(1_200, 1_000, ONE), Decision::Admit { tat: 1_300 });
    assert_eq!(waits(gcra.decide(1_300, 1_000, ONE)), Some(100));
    assert_eq!(waits(gcra.decide(1_300, 1_099, ONE)), Some(1));
    assert_eq!(gcra.decide(1_300, 1_100, ONE), Decision::Admit { tat: 1_400 });
}

#[test]
fn a_cost_above_the_burst_never_passes_and_one_of_the_burst_does() {
    let gcra = Gcra::new(quota(100, 3));
    assert_eq!(gcra.decide(0, u64::MAX / 2, weight(4)), Decision::Never);
    assert_eq!(gcra.decide(0, 50, weight(3)), Decision::Admit { tat: 350 });
    assert_eq!(waits(gcra.decide(350, 50, weight(3))), Some(300));
}

#[test]
fn an_interval_rounded_to_zero_becomes_one_nanosecond() {
    let gcra = Gcra::new(Quota::per_second(weight(2_000_000_000)));
    assert_eq!(gcra.parameters(), (1, 2_000_000_000));
}

#[test]
fn the_end_of_time_refuses_and_never_lets_all_pass() {
    // An interval of 292 years fits twice: the burst of four must not become endless.
    let gcra = Gcra::new(quota(u64::MAX / 2, 4));
    let mut tat = 0;
    let mut admitted = 0;
    for _ in 0..10 {
        if let Decision::Admit { tat: next } = gcra.decide(tat, 1, ONE) {
            assert!(next > tat, "every admission moves the TAT");
            tat = next;
            admitted += 1;
        }
    }
    assert_eq!(admitted, 2);

    // A tolerance that is cut, a TAT close to the end: no admission leaves the TAT where it is.
    let gcra = Gcra::new(quota(10_000_000_000, u32::MAX));
    assert_eq!(gcra.decide(u64::MAX - 1, u64::MAX / 2, ONE), Decision::Never);
    assert_eq!(gcra.decide(u64::MAX, u64::MAX, ONE), Decision::Never);
    assert_eq!(Gcra::new(quota(u64::MAX, u32::MAX)).decide(0, 1, weight(u32::MAX)), Decision::Never);
    assert_eq!(Gcra::new(quota(u64::MAX, u32::MAX)).decide(0, 0, weight(u32::MAX)), Decision::Never);
}

#[test]
fn what_remains_is_what_would_pass_at_once() {
    let gcra = Gcra::new(quota(100, 3));
    for (tat, remaining) in [(0, 3), (1_000, 3), (1_001, 2), (1_100, 2), (1_150, 1), (1_300, 0), (9_999, 0)] {
        assert_eq!(gcra.remaining(tat, 1_000), remaining, "at {tat}");
    }
}

#[test]
fn what_is_owed_under_a_quota_is_owed_under_the_next_in_calls() {
    let (old, new) = (Gcra::new(quota(100, 3)), Gcra::new(quota(1_000, 2)));
    assert_eq!(new.carry(&old, 1_150, 1_000), 2_500, "a call and a half");
    assert_eq!(new.carry(&old, 1_300, 1_000), 3_000, "three, and the burst is two");
    assert_eq!(new.carry(&old, 900, 1_000), 1_000, "none");
    assert_eq!(old.carry(&new, 1_001, 1_000), 1_001, "a tenth of a nanosecond is one");
}

#[test]
fn a_cell_is_fresh_from_its_tat_on() {
    assert!(!is_fresh(1_000, 999));
    assert!(is_fresh(1_000, 1_000));
    assert!(is_fresh(0, 0));
}

#[test]
fn durations_beyond_the_clock_are_cut_to_its_end() {
    assert_eq!(nanos(Duration::MAX), u64::MAX);
    assert_eq!(nanos(Duration::from_micros(3)), 3_000);
}

#[test]
fn a_burst_after_any_idle_phase_is_no_larger() {
    let (period, burst) = (7, 5);
    let gcra = Gcra::new(quota(period, burst));
    for phase in 0..=2 * period * u64::from(burst) {
        let mut tat = 0;
        for now in [1_000, 1_000 + phase] {
            let mut admitted = 0;
            while let Decision::Admit { tat: next } = gcra.decide(tat, now, ONE) {
                tat = next;
                admitted += 1;
            }
            assert!(admitted <= burst, "{admitted} at once after an idle phase of {phase} ns");
        }
    }
}

/// Gaps between calls: most short, some an idle phase of up to twice the whole burst.
fn arrivals(period: u64, burst: u32) -> impl Strategy<Value = Vec<(u64, u32)>> {
    let idle = 2 * period * u64::from(burst);
    let gap = prop_oneof![3 => Just(0), 6 => 0..=period, 1 => 0..=idle];
    prop::collection::vec((gap, 1..=burst + 1), 1..60)
}

fn case() -> impl Strategy<Value = (u64, u32, Vec<(u64, u32)>)> {
    (prop_oneof![1..5u64, 1..1_000u64, Just(333_333_333)], 1..12u32)
        .prop_flat_map(|(period, burst)| (Just(period), Just(burst), arrivals(period, burst)))
}

/// Runs the calls against one cell and hands each decision to `see`, with the state it was made in.
fn run(gcra: &Gcra, calls: &[(u64, u32)], mut see: impl FnMut(u64, u64, NonZeroU32, Decision)) {
    let (mut tat, mut now) = (0, 0);
    for &(gap, cost) in calls {
        now += gap;
        let decision = gcra.decide(tat, now, weight(cost));
        see(tat, now, weight(cost), decision);
        if let Decision::Admit { tat: next } = decision {
            tat = next;
        }
    }
}

proptest! {
    #[test]
    fn no_window_admits_more_than_its_share((period, burst, calls) in case()) {
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        run(&Gcra::new(quota(period, burst)), &calls, |_, now, cost, decision| {
            if matches!(decision, Decision::Admit { .. }) {
                admitted.push((now, cost.get().into()));
            }
        });
        for (first, &(start, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for &(end, cost) in &admitted[first..] {
                sum += cost;
                let over = sum.saturating_sub(burst.into()) * period;
                prop_assert!(over <= end - start, "{sum} admitted in {} ns", end - start);
            }
        }
    }

    #[test]
    fn retry_after_is_exact((period, burst, calls) in case()) {
        let gcra = Gcra::new(quota(period, burst));
        run(&gcra, &calls, |tat, now, cost, decision| match decision {
            Decision::Wait { retry_after, .. } => {
                let then = now + nanos(retry_after);
                assert_eq!(waits(gcra.decide(tat, then - 1, cost)), Some(1));
                assert!(matches!(gcra.decide(tat, then, cost), Decision::Admit { .. }));
            }
            Decision::Never => assert!(cost.get() > burst),
            Decision::Admit { .. } => assert!(cost.get() <= burst),
        });
    }

    #[test]
    fn a_fresh_cell_decides_like_an_unused_one(
        (period, burst, calls) in case(), tat in 0..5_000u64, now in 0..5_000u64,
    ) {
        let gcra = Gcra::new(quota(period, burst));
        let cost = weight(calls[0].1);
        if is_fresh(tat, now) {
            prop_assert_eq!(gcra.decide(tat, now, cost), gcra.decide(0, now, cost));
        } else {
            // And only a fresh one: the burst itself would tell them apart.
            let all = weight(burst);
            prop_assert_ne!(gcra.decide(tat, now, all), gcra.decide(0, now, all));
        }
    }

    #[test]
    fn governor_decides_the_same((period, burst, calls) in case(), weighted: bool) {
        let clock = FakeRelativeClock::default();
        let oracle = RateLimiter::direct_with_clock(quota(period, burst), clock.clone());
        let weigh = |(gap, cost)| (gap, if weighted { cost } else { 1 });
        let calls: Vec<_> = calls.into_iter().map(weigh).collect();
        let mut last = 0;
        run(&Gcra::new(quota(period, burst)), &calls, |_, now, cost, decision| {
            clock.advance(Duration::from_nanos(now - last));
            last = now;
            let theirs = match oracle.check_n(cost) {
                Ok(Ok(())) => None,
                Ok(Err(until)) => Some(Some(until.wait_time_from(now.into()))),
                Err(_) => Some(None),
            };
            let ours = match decision {
                Decision::Admit { .. } => None,
                Decision::Wait { retry_after, .. } => Some(Some(retry_after)),
                Decision::Never => Some(None),
            };
            assert_eq!(ours, theirs, "cost {cost} at {now} ns");
        });
    }
}
