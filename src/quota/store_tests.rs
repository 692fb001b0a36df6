use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::thread;

use governor::Quota;
use proptest::prelude::*;

use super::super::gcra::is_fresh;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn weight(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("test weights are positive")
}

fn quota(period: Duration, burst: u32) -> Gcra {
    let quota = Quota::with_period(period).expect("test periods are positive");
    Gcra::new(quota.allow_burst(weight(burst)))
}

/// The `n`th key of a shard.
fn key(shard: u64, n: u64) -> u128 {
    u128::from(shard) << 64 | u128::from(n)
}

/// A key spread as a keyed hash would be.
fn spread(n: u64) -> u128 {
    let mix = |seed: u64| {
        let x = (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u128::from(x ^ (x >> 32))
    };
    mix(0x1234_5678) << 64 | mix(0x8765_4321)
}

fn check(key: u128, gcra: Gcra) -> Option<Check<'static>> {
    Some(Check { key, gcra, cost: weight(1), formers: &[] })
}

fn refused<T>(index: usize, retry_after: Duration) -> Result<T, Refused> {
    Err(Refused { index, retry_after: Some(retry_after) })
}

/// Admits without waiting.
fn admit(store: &Store, now: Instant, checks: &[Option<Check<'static>>]) -> Result<(), Refused> {
    store.admit(store.since_epoch(now), checks, None, &mut Ticket::default()).map(drop)
}

/// How many calls `checks` admits at `now` before the first refusal.
fn burst_of(store: &Store, now: Instant, checks: &[Option<Check<'static>>]) -> u32 {
    (0..).find(|_| admit(store, now, checks).is_err()).expect("every burst ends")
}

fn capacity(store: &Store) -> usize {
    store.shards.iter().map(|shard| lock(shard).capacity()).sum()
}

#[test]
fn a_burst_passes_and_the_wait_told_is_exact() {
    let store = Store::new(1_000);
    let now = store.epoch + SECOND;
    let checks = [check(key(3, 1), quota(SECOND, 2))];
    assert_eq!(burst_of(&store, now, &checks), 2);
    assert_eq!(admit(&store, now, &checks), refused(0, SECOND));
    let nanosecond = Duration::from_nanos(1);
    assert_eq!(admit(&store, now + SECOND - nanosecond, &checks), refused(0, nanosecond));
    assert_eq!(admit(&store, now + SECOND, &checks), Ok(()));
    assert_eq!(store.len(), 1);
}

#[test]
fn no_check_admits_and_a_limit_that_is_off_keeps_the_places_of_the_others() {
    let store = Store::new(1_000);
    assert_eq!(admit(&store, store.epoch, &[]), Ok(()));
    assert_eq!(admit(&store, store.epoch, &[None, None]), Ok(()));
    let checks = [None, check(key(0, 1), quota(SECOND, 1))];
    assert_eq!(admit(&store, store.epoch, &checks), Ok(()));
    assert_eq!(admit(&store, store.epoch, &checks), refused(1, SECOND));
}

#[test]
fn a_refusal_by_the_second_check_leaves_the_first_cell_untouched() {
    // The first in a lower shard, in a higher one, and in the same.
    for shard in [1, 5, 9] {
        let store = Store::new(1_000);
        let now = store.epoch + SECOND;
        let tenant = check(key(shard, 1), quota(SECOND, 3));
        let global = check(key(5, 2), quota(SECOND, 1));
        assert_eq!(admit(&store, now, &[global]), Ok(()));
        assert_eq!(admit(&store, now, &[tenant, global]), refused(1, SECOND));
        assert_eq!(store.len(), 1, "a refused call inserts nothing");
        assert_eq!(burst_of(&store, now, &[tenant]), 3);
    }
}

#[test]
fn the_first_check_that_refuses_is_the_one_reported() {
    for shards in [[1, 2], [2, 1], [1, 1]] {
        let store = Store::new(1_000);
        let now = store.epoch + SECOND;
        let tenant = check(key(shards[0], 1), quota(3 * SECOND, 1));
        let global = check(key(shards[1], 2), quota(SECOND, 1));
        assert_eq!(admit(&store, now, &[tenant, global]), Ok(()));
        assert_eq!(admit(&store, now, &[tenant, global]), refused(0, 3 * SECOND));
        assert_eq!(admit(&store, now, &[global, tenant]), refused(0, SECOND));
    }
}

#[test]
fn a_cost_above_the_burst_is_refused_for_good() {
    let store = Store::new(1_000);
    let heavy = Check { key: 1, gcra: quota(SECOND, 3), cost: weight(4), formers: &[] };
    let never = Err(Refused { index: 0, retry_after: None });
    assert_eq!(admit(&store, store.epoch + SECOND, &[Some(heavy)]), never);
    assert_eq!(store.len(), 0);
}

#[test]
fn a_key_named_twice_counts_both_costs() {
    let store = Store::new(1_000);
    let now = store.epoch + SECOND;
    let gcra = quota(SECOND, 5);
    let twice = [2, 1].map(|cost| Some(Check { key: 7, gcra, cost: weight(cost), formers: &[] }));
    assert_eq!(admit(&store, now, &twice), Ok(()));
    assert_eq!(admit(&store, now, &twice), refused(1, SECOND));
    assert_eq!(burst_of(&store, now, &[check(7, gcra)]), 2);
    let thrice = [check(8, gcra); 3];
    assert_eq!(admit(&store, now, &thrice), Ok(()));
    assert_eq!(burst_of(&store, now, &[check(8, gcra)]), 2);
}

#[test]
fn a_cell_counted_twice_goes_back_in_two_steps() {
    let store = Store::new(1_000);
    let now = nanos(SECOND);
    let mut ticket = Ticket::default();
    assert_eq!(store.admit(now, &[check(7, quota(SECOND, 5)); 2], None, &mut ticket), Ok(None));
    store.refund(&ticket);
    assert_eq!(store.len(), 0, "as if nobody had called");
}

#[test]
fn a_place_in_the_line_goes_back_whole() {
    let store = Store::new(1_000);
    let now = nanos(SECOND);
    let gcra = quota(SECOND, 2);
    let twice = [1, 2].map(|cost| Some(Check { key: 7, gcra, cost: weight(cost), formers: &[] }));
    for cells in [0, 1] {
        let mut ticket = Ticket::default();
        let turn = store.admit(now, &twice, Some(nanos(9 * SECOND)), &mut ticket).unwrap();
        assert_eq!(turn.map(|turn| turn.index), Some(1), "the first is planned, and not counted");
        store.refund(&ticket);
        assert_eq!(store.len(), cells);
        // And where there was a cell before.
        assert_eq!(store.admit(now, &[check(7, gcra)], None, &mut ticket), Ok(None));
    }
}

#[test]
fn a_call_waits_as_long_as_it_may_and_for_limits_that_are_all_ready_then() {
    let store = Store::new(1_000);
    let now = nanos(SECOND);
    let both = [1, 2].map(|n| check(key(n, n), quota(SECOND, 1)));
    let mut ticket = Ticket::default();
    assert_eq!(store.admit(now, &both, None, &mut ticket), Ok(None));
    assert!(store.admit(now, &both, Some(nanos(SECOND) - 1), &mut ticket).is_err());
    let turn = Turn { index: 0, at: 2 * now };
    assert_eq!(store.admit(now, &both, Some(nanos(SECOND)), &mut ticket), Ok(Some(turn)));
}

#[test]
fn a_key_takes_what_it_owes_along_to_the_next_quota_once() {
    let store = Store::new(1_000);
    let now = store.epoch + SECOND;
    let (old, new) = (quota(SECOND, 2), quota(10 * SECOND, 2));
    let former = Former { flip: 3, gcra: old, until: nanos(SECOND), forgotten: u64::MAX };
    let before = [check(key(0, 1), old)];
    let after = [Some(Check { key: key(0, 1 ^ 3), gcra: new, cost: weight(1), formers: std::slice::from_ref(&former) })];
    let ask = || store.admit(nanos(SECOND), &after, None, &mut Ticket::default()).map(drop);
    assert_eq!(burst_of(&store, now, &before), 2);
    assert_eq!(after.map(|check| check.map(|check| store.look(&check))), [Some(nanos(21 * SECOND))]);
    assert_eq!(ask(), refused(0, 10 * SECOND));
    assert_eq!(store.len(), 1, "the old cell is gone");
    // Somebody who read the limits before they were changed comes late.
    assert_eq!(admit(&store, now, &before), Ok(()));
    assert_eq!(ask(), refused(0, 10 * SECOND));
}

#[test]
fn the_round_keeps_its_pace_and_makes_up_for_silence_within_bounds() {
    let store = Store::new(1_000);
    let step = ROUND_NS / 64;
    for (now, visits) in [(0, 1), (step - 1, 1), (step, 2), (step, 2), (4 * step, 5), (u64::MAX, 5 + VISITS)] {
        assert_eq!(store.admit(now, &[], None, &mut Ticket::default()), Ok(None));
        assert_eq!(store.round_visits.load(Relaxed) as u64, visits, "at {now}");
    }
}

#[test]
fn there_is_room_for_as_many_keys_as_asked_for() {
    for (asked, shards, cells) in [(0, 64, 64), (100, 64, 128), (20_000, 128, 20_096), (1 << 25, 1 << 16, 1 << 25)] {
        let store = Store::new(asked);
        assert_eq!((store.shards.len(), store.capacity()), (shards, cells));
    }
}

#[test]
fn an_instant_before_the_store_was_made_is_that_moment() {
    let store = Store::new(1_000);
    let checks = [check(1, quota(SECOND, 1))];
    let before = store.epoch.checked_sub(60 * SECOND).unwrap_or(store.epoch);
    assert_eq!(admit(&store, before, &checks), Ok(()));
    assert_eq!(admit(&store, store.epoch, &checks), refused(0, SECOND));
}

#[test]
fn a_late_call_with_an_early_clock_gets_no_second_burst() {
    let store = Store::new(1_000);
    let checks = [check(key(0, 1), quota(SECOND, 3))];
    let start = store.epoch + SECOND;
    let later = start + 3 * SECOND;
    assert_eq!(burst_of(&store, start, &checks), 3);
    lock(&store.shards[0]).sweep(nanos(later - store.epoch));
    assert_eq!(store.len(), 0);
    assert_eq!(burst_of(&store, start, &checks) + burst_of(&store, later, &checks), 3);
}

#[test]
fn distinct_keys_are_bounded_and_the_rest_share_one_cell_a_shard() {
    let store = Store::new(640);
    let gcra = quota(60 * SECOND, 2);
    let now = store.epoch + SECOND;
    let mut admitted = 0;
    for n in 0..100_000 {
        admitted += u32::from(admit(&store, now, &[check(spread(n), gcra)]).is_ok());
    }
    assert_eq!(store.len(), 640 + 64);
    assert_eq!(admitted, 640 + 2 * 64, "a call for each key with a cell, a burst for each shared cell");
    assert_eq!(store.overflows(), 100_000 - 640);
    assert!(capacity(&store) <= 64 * 28, "the maps stay small too: {}", capacity(&store));
}

#[test]
fn each_quota_has_its_own_shared_cell() {
    let store = Store::new(64);
    let now = store.epoch + SECOND;
    let (slow, fast, wide) = (quota(60 * SECOND, 2), quota(SECOND, 3), quota(60 * SECOND, 3));
    assert_eq!(admit(&store, now, &[check(key(0, 1), slow)]), Ok(()));
    assert_eq!(burst_of(&store, now, &[check(key(0, 2), slow)]), 2);
    assert_eq!(burst_of(&store, now, &[check(key(0, 3), slow)]), 0);
    assert_eq!(burst_of(&store, now, &[check(key(0, 4), fast)]), 3);
    assert_eq!(burst_of(&store, now, &[check(key(0, 6), wide)]), 3);
    assert_eq!(burst_of(&store, now, &[check(key(0, 1), slow)]), 1, "its own cell is its own");
    assert_eq!(burst_of(&store, now, &[check(key(1, 5), slow)]), 2, "other shards have room");
}

#[test]
fn two_new_keys_for_the_last_place_of_a_shard_do_not_both_get_it() {
    let store = Store::new(64);
    let gcra = quota(60 * SECOND, 2);
    let checks = [check(key(0, 1), gcra), check(key(0, 2), gcra)];
    assert_eq!(admit(&store, store.epoch, &checks), Ok(()));
    assert_eq!((store.len(), store.overflows()), (2, 1));
    let third = [check(key(0, 3), gcra)];
    assert_eq!(burst_of(&store, store.epoch, &third), 1, "the second key went to the shared cell");
}

#[test]
fn each_shard_has_room_of_its_own() {
    let store = Store::new(64);
    assert_eq!(admit(&store, store.epoch, &[0, 1].map(|shard| check(key(shard, 1), quota(SECOND, 1)))), Ok(()));
    assert_eq!((store.len(), store.overflows()), (2, 0));
    // Full to the last place, and that one is fresh again.
    assert_eq!(admit(&store, store.epoch + SECOND, &[check(key(0, 2), quota(SECOND, 1))]), Ok(()));
    assert_eq!(store.overflows(), 0);
}

#[test]
fn a_key_that_leaves_the_shared_cell_takes_its_debt_along() {
    let store = Store::new(2 * SHARDS);
    let now = store.epoch + SECOND;
    let brief = quota(SECOND, 1);
    let own = [check(key(0, 1), brief), check(key(0, 2), brief)];
    let moving = [check(key(0, 3), quota(10 * SECOND, 3))];
    assert_eq!(admit(&store, now, &own), Ok(()));
    assert_eq!(burst_of(&store, now, &moving), 3);
    let overflows = store.overflows();
    assert!(overflows >= 3, "the third key had to share");
    // The first two cells are fresh and go; the shared one is in the red for 20 s more.
    let later = now + 10 * SECOND;
    assert_eq!(burst_of(&store, later, &moving), 1);
    assert_eq!(store.overflows(), overflows, "there was room for a cell of its own");
    assert_eq!(store.len(), 2);
}

#[test]
fn refused_keys_are_never_inserted() {
    let store = Store::new(1_000_000);
    let now = store.epoch + SECOND;
    let global = check(key(0, 1), quota(SECOND, 1));
    assert_eq!(admit(&store, now, &[global]), Ok(()));
    let before = capacity(&store);
    for n in 0..10_000 {
        let tenant = check(spread(n), quota(SECOND, 10));
        assert_eq!(admit(&store, now, &[tenant, global]), refused(1, SECOND));
    }
    assert_eq!(store.len(), 1);
    assert_eq!(capacity(&store), before);
}

#[test]
fn cells_that_expire_under_steady_traffic_do_not_pile_up() {
    let store = Store::new(30_000);
    let gcra = quota(Duration::from_millis(10), 1);
    for n in 0..100_000u32 {
        let now = store.epoch + n * Duration::from_micros(10);
        assert_eq!(admit(&store, now, &[check(spread(n.into()), gcra)]), Ok(()));
    }
    // 1,000 are live at any time; a shard holds twice its live cells, and chance adds some.
    assert!(store.len() < 3_500, "{} cells", store.len());
}

#[test]
fn memory_returns_after_an_idle_phase() {
    let store = Store::new(1_000_000);
    let gcra = quota(SECOND, 1);
    for n in 0..100_000 {
        assert_eq!(admit(&store, store.epoch, &[check(spread(n), gcra)]), Ok(()));
    }
    assert_eq!(store.len(), 100_000);
    assert!(capacity(&store) >= 100_000);
    // One key, once a second: it must clear the other shards as well.
    for second in 10..=80 {
        let now = store.epoch + second * SECOND;
        assert_eq!(admit(&store, now, &[check(spread(1), gcra)]), Ok(()));
    }
    assert!(store.len() <= 2, "{} cells", store.len());
    assert!(capacity(&store) <= 64 * 28, "room for {} cells", capacity(&store));
}

#[test]
fn a_full_shard_finds_room_again() {
    let store = Store::new(64);
    let gcra = quota(Duration::from_millis(10), 1);
    let soon = store.epoch + Duration::from_millis(500);
    assert_eq!(admit(&store, store.epoch, &[check(key(0, 1), gcra)]), Ok(()));
    assert_eq!(admit(&store, soon, &[check(key(0, 2), gcra)]), Ok(()));
    assert_eq!(store.overflows(), 1, "swept less than a second ago");
    assert_eq!(admit(&store, store.epoch + SECOND, &[check(key(0, 3), gcra)]), Ok(()));
    assert_eq!((store.overflows(), store.len()), (1, 1));
}

#[test]
fn threads_together_get_exactly_the_burst_and_no_deadlock() {
    let store = Store::new(1_000);
    let now = store.epoch + SECOND;
    let keys = [key(1, 1), key(2, 1), key(1, 2), key(2, 2)];
    let admitted = AtomicU32::new(0);
    thread::scope(|scope| {
        for turn in 0..4 {
            let (store, admitted) = (&store, &admitted);
            scope.spawn(move || {
                // Each thread names the same cells in another order.
                let mut checks = keys.map(|key| check(key, quota(SECOND, 1_000)));
                checks.rotate_left(turn);
                for _ in 0..1_000 {
                    admitted.fetch_add(u32::from(admit(store, now, &checks).is_ok()), Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 1_000);
    for key in keys {
        assert!(admit(&store, now, &[check(key, quota(SECOND, 1_000))]).is_err(), "all cells moved");
    }
}

#[test]
fn a_poisoned_shard_is_used_on() {
    let store = Store::new(1_000);
    let checks = [check(key(0, 1), quota(SECOND, 1))];
    assert_eq!(admit(&store, store.epoch, &checks), Ok(()));
    thread::scope(|scope| {
        let poisoner = scope.spawn(|| {
            let _held = lock(&store.shards[0]);
            panic!("poisons the shard, on purpose");
        });
        assert!(poisoner.join().is_err());
    });
    assert!(store.shards[0].is_poisoned());
    assert_eq!(admit(&store, store.epoch, &checks), refused(0, SECOND));
}

/// A call of the property tests: gap to the one before in ms, tenant, cost.
type Call = (u64, u64, u32);

fn calls(tenants: u64) -> impl Strategy<Value = Vec<Call>> {
    let gap = prop_oneof![3 => Just(0), 6 => 0..300u64, 1 => 0..10_000u64];
    prop::collection::vec((gap, 0..tenants, 1..4u32), 1..120)
}

const TENANT: (u64, u32) = (700, 4);
const GLOBAL: (u64, u32) = (100, 9);

/// Both levels, weighing the same, as a quota layer would ask.
fn two_levels(tenant: u128, cost: u32) -> [Option<Check<'static>>; 2] {
    [(tenant, TENANT), (key(0, 1_000), GLOBAL)].map(|(key, (period_ms, burst))| {
        let gcra = quota(Duration::from_millis(period_ms), burst);
        Some(Check { key, gcra, cost: weight(cost), formers: &[] })
    })
}

/// Asserts that no window of the admitted calls, of any two ends, holds more than its share.
fn assert_windows(admitted: &[(u64, u32)], (period_ms, burst): (u64, u32)) {
    for (first, &(start, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for &(end, cost) in &admitted[first..] {
            sum += cost;
            let over = u64::from(sum.saturating_sub(burst)) * period_ms;
            assert!(over <= end - start, "{sum} admitted in {} ms", end - start);
        }
    }
}

proptest! {
    #[test]
    fn no_window_of_either_level_admits_more_than_its_share(
        calls in calls(6), roomy: bool, one_shard: bool,
    ) {
        // Without room most keys come and go between cells of their own and shared ones.
        let store = Store::new(if roomy { 10_000 } else { 2 * SHARDS });
        let mut now = 0;
        let mut by_tenant: HashMap<u64, Vec<(u64, u32)>> = HashMap::new();
        let mut all = Vec::new();
        for (gap, tenant, cost) in calls {
            now += gap;
            let checks = two_levels(key(if one_shard { 0 } else { tenant % 3 }, tenant), cost);
            if admit(&store, store.epoch + Duration::from_millis(now), &checks).is_ok() {
                by_tenant.entry(tenant).or_default().push((now, cost));
                all.push((now, cost));
            }
        }
        assert_windows(&all, GLOBAL);
        by_tenant.values().for_each(|admitted| assert_windows(admitted, TENANT));
    }

    #[test]
    fn a_store_with_room_decides_like_a_map_that_never_forgets(calls in calls(40)) {
        let store = Store::new(10_000);
        let mut model: HashMap<u128, u64> = HashMap::new();
        let mut now = 0;
        for (gap, tenant, cost) in calls {
            now += gap * 1_000_000;
            // One shard, so that its length alone makes it sweep.
            let checks = two_levels(key(0, tenant), cost);
            let decisions = checks.iter().flatten().map(|check| {
                let tat = model.get(&check.key).copied().unwrap_or(0);
                check.gcra.decide(tat, now, check.cost)
            });
            let mut expected = Ok(());
            let mut writes = Vec::new();
            for (index, decision) in decisions.enumerate() {
                match decision {
                    Decision::Admit { tat } => writes.push(tat),
                    Decision::Wait { retry_after, .. } => {
                        expected = expected.and(refused(index, retry_after));
                    }
                    Decision::Never => {
                        expected = expected.and(Err(Refused { index, retry_after: None }));
                    }
                }
            }
            let instant = store.epoch + Duration::from_nanos(now);
            prop_assert_eq!(admit(&store, instant, &checks), expected);
            if expected.is_ok() {
                model.extend(checks.iter().flatten().map(|check| check.key).zip(writes));
            } else if let Err(Refused { index, retry_after: Some(wait) }) = expected {
                // The store may tidy up at that instant, so that is what time it is from here on.
                now += nanos(wait) - 1;
                let still = admit(&store, store.epoch + Duration::from_nanos(now), &checks);
                prop_assert_eq!(still, refused(index, Duration::from_nanos(1)));
            }
            let live = model.values().filter(|&&tat| !is_fresh(tat, now)).count();
            prop_assert!(store.len() >= live);
        }
    }
}
