use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::concurrency::AdaptiveLimit;

const MS: Duration = Duration::from_millis(1);

fn bounds(initial: u32) -> Bounds {
    Bounds::try_new(1, initial, 2000).unwrap()
}

/// A target, and callers in front of it.
struct World {
    adaptive: Adaptive,
    now: Instant,
    waiting: u32,
    /// When each attempt ends, and when it began.
    in_flight: BinaryHeap<Reverse<(Instant, Instant)>>,
    outcome: Outcome,
}

impl World {
    fn new(initial: u32) -> Self {
        let now = Instant::now();
        Self {
            adaptive: Adaptive::new(bounds(initial), now),
            now,
            waiting: 0,
            in_flight: BinaryHeap::new(),
            outcome: Outcome::Answered,
        }
    }

    fn crowd(&self) -> Crowd {
        Crowd { in_flight: u32::try_from(self.in_flight.len()).unwrap(), waiting: self.waiting }
    }

    /// Lets `secs` pass in steps of a millisecond, with so many arrivals a second; at most 10,000 wait. The seconds that an
    /// attempt takes depend on how many are in flight.
    fn run(&mut self, secs: u32, arrivals: f64, latency: impl Fn(f64) -> f64) -> &mut Self {
        let mut due = 0.0;
        for _ in 0..secs * 1000 {
            self.now += MS;
            while let Some(Reverse((end, started))) = self.in_flight.peek().copied().filter(|Reverse((end, _))| *end <= self.now)
            {
                self.in_flight.pop();
                self.adaptive.ended(started, self.outcome, self.crowd(), end);
            }
            due += arrivals / 1e3;
            while due >= 1.0 {
                due -= 1.0;
                self.waiting = (self.waiting + 1).min(10_000);
                self.adaptive.arrived(self.crowd(), self.now);
            }
            while self.waiting > 0 && self.crowd().in_flight < self.limit() && self.adaptive.may_start(self.now) <= self.now {
                self.waiting -= 1;
                let took = Duration::from_secs_f64(latency(f64::from(self.crowd().in_flight + 1)));
                self.in_flight.push(Reverse((self.now + took, self.now)));
                self.adaptive.started(self.crowd(), self.now);
            }
        }
        self
    }

    fn limit(&self) -> u32 {
        self.adaptive.limit().get()
    }
}

/// Serves 16 at once in 50 ms each; more than that wait their turn.
fn saturating(in_flight: f64) -> f64 {
    0.05 * (in_flight / 16.0).max(1.0)
}

#[test]
fn grows_while_throughput_follows() {
    for initial in [1, 4, 20] {
        let limit = World::new(initial).run(60, 200.0, |_| 0.5).limit();
        assert!(limit >= 100, "from {initial}: {limit}");
    }
}

#[test]
fn stays_where_throughput_does_not_follow() {
    for initial in [4, 20, 64] {
        let limit = World::new(initial).run(60, 3_000.0, saturating).limit();
        assert!((13..=26).contains(&limit), "from {initial}: {limit}");
    }
}

#[test]
fn comes_down_from_a_limit_far_too_high() {
    let limit = World::new(500).run(120, 3_000.0, saturating).limit();
    assert!(limit <= 32, "{limit}");
}

#[test]
fn a_slower_target_is_given_more_and_not_less() {
    let mut world = World::new(20);
    let before = world.run(20, 200.0, |_| 0.5).limit();
    let after = world.run(60, 200.0, |_| 4.5).limit();
    assert!(before >= 100 && after >= 900, "{before}, then {after}");
}

#[test]
fn what_nobody_uses_goes_and_what_is_used_stays() {
    for initial in [64, 1000] {
        let limit = World::new(initial).run(150, 10.0, |_| 1.0).limit();
        assert!((20..=30).contains(&limit), "from {initial}: {limit}");
    }
    // Where there is less than that, nothing speaks for more.
    assert_eq!(World::new(12).run(60, 10.0, |_| 1.0).limit(), 12);
}

#[test]
fn timeouts_shrink_it_to_the_floor_at_last_and_answers_bring_it_back() {
    let mut world = World::new(64);
    world.outcome = Outcome::Overload;
    assert_eq!(world.run(60, 1_000.0, |_| 0.1).limit(), 1);
    world.outcome = Outcome::Answered;
    let limit = world.run(60, 1_000.0, |_| 0.1).limit();
    assert!(limit >= 100, "{limit}");
}

#[test]
fn what_says_nothing_changes_nothing() {
    let mut world = World::new(20);
    world.outcome = Outcome::Nothing;
    assert_eq!(world.run(60, 1_000.0, |_| 0.1).limit(), 20);
    // And is got over.
    world.outcome = Outcome::Answered;
    assert!(world.run(60, 1_000.0, |_| 0.1).limit() >= 100);
}

#[test]
fn slots_that_come_free_at_once_are_filled_in_turn() {
    let mut world = World::new(20);
    world.run(30, 200.0, |_| 0.5);
    let (now, crowd) = (world.now, Crowd { in_flight: 1, waiting: 100 });
    let starts_at = |world: &mut World, now| {
        let mut starts = 0;
        while world.adaptive.may_start(now) <= now && starts < 1000 {
            world.adaptive.started(crowd, now);
            starts += 1;
        }
        starts
    };
    let first = starts_at(&mut world, now);
    assert!((1..=16).contains(&first), "{first}");
    let due = AdaptiveLimit::may_start(&world.adaptive, now);
    assert!((now + MS / 10..now + 20 * MS).contains(&due), "and so the slots hear of it: in {:?}", due - now);
    assert!((1..=16).contains(&starts_at(&mut world, now + 50 * MS)));
}

/// Sixteen calls that begin at once when a step up from `home` is made. Until then a call took this long.
fn stepping(home: f64, limit: f64, latency: f64) -> (Adaptive, Instant) {
    let began = Instant::now();
    let mut adaptive = Adaptive::new(bounds(100), began);
    let base = Seen { latency, quantile: latency, error: 0.0, in_flight: home };
    (adaptive.home, adaptive.limit, adaptive.probing, adaptive.base) = (home, limit, true, Some(base));
    (0..16).for_each(|_| adaptive.started(Crowd { in_flight: 200, waiting: 1 }, began));
    assert!(adaptive.group.has_begun());
    (adaptive, began)
}

#[test]
fn a_step_up_is_half_done_before_calls_count() {
    for (in_flight, begins) in [(14, false), (15, true)] {
        let mut adaptive = Adaptive::new(bounds(10), Instant::now());
        adaptive.limit = 20.0;
        adaptive.started(Crowd { in_flight, waiting: 1 }, adaptive.epoch);
        assert_eq!(adaptive.group.has_begun(), begins);
    }
}

#[test]
fn a_caller_that_left_counts_where_most_calls_are_quicker() {
    let crowd = Crowd { in_flight: 100, waiting: 1 };
    for (took, void) in [(99, true), (100, false)] {
        let (mut adaptive, began) = stepping(100.0, 200.0, 0.1);
        (0..5).for_each(|_| adaptive.ended(began, Outcome::Cut, crowd, began + took * MS));
        assert_eq!(!adaptive.probing, void, "five of sixteen that say nothing are too many");
    }
}

#[test]
fn a_step_up_is_given_up_when_calls_take_longer_than_it_could_be_worth() {
    let crowd = Crowd { in_flight: 100, waiting: 1 };
    // 1.2 times half a second, times the root of 1.44.
    for (took, undone) in [(719, false), (721, true)] {
        let (mut adaptive, began) = stepping(100.0, 144.0, 0.5);
        adaptive.ended(began, Outcome::Answered, crowd, began + took * MS);
        assert_eq!(!adaptive.probing && adaptive.fruitless == 1, undone);
    }
}

#[test]
fn a_group_that_is_not_sure_enough_is_read_on() {
    // Half of the calls take ten times as long as the others: an error of a fifth. It is read when the last has ended.
    let read = |step, probing, latency| {
        let (mut adaptive, began) = stepping(100.0, 100.0, latency);
        (adaptive.probing, adaptive.step) = (probing, step);
        for (call, took) in (0..16).map(|call| (call, if call < 8 { 100 } else { 1000 + call / 15 })) {
            adaptive.ended(began, Outcome::Answered, Crowd { in_flight: 99 - call, waiting: 1 }, began + took * MS);
        }
        !adaptive.group.has_begun()
    };
    assert!(read(1.7, false, 0.55), "an eighth of the step is more");
    assert!(!read(1.5, false, 0.55) && !read(0.8, false, 0.55));
    // Clear is only what a probe shows.
    assert!(!read(0.8, false, 9.0));
    assert!(read(0.8, true, 9.0));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Pass(u32),
    Arrive(u32),
    Start,
    End(usize, Outcome),
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        6 => Just(Outcome::Answered),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Cut),
        1 => Just(Outcome::Nothing),
    ];
    prop_oneof![
        1 => (0..2_000_000_u32).prop_map(Event::Pass),
        1 => (0..50_u32).prop_map(Event::Arrive),
        3 => Just(Event::Start),
        3 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: the limit is within its bounds, and whoever waits may start sooner or later.
    #[test]
    fn never_leaves_its_bounds(
        (floor, initial, ceiling) in (1..50_u32, 0..50_u32, 0..100_u32),
        events in prop::collection::vec(event(), 0..2000),
    ) {
        let bounds = Bounds::try_new(floor, floor + initial, floor + initial + ceiling).unwrap();
        let mut now = Instant::now();
        let mut adaptive = Adaptive::new(bounds, now);
        let mut running = Vec::new();
        for event in events {
            let crowd = |running: &[Instant], waiting| Crowd { in_flight: u32::try_from(running.len()).unwrap(), waiting };
            match event {
                Event::Pass(micros) => now += Duration::from_micros(micros.into()),
                Event::Arrive(waiting) => adaptive.arrived(crowd(&running, waiting), now),
                Event::Start => {
                    running.push(now);
                    adaptive.started(crowd(&running, 1), now);
                }
                Event::End(..) if running.is_empty() => {}
                Event::End(which, outcome) => {
                    let started = running.swap_remove(which % running.len());
                    adaptive.ended(started, outcome, crowd(&running, 1), now);
                }
            }
            let limit = adaptive.limit().get();
            prop_assert!((bounds.floor()..=bounds.ceiling()).contains(&limit), "{limit}");
            let later = now + Duration::from_secs(86_400);
            prop_assert!(adaptive.may_start(later) <= later);
        }
    }
}
