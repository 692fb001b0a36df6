//! What each answer does to the limit, one group of calls at a time.

use tokio::time::Instant;

use super::*;
use crate::concurrency::adaptive::Bounds;

const WIDE: f64 = WIDEST;
/// Between [`NARROWEST`] and [`NARROW`].
const SLIM: f64 = 0.25;

const fn seen(in_flight: f64, latency: f64) -> Seen {
    Seen { latency, quantile: latency, error: 0.0, in_flight }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

/// A limit of 100 within which calls take a second, after a second in which callers waited: 200 came, and 100 calls ended.
fn at_home(way: Way, step: f64) -> Adaptive {
    let mut adaptive = Adaptive::new(Bounds::try_new(1, 100, 10_000).unwrap(), Instant::now());
    adaptive.group.started(100.0, 0.0, 0.0);
    (adaptive.group.arrivals, adaptive.group.ends, adaptive.pressed, adaptive.clock) = (200, 100, 1.0, 1.0);
    (adaptive.way, adaptive.step, adaptive.base, adaptive.best) = (way, step, Some(seen(100.0, 1.0)), 1.0);
    adaptive
}

/// The same in the middle of a step.
fn probing(way: Way, step: f64) -> Adaptive {
    let mut adaptive = at_home(way, step);
    adaptive.probing = true;
    adaptive.limit *= if way == Way::Up { step.exp() } else { (-step).exp() };
    adaptive
}

/// Has throughput follow this share of the step under way.
fn answer(adaptive: &mut Adaptive, follows: f64) {
    let made = (adaptive.limit / adaptive.home).ln();
    adaptive.judge(seen(adaptive.limit, ((1.0 - follows) * made).exp()));
}

/// Whether a step is taken where throughput follows this share of it.
fn takes(way: Way, step: f64, follows: f64) -> bool {
    let mut adaptive = probing(way, step);
    let to = adaptive.limit;
    answer(&mut adaptive, follows);
    assert_eq!(adaptive.fruitless, u32::from(!close(adaptive.home, to)));
    close(adaptive.home, to)
}

#[test]
fn a_step_is_taken_where_throughput_follows_it_up_and_does_not_follow_it_down() {
    assert_eq!([FOLLOW - 0.01, FOLLOW + 0.01].map(|follows| takes(Way::Up, 0.5, follows)), [false, true]);
    assert_eq!([GIVE - 0.01, GIVE + 0.01].map(|follows| takes(Way::Down, 0.5, follows)), [true, false]);
    assert_eq!([GIVE - 0.01, GIVE + 0.01].map(|follows| takes(Way::Down, NARROW, follows)), [true, false]);
    // Where steps are narrow it must grow.
    assert_eq!([GAIN - 0.01, GAIN + 0.01, 0.0].map(|follows| takes(Way::Down, SLIM, follows)), [true, false, false]);
}

#[test]
fn the_next_step_follows_one_that_was_taken_while_callers_wait() {
    let mut up = probing(Way::Up, 0.4);
    answer(&mut up, 1.0);
    assert!(up.probing && up.limit > up.home && close(up.step, 0.4 * 1.5), "wider");
    let mut wide = probing(Way::Up, 0.6);
    answer(&mut wide, 1.0);
    assert!(close(wide.step, WIDE), "and no wider than that");
    let mut down = probing(Way::Down, 0.4);
    answer(&mut down, 0.0);
    assert!(down.probing && down.limit < down.home && close(down.step, 0.4));
    let mut enough = probing(Way::Up, 0.4);
    enough.group.ends = 200;
    answer(&mut enough, 1.0);
    assert!(!enough.probing && close(enough.limit, enough.home), "as many end as come");
}

#[test]
fn where_throughput_goes_with_a_wide_step_down_the_way_is_up() {
    let after = |step, follows, arrivals| {
        let mut adaptive = probing(Way::Down, step);
        adaptive.group.arrivals = arrivals;
        answer(&mut adaptive, follows);
        (adaptive.probing, adaptive.limit > 100.0, adaptive.way == Way::Up, adaptive.fruitless)
    };
    assert_eq!(after(WIDE, OBVIOUS + 0.01, 200), (true, true, true, 0));
    let undone = (false, false, true, 1);
    assert_eq!(after(WIDE, OBVIOUS - 0.01, 200), undone);
    assert_eq!(after(0.6, OBVIOUS + 0.01, 200), undone);
    assert_eq!(after(WIDE, OBVIOUS + 0.01, 100), undone, "nobody is kept waiting");
}

#[test]
fn a_step_that_was_not_made_says_nothing() {
    let after = |made: f64, pressed| {
        let mut adaptive = probing(Way::Up, 0.5);
        adaptive.pressed = pressed;
        adaptive.judge(seen(100.0 * (0.5 * made).exp(), 1.0));
        (adaptive.home > 100.0, adaptive.fruitless)
    };
    assert_eq!(after(0.51, 1.0), (true, 0));
    assert_eq!(after(0.49, 1.0), (false, 1), "those in flight did not become more: undone");
    assert_eq!(after(0.49, 0.79), (false, 0), "callers hardly waited");
    assert_eq!(after(0.49, 0.8), (false, 1));
}

#[test]
fn steps_in_vain_get_narrower_and_fewer() {
    let mut adaptive = probing(Way::Up, WIDE);
    let after = [0; 6].map(|_| {
        adaptive.reject();
        (adaptive.way, adaptive.idle, (adaptive.step * 1e3).floor())
    });
    let expected = [
        (Way::Down, 0, 415.0),
        (Way::Up, 1, 249.0),
        (Way::Down, 2, 223.0),
        (Way::Up, 4, 223.0),
        (Way::Down, PATIENCE, 223.0),
        (Way::Up, PATIENCE, 223.0),
    ];
    assert_eq!(after, expected);
    assert!(close(adaptive.limit, 100.0) && adaptive.fruitless == 6);
}

#[test]
fn as_many_groups_are_watched_at_home() {
    let mut adaptive = at_home(Way::Up, 0.5);
    adaptive.idle = 2;
    for left in [1, 0] {
        adaptive.judge(seen(100.0, 1.0));
        assert!(!adaptive.probing && adaptive.idle == left);
        // The next group.
        adaptive.group.started(100.0, 0.0, 0.0);
        (adaptive.group.arrivals, adaptive.group.ends) = (200, 100);
    }
    adaptive.judge(seen(100.0, 1.0));
    assert!(adaptive.probing && adaptive.limit > 100.0);
    let mut enough = at_home(Way::Up, 0.5);
    enough.group.ends = 200;
    enough.judge(seen(100.0, 1.0));
    assert!(!enough.probing);
}

#[test]
fn a_latency_that_changes_at_home_is_the_world_s_doing() {
    // By how much, in logarithms, and how sure either group is.
    let after = |way, change: f64, error| {
        let mut adaptive = at_home(way, 0.5);
        (adaptive.idle, adaptive.patience) = (3, 3);
        adaptive.base = Some(Seen { error, ..seen(100.0, 1.0) });
        adaptive.judge(Seen { error, ..seen(100.0, change.exp()) });
        let anew = (adaptive.idle, adaptive.patience) == (0, 0);
        assert!(close(adaptive.step, if anew { WIDE } else { 0.5 }));
        anew.then_some(adaptive.way)
    };
    assert_eq!(after(Way::Up, DRIFT + 0.01, 0.0), Some(Way::Down));
    assert_eq!(after(Way::Down, -DRIFT - 0.01, 0.0), Some(Way::Up));
    assert_eq!([DRIFT - 0.01, 0.01 - DRIFT].map(|change| after(Way::Up, change, 0.0)), [None, None]);
    // Three standard errors of the difference.
    let unsure = 3.0 * 0.2_f64.hypot(0.2);
    assert_eq!([unsure - 0.01, unsure + 0.01].map(|change| after(Way::Up, change, 0.2)), [None, Some(Way::Down)]);
}

#[test]
fn while_nobody_waits_the_limit_comes_down_to_what_is_used() {
    let after = |in_flight, busy| {
        let mut adaptive = at_home(Way::Down, 0.5);
        (adaptive.pressed, adaptive.busy, adaptive.patience) = (0.0, busy, 3);
        adaptive.judge(seen(in_flight, 2.0));
        assert!(adaptive.base.is_none() && adaptive.way == Way::Up && adaptive.patience == 0);
        assert!(close(adaptive.step, WIDE) && close(adaptive.best, 2.0));
        (adaptive.home, adaptive.busy)
    };
    let are = |(home, busy), expected: (f64, f64)| assert!(close(home, expected.0) && close(busy, expected.1), "{home} {busy}");
    are(after(10.0, 0.0), (100.0 * DECAY, 10.0));
    are(after(38.0, 0.0), (38.0 * ROOM, 38.0));
    are(after(80.0, 0.0), (100.0, 80.0));
    are(after(10.0, 42.0), (42.0 * DECAY * ROOM, 42.0 * DECAY));
}

#[test]
fn overload_takes_a_fifth_of_the_lower_limit() {
    for (home, limit) in [(100.0, 150.0), (150.0, 100.0)] {
        let mut adaptive = at_home(Way::Up, 0.5);
        (adaptive.home, adaptive.limit, adaptive.probing) = (home, limit, true);
        adaptive.group.ended(0.0, Some(1.0), true);
        adaptive.judge(seen(100.0, 1.0));
        assert!(close(adaptive.home, 80.0) && close(adaptive.limit, 80.0));
        assert!(!adaptive.probing && adaptive.base.is_none() && adaptive.way == Way::Down);
    }
    let mut least = at_home(Way::Up, 0.5);
    (least.home, least.limit) = (1.1, 1.1);
    least.group.ended(0.0, Some(1.0), true);
    least.judge(seen(1.0, 1.0));
    assert!(close(least.limit, 1.0), "the floor");
}

#[test]
fn what_comes_and_how_long_calls_take_are_known_of_each_group() {
    let mut adaptive = at_home(Way::Up, 0.5);
    // Two seconds, in which more ended than came.
    (adaptive.clock, adaptive.pressed, adaptive.group.arrivals, adaptive.group.ends) = (2.0, 2.0, 200, 600);
    adaptive.judge(seen(100.0, 1.2));
    assert!(close(adaptive.demand, 100.0) && close(adaptive.pace.fastest, 300.0 * SPARE) && close(adaptive.pace.latency, 1.2));
    assert!(close(adaptive.best, 1.05), "the best grows old slowly");
    let mut quicker = at_home(Way::Up, 0.5);
    quicker.judge(seen(100.0, 0.9));
    assert!(close(quicker.demand, 200.0) && close(quicker.pace.fastest, 200.0 * SPARE) && close(quicker.best, 0.9));
    let mut fresh = at_home(Way::Up, 0.5);
    fresh.base = None;
    fresh.judge(seen(100.0, 1.2));
    assert!(close(fresh.best, 1.2));
}

/// Where a step from `home` leads. `None`: nowhere, and the next one goes the other way.
fn step_from(home: f64, way: Way, step: f64, demand: f64, (floor, ceiling): (u32, u32)) -> Option<f64> {
    let mut adaptive = at_home(way, step);
    adaptive.bounds = Bounds::try_new(floor, floor, ceiling).unwrap();
    (adaptive.home, adaptive.demand, adaptive.best) = (home, demand, 2.0);
    adaptive.probe();
    assert!(adaptive.probing == (adaptive.way == way) && close(adaptive.home, home));
    adaptive.probing.then_some(adaptive.limit)
}

#[test]
fn a_step_goes_no_further_than_it_makes_sense() {
    let leads = |home, way, step, demand, bounds, to: Option<f64>| {
        let limit = step_from(home, way, step, demand, bounds);
        assert!(limit.zip(to).map_or(limit == to, |(limit, to)| close(limit, to)), "{limit:?}, not {to:?}");
    };
    let bounds = (1, 10_000);
    leads(100.0, Way::Up, WIDE, f64::INFINITY, bounds, Some(200.0));
    leads(100.0, Way::Up, 0.5, f64::INFINITY, bounds, Some(100.0 * 0.5_f64.exp()));
    leads(100.0, Way::Up, 0.0, f64::INFINITY, bounds, Some(125.0));
    leads(4.0, Way::Up, 0.0, f64::INFINITY, bounds, Some(6.0));
    leads(100.0, Way::Up, WIDE, 75.0, bounds, Some(75.0 * 2.0 * SPARE));
    leads(100.0, Way::Up, WIDE, 10.0, bounds, Some(110.0));
    leads(100.0, Way::Up, WIDE, f64::INFINITY, (1, 130), Some(130.0));
    leads(100.0, Way::Up, WIDE, f64::INFINITY, (1, 100), None);
    leads(100.0, Way::Down, WIDE, 0.0, bounds, Some(50.0));
    leads(100.0, Way::Down, 0.0, 0.0, bounds, Some(80.0));
    leads(100.0, Way::Down, WIDE, 0.0, (70, 200), Some(70.0));
    leads(2.0, Way::Down, 0.0, 0.0, bounds, Some(1.0));
    leads(1.0, Way::Down, WIDE, 0.0, bounds, None);
    leads(100.4, Way::Down, WIDE, 0.0, (100, 200), None);
    leads(100.5, Way::Down, WIDE, 0.0, (100, 200), Some(100.0));
}

#[test]
fn an_answer_is_clear_three_standard_errors_from_the_line() {
    let clear = |way, step, limit: f64, off: f64, share: f64| {
        let base = Seen { error: 0.1, ..seen(100.0, 2.0) };
        let line = (1.0 - share) * (limit / 100.0).ln();
        is_clear(&Seen { error: 0.2, ..seen(limit, 2.0 * (line + off).exp()) }, &base, way, step)
    };
    let unsure = 3.0 * 0.1_f64.hypot(0.2);
    for (way, step, limit, share) in [(Way::Up, SLIM, 200.0, FOLLOW), (Way::Down, 0.5, 50.0, GIVE), (Way::Down, SLIM, 50.0, GAIN)]
    {
        let clear = |off| clear(way, step, limit, off, share);
        assert_eq!([-0.01, 0.01].map(|more| clear(unsure + more)), [false, true]);
        assert_eq!([-0.01, 0.01].map(|less| clear(-unsure + less)), [true, false]);
    }
}
