//! What a group of calls, begun one after another, shows of a target: how long they take, and how surely that is known.

/// A group is read when its first few calls have ended, then at twice as many each time, until it is sure enough.
const STAGES: usize = 9;
/// As few calls as that, where only one may be in flight: at a low limit calls are slow to come by.
const FEWEST: usize = 4;
const FEW: usize = 16;
/// As many as that are remembered.
const MOST: usize = 1024;
/// Being surer is not worth more than so many round trips.
const ROUND_TRIPS: f64 = 32.0;
/// The slowest quarter counts as the quickest of them: one call of ten seconds among fast ones neither delays nor bends the
/// answer.
const QUANTILE: f64 = 0.75;

/// What a group shows. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// The mean time of a call, the slowest quarter cut down to `quantile`.
    pub latency: f64,
    /// The third quartile.
    pub quantile: f64,
    /// The standard error of `latency`, as a share of it.
    pub error: f64,
    /// How many were in flight when these calls began, on average.
    pub in_flight: f64,
}

/// How far the reading of a group has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// More calls must end.
    NotYet,
    /// Too many of its calls ended in a way that says nothing.
    Void,
    /// What it knew is out of date: another one is to begin.
    Stale,
    Done(Seen),
}

/// A group, while it is read.
#[derive(Debug)]
pub(super) struct Group {
    /// Calls that came and calls that ended since it began, its own or not.
    pub arrivals: u32,
    pub ends: u32,
    began: Option<f64>,
    /// Seconds under pressure, as of its beginning.
    pressed: f64,
    first: usize,
    most: usize,
    begun: usize,
    /// The sum of those in flight at each start.
    held: f64,
    /// For each stage begun: when its last call began, after `began`, and the mean of those in flight.
    edges: [(f32, f64); STAGES],
    edges_passed: usize,
    ended: Vec<Ended>,
    overloads: usize,
    unknown: usize,
    stage: usize,
    /// Not to be read before.
    ready: f64,
}

/// A call of the group that has ended: when it began, after the group did, and how long it took. Half as large as an `f64` each.
#[derive(Debug, Clone, Copy)]
struct Ended {
    began: f32,
    took: f32,
}

impl Group {
    pub(super) fn new(limit: f64) -> Self {
        Self::of(limit, Vec::with_capacity(MOST))
    }

    /// Another group, of calls begun from now on, `limit` of which may be in flight.
    pub(super) fn restart(&mut self, limit: f64) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.clear();
        *self = Self::of(limit, ended);
    }

    fn of(limit: f64, ended: Vec<Ended>) -> Self {
        Self {
            arrivals: 0,
            ends: 0,
            began: None,
            pressed: 0.0,
            first: whole(2.0 * limit).clamp(FEWEST, FEW),
            most: whole(ROUND_TRIPS * limit).min(MOST),
            begun: 0,
            held: 0.0,
            edges: [(0.0, 0.0); STAGES],
            edges_passed: 0,
            ended,
            overloads: 0,
            unknown: 0,
            stage: 0,
            ready: 0.0,
        }
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// A call of this group starts, with so many in flight.
    pub(super) fn started(&mut self, in_flight: f64, pressed: f64, now: f64) {
        if self.began.is_none() {
            (self.began, self.pressed, self.arrivals, self.ends) = (Some(now), pressed, 0, 0);
        }
        if self.is_complete() {
            return;
        }
        self.begun += 1;
        self.held += in_flight;
        if self.begun == self.size(self.edges_passed) {
            self.edges[self.edges_passed] = (single(self.age(now)), self.held / count(self.begun));
            self.edges_passed += 1;
        }
    }

    /// A call ended that began at `started`; `took` is `None` where that says nothing.
    pub(super) fn ended(&mut self, started: f64, took: Option<f64>, overload: bool) {
        let Some(began) = self.began.filter(|began| started >= *began) else { return };
        let began = single(started - began);
        if self.is_complete() && self.edges[self.edges_passed - 1].0 < began {
            return;
        }
        self.overloads += usize::from(overload);
        match took {
            None => self.unknown += 1,
            Some(took) if self.ended.len() < MOST => self.ended.push(Ended { began, took: single(took) }),
            Some(_) => {}
        }
    }

    /// Whether the first calls have taken longer than `secs` and most of them still run.
    pub(super) fn is_overdue(&self, secs: f64, now: f64) -> bool {
        let (edge, _) = self.edges[0];
        let first = self.ended.iter().filter(|call| call.began <= edge).count();
        self.edges_passed > 0 && self.age(now) - f64::from(edge) > secs && first < quorum(self.size(0))
    }

    /// More than 5 % of the calls read are signs of overload.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloads * 20 > self.size(self.stage)
    }

    /// Seconds since the first start.
    pub(super) fn age(&self, now: f64) -> f64 {
        self.began.map_or(0.0, |began| now - began).max(1e-9)
    }

    /// The share of them under pressure.
    pub(super) fn pressed_share(&self, pressed: f64, now: f64) -> f64 {
        (pressed - self.pressed) / self.age(now)
    }

    /// What the group shows, once its error is at most `error` or it is `clear`. If nothing had ended for as long as a call takes
    /// (`silence`), what the group knew is out of date.
    pub(super) fn read(&mut self, silence: f64, error: f64, clear: impl Fn(&Seen) -> bool, now: f64) -> Reading {
        while now >= self.ready && self.stage < self.edges_passed {
            let (edge, in_flight) = self.edges[self.stage];
            let size = self.size(self.stage);
            let need = quorum(size);
            if self.unknown > size - need {
                return Reading::Void;
            }
            if self.ended.len() < need {
                return Reading::NotYet;
            }
            let taken = self.sort_out(edge);
            if taken < need {
                return Reading::NotYet;
            }
            let (_, slowest, _) = self.ended[..taken].select_nth_unstable_by(need - 1, |a, b| a.took.total_cmp(&b.took));
            let quantile = f64::from(slowest.took);
            // Until then one of those that still run may turn out quicker than this.
            let sure = self.began.unwrap_or(now) + f64::from(edge) + quantile;
            if now < sure {
                self.ready = sure;
                return Reading::NotYet;
            }
            if silence > quantile {
                return Reading::Stale;
            }
            let (latency, spread) = moments(&self.ended[..need], quantile, size);
            let seen = Seen { latency, quantile, error: spread / latency / count(size).sqrt(), in_flight };
            if seen.error <= error || size >= self.most || self.stage + 1 == STAGES || clear(&seen) {
                return Reading::Done(seen);
            }
            self.stage += 1;
        }
        Reading::NotYet
    }

    /// Those of the stage that ends at `edge` first; says how many they are.
    fn sort_out(&mut self, edge: f32) -> usize {
        let mut taken = 0;
        for at in 0..self.ended.len() {
            if self.ended[at].began <= edge {
                self.ended.swap(at, taken);
                taken += 1;
            }
        }
        taken
    }

    /// As many calls have begun as will ever be read.
    fn is_complete(&self) -> bool {
        self.edges_passed > 0 && (self.size(self.edges_passed - 1) >= self.most || self.edges_passed == STAGES)
    }

    fn size(&self, stage: usize) -> usize {
        (self.first << stage).min(MOST)
    }
}

/// How many of `size` calls must have ended before the third quartile is known.
fn quorum(size: usize) -> usize {
    whole((count(size) * QUANTILE).ceil())
}

/// Mean and standard deviation of the latencies of `size` calls, those not among the quickest taken as `quantile`.
fn moments(quickest: &[Ended], quantile: f64, size: usize) -> (f64, f64) {
    let (size, rest) = (count(size), count(size.saturating_sub(quickest.len())));
    let mean = rest.mul_add(quantile, quickest.iter().map(|call| f64::from(call.took)).sum::<f64>()) / size;
    let squares = quickest.iter().map(|call| (f64::from(call.took) - mean).powi(2)).sum::<f64>();
    (mean, (rest.mul_add((quantile - mean).powi(2), squares) / size).sqrt())
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
const fn count(calls: usize) -> f64 {
    calls as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the caller")]
const fn whole(value: f64) -> usize {
    value as usize
}

#[expect(clippy::cast_possible_truncation, reason = "half the memory")]
const fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `calls` calls begin one after another, ten in flight, and end each after its own time, in milliseconds; read at each end.
    fn read(group: &mut Group, calls: u32, took: impl Fn(u32) -> u32, error: f64) -> Reading {
        let times = |call: u32| (f64::from(call) / 1e5, f64::from(took(call)) / 1e3);
        let mut calls: Vec<(f64, f64)> = (0..calls).map(times).collect();
        calls.iter().for_each(|(started, _)| group.started(10.0, 0.0, *started));
        calls.sort_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
        for (started, took) in calls {
            group.ended(started, Some(took), false);
            let reading = group.read(0.0, error, |_| false, started + took);
            if reading != Reading::NotYet {
                return reading;
            }
        }
        Reading::NotYet
    }

    #[test]
    fn the_slowest_quarter_counts_as_the_third_quartile() {
        let Reading::Done(seen) = read(&mut Group::new(64.0), 17, |call| if call < 12 || call == 16 { 100 } else { 10_000 }, 0.1)
        else {
            panic!("twelve of sixteen are enough")
        };
        assert!((seen.latency - 0.1).abs() < 1e-6 && (seen.quantile - 0.1).abs() < 1e-6 && seen.error < 1e-6);
        assert!((seen.in_flight - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_group_is_read_until_it_is_sure_enough_or_has_cost_too_much() {
        let uneven = |call: u32| 100 + 150 * (call % 4);
        let errors = |limit, error| match read(&mut Group::new(limit), 2048, uneven, error) {
            Reading::Done(seen) => Some(seen.error),
            _ => None,
        };
        let (sure, surer) = (errors(64.0, 0.1).unwrap(), errors(64.0, 0.03).unwrap());
        assert!(sure <= 0.1 && surer <= 0.03 && surer < sure, "{sure} {surer}");
        // 1,024 are enough, and so are 32 round trips.
        let (most, few) = (errors(64.0, 0.0).unwrap(), errors(2.0, 0.0).unwrap());
        assert!(most > 0.0 && (few / most - 4.0).abs() < 0.5, "{few} {most}");
    }

    #[test]
    fn at_a_low_limit_a_few_calls_are_a_group() {
        assert!(matches!(read(&mut Group::new(1.0), 5, |_| 100, 0.1), Reading::Done(_)));
        assert_eq!(read(&mut Group::new(8.0), 11, |_| 100, 0.1), Reading::NotYet);
    }

    #[test]
    fn calls_that_say_nothing_make_a_group_void() {
        let mut group = Group::new(64.0);
        (0..16).for_each(|_| group.started(1.0, 0.0, 0.0));
        for _ in 0..4 {
            group.ended(0.0, None, false);
            assert_eq!(group.read(0.0, 0.1, |_| false, 1.0), Reading::NotYet);
        }
        group.ended(0.0, None, false);
        assert_eq!(group.read(0.0, 0.1, |_| false, 1.0), Reading::Void);
        // Those that began before it have nothing to do with it.
        group.restart(64.0);
        (0..16).for_each(|_| group.started(1.0, 0.0, 2.0));
        (0..9).for_each(|_| group.ended(1.0, None, false));
        assert_eq!(group.read(0.0, 0.1, |_| false, 3.0), Reading::NotYet);
    }

    /// A group of limit 64 whose first 16 calls begin in the course of a second, from the tenth on; twelve of the first have
    /// taken half a second.
    fn first_stage() -> Group {
        let mut group = Group::new(64.0);
        (0..15).for_each(|_| group.started(10.0, 0.0, 10.0));
        group.started(10.0, 0.0, 11.0);
        (0..12).for_each(|_| group.ended(10.0, Some(0.5), false));
        group
    }

    #[test]
    fn a_group_is_read_when_none_that_still_runs_may_turn_out_quicker() {
        let read = |silence, now| first_stage().read(silence, 0.1, |_| false, now);
        // The last of them began at 11.
        for early in [10.4, 10.6, 11.2, 11.49] {
            assert_eq!(read(0.0, early), Reading::NotYet, "{early}");
        }
        let Reading::Done(seen) = read(0.5, 11.5) else { panic!("twelve of sixteen have taken half a second") };
        assert!((seen.latency - 0.5).abs() < 1e-9 && (seen.in_flight - 10.0).abs() < 1e-9);
        assert_eq!(read(0.51, 11.5), Reading::Stale);
    }

    #[test]
    fn a_group_that_has_not_begun_all_its_calls_is_not_read() {
        let mut group = Group::new(64.0);
        (0..15).for_each(|_| group.started(10.0, 0.0, 0.0));
        (0..12).for_each(|_| group.ended(0.0, Some(1.0), false));
        assert_eq!(group.read(0.0, 0.1, |_| true, 9.0), Reading::NotYet);
    }

    #[test]
    fn a_clear_answer_is_an_answer_however_unsure() {
        let group = || {
            let mut group = Group::new(64.0);
            (0..16).for_each(|_| group.started(10.0, 0.0, 0.0));
            (1..13).for_each(|call| group.ended(0.0, Some(f64::from(call)), false));
            group
        };
        assert!(matches!(group().read(0.0, 0.0, |_| true, 20.0), Reading::Done(_)));
        assert_eq!(group().read(0.0, 0.0, |_| false, 20.0), Reading::NotYet);
    }

    #[test]
    fn the_first_calls_are_overdue_while_most_of_them_run() {
        let mut group = Group::new(64.0);
        (0..15).for_each(|_| group.started(1.0, 0.0, 10.0));
        assert!(!group.is_overdue(1.0, 99.0), "they have not all begun");
        group.started(1.0, 0.0, 11.0);
        assert!(!group.is_overdue(1.0, 12.0) && group.is_overdue(1.0, 12.1));
        // Those that began later do not count.
        group.started(1.0, 0.0, 11.5);
        group.ended(11.5, Some(0.1), false);
        (0..11).for_each(|_| group.ended(11.0, Some(0.5), false));
        assert!(group.is_overdue(1.0, 12.1));
        group.ended(10.0, Some(0.5), false);
        assert!(!group.is_overdue(1.0, 99.0));
    }

    #[test]
    fn more_than_a_twentieth_is_overload() {
        // The second stage is of 20 calls.
        let mut group = Group { stage: 1, ..Group::new(5.0) };
        group.started(1.0, 0.0, 0.0);
        for overloaded in [false, true] {
            group.ended(0.0, Some(1.0), true);
            assert_eq!(group.is_overloaded(), overloaded);
        }
    }

    #[test]
    fn pressure_counts_from_the_beginning() {
        let mut group = Group::new(5.0);
        group.started(1.0, 2.0, 10.0);
        assert!((group.pressed_share(5.0, 20.0) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn the_last_call_of_a_group_belongs_to_it_and_the_next_does_not() {
        let mut group = Group::new(1.0);
        (0..33).for_each(|call| group.started(1.0, 0.0, f64::from(call)));
        group.ended(32.0, Some(1.0), false);
        assert_eq!(group.ended.len(), 0);
        group.ended(31.0, Some(1.0), false);
        assert_eq!(group.ended.len(), 1);
    }

    #[test]
    fn never_remembers_more_than_it_has_room_for() {
        let mut group = Group::new(64.0);
        for _ in 0..5000 {
            group.started(1.0, 0.0, 0.0);
            group.ended(0.0, Some(1.0), false);
        }
        (0..5000).for_each(|_| group.ended(9.0, Some(1.0), false));
        assert_eq!((group.ended.len(), group.ended.capacity()), (MOST, MOST));
    }
}
