use super::*;
use crate::breaker::{circuit::Phase, policy::Settings, ramp::Ramp};
use State::{Closed, HalfOpen, Open};

const FAILURE: Sample = Sample::Failure { retry_after: None };
const THROTTLED: Sample = Sample::Throttled { retry_after: None };
const EVERY_SAMPLE: [Sample; 5] = [Sample::Success, FAILURE, THROTTLED, Sample::Neutral, Sample::Ignored];

const SECOND: Duration = Duration::from_secs(1);

const TRIPPED: Option<Transition> = change(Closed, Open);
const HALF_OPENED: Option<Transition> = change(Open, HalfOpen);
const RECOVERED: Option<Transition> = change(HalfOpen, Closed);
const RELAPSED: Option<Transition> = change(HalfOpen, Open);

const fn change(from: State, to: State) -> Option<Transition> {
    Some(Transition { from, to })
}

fn one() -> Who {
    Who::patient(1)
}

/// A machine, a clock that moves when told to, and a seeded source of jitter.
struct Bench {
    machine: Machine,
    now: Instant,
    rng: fastrand::Rng,
}

impl Bench {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let now = Instant::now();
        Self { machine: Machine::new(policy, now), now, rng: fastrand::Rng::with_seed(7) }
    }

    /// Six failures ago, this was closed.
    fn open() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.calls(FAILURE, 6), TRIPPED);
        bench
    }

    /// The first probe has just passed.
    fn ramping() -> Self {
        let mut bench = Self::open();
        let probe = bench.probe();
        assert_eq!(bench.settle(probe, Sample::Success), RECOVERED);
        bench
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn pass(&mut self) -> Ticket {
        match self.machine.admit(one, self.now) {
            (Admit::Pass(ticket), None) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self) -> (State, Duration) {
        match self.machine.admit(one, self.now) {
            (Admit::Refuse { retry_after: Some(retry_after) }, None) => (self.machine.state(), retry_after),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for as long as an open breaker says, and takes the probe.
    fn probe(&mut self) -> Ticket {
        let (state, left) = self.refused();
        assert_eq!(state, Open);
        self.wait(left - Duration::from_nanos(1));
        assert_eq!(self.refused(), (Open, Duration::from_nanos(1)));
        self.wait(Duration::from_nanos(1));
        match self.machine.admit(one, self.now) {
            (Admit::Probe(ticket), HALF_OPENED) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self, ticket: Ticket, sample: Sample) -> Option<Transition> {
        let before = self.machine.state();
        let transition = self.machine.settle(ticket, sample, self.now, &mut self.rng);
        let (from, to) = transition.map_or((before, before), |t| (t.from, t.to));
        assert_eq!((from, to), (before, self.machine.state()));
        transition
    }

    fn call(&mut self, sample: Sample) -> Option<Transition> {
        let ticket = self.pass();
        self.settle(ticket, sample)
    }

    /// So many calls, of which only the last may change the state.
    fn calls(&mut self, sample: Sample, count: usize) -> Option<Transition> {
        for _ in 1..count {
            assert_eq!(self.call(sample), None);
        }
        self.call(sample)
    }
}

#[test]
fn an_outage_is_found_in_exactly_six_calls() {
    Bench::open();
}

#[test]
fn what_each_sample_means_to_a_run_of_failures() {
    // The sample comes after five failures, and one more failure after it.
    let table = [
        (Sample::Success, None, None),
        (THROTTLED, None, TRIPPED),
        (Sample::Neutral, None, TRIPPED),
        (Sample::Ignored, None, TRIPPED),
    ];
    for (sample, at_once, after_one_failure) in table {
        let mut bench = Bench::new();
        bench.calls(FAILURE, 5);
        assert_eq!(bench.call(sample), at_once, "{sample:?}");
        assert_eq!(bench.call(FAILURE), after_one_failure, "{sample:?}");
    }
}

#[test]
fn what_each_sample_means_to_the_success_rate() {
    // The sample comes after 9 successes and 10 failures, and a throttled call after it.
    let table = [
        (Sample::Success, None, None),
        (FAILURE, TRIPPED, None),
        (THROTTLED, TRIPPED, None),
        (Sample::Neutral, None, TRIPPED),
        (Sample::Ignored, None, TRIPPED),
    ];
    for (sample, at_once, after_one_throttled) in table {
        let mut bench = Bench::new();
        assert_eq!(bench.call(FAILURE), None);
        for _ in 0..9 {
            assert_eq!(bench.call(FAILURE), None);
            assert_eq!(bench.call(Sample::Success), None);
        }
        assert_eq!(bench.call(sample), at_once, "{sample:?}");
        if at_once.is_none() {
            // Spaced so far that only the last twenty calls speak, and the first failure drops out.
            bench.wait(31 * SECOND);
            assert_eq!(bench.call(THROTTLED), after_one_throttled, "{sample:?}");
        }
    }
}

#[test]
fn what_each_sample_means_to_a_probe() {
    let table = [
        (Sample::Success, RECOVERED),
        (FAILURE, RELAPSED),
        (THROTTLED, RELAPSED),
        (Sample::Neutral, RECOVERED),
        (Sample::Ignored, None),
    ];
    for (sample, decision) in table {
        let mut bench = Bench::open();
        let probe = bench.probe();
        assert_eq!(bench.settle(probe, sample), decision, "{sample:?}");
    }
}

#[test]
fn a_late_result_means_nothing_in_any_state() {
    for sample in EVERY_SAMPLE {
        let mut bench = Bench::new();
        let mut late: Vec<Ticket> = (0..60).map(|_| bench.pass()).collect();
        let mut all_late = |bench: &mut Bench| {
            for ticket in late.drain(..20) {
                assert_eq!(bench.settle(ticket, sample), None, "{sample:?}");
            }
        };
        bench.calls(FAILURE, 6);
        all_late(&mut bench);
        let probe = bench.probe();
        all_late(&mut bench);
        assert_eq!(bench.refused().0, HalfOpen, "the probe is still out");
        bench.settle(probe, Sample::Success);
        all_late(&mut bench);
        // Nor have they been counted: a run from here still takes six.
        bench.wait(10 * SECOND);
        assert_eq!(bench.calls(FAILURE, 6), TRIPPED, "{sample:?}");
    }
}

/// Six hangs that began in one bad moment end together, hundreds of successes later: that moment is over.
#[test]
fn only_failures_that_began_after_the_last_success_make_a_run() {
    for (after_the_hangs, tripped) in [(Sample::Success, None), (Sample::Neutral, TRIPPED), (THROTTLED, TRIPPED)] {
        let mut bench = Bench::new();
        bench.calls(Sample::Success, 300);
        let hangs: Vec<Ticket> = (0..6).map(|_| bench.pass()).collect();
        bench.wait(SECOND);
        assert_eq!(bench.call(after_the_hangs), None);
        bench.wait(19 * SECOND);
        let changes: Vec<_> = hangs.into_iter().map(|hang| bench.settle(hang, FAILURE)).collect();
        assert_eq!(changes, [None, None, None, None, None, tripped], "{after_the_hangs:?}");
    }
}

#[test]
fn a_call_is_current_until_a_success_ends_or_the_state_changes() {
    let changes: [fn(&mut Bench); 4] = [
        |bench| assert_eq!(bench.call(Sample::Success), None),
        |bench| assert_eq!(bench.calls(FAILURE, 6), TRIPPED),
        |bench| assert_eq!(bench.machine.force(Force::Open), TRIPPED),
        |bench| assert_eq!(bench.machine.force(Force::Closed), None),
    ];
    for change in changes {
        let mut bench = Bench::new();
        let ticket = bench.pass();
        bench.calls(THROTTLED, 2);
        bench.calls(FAILURE, 2);
        bench.calls(Sample::Neutral, 2);
        assert!(bench.machine.is_current(&ticket));
        bench.machine.force(Force::Auto);
        assert!(bench.machine.is_current(&ticket));
        bench.wait(301 * SECOND);
        change(&mut bench);
        assert!(!bench.machine.is_current(&ticket));
    }
}

#[test]
fn it_is_active_for_as_long_as_anything_counts() {
    let mut bench = Bench::new();
    assert!(!bench.machine.is_active(bench.now));
    let _ = bench.pass();
    bench.wait(300 * SECOND);
    assert!(bench.machine.is_active(bench.now));
    bench.wait(Duration::from_nanos(1));
    assert!(!bench.machine.is_active(bench.now));
    bench.calls(FAILURE, 6);
    bench.wait(SECOND);
    bench.refused();
    bench.wait(300 * SECOND);
    assert!(bench.machine.is_active(bench.now), "who is refused has asked too");
}

#[test]
fn it_says_how_it_is() {
    let mut bench = Bench::new();
    let says = |bench: &Bench| (bench.machine.failures(), bench.machine.success_rate(), bench.machine.until_probe(bench.now));
    bench.calls(Sample::Success, 15);
    bench.calls(FAILURE, 5);
    assert_eq!(says(&bench), (5, Some(0.75), None));
    bench.call(FAILURE);
    let (_, left) = bench.refused();
    bench.wait(left / 2);
    assert_eq!(says(&bench), (0, None, Some(left - left / 2)));
    bench.wait(3600 * SECOND);
    assert_eq!(says(&bench), (0, None, Some(Duration::ZERO)));
    let (Admit::Probe(probe), _) = bench.machine.admit(one, bench.now) else { panic!("no probe") };
    assert_eq!(says(&bench), (0, None, None));
    bench.settle(probe, Sample::Ignored);
    assert_eq!(says(&bench), (0, None, Some(Duration::ZERO)));
    assert!(!bench.machine.is_held());
    bench.machine.force(Force::Closed);
    assert!(bench.machine.is_held() && says(&bench) == (0, None, None));
}

#[test]
fn another_policy_holds_from_the_next_call_on() {
    let policy = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        Policy::try_new(settings).unwrap()
    };
    // The run goes on, to another end.
    let mut bench = Bench::new();
    bench.calls(FAILURE, 3);
    bench.machine.set_policy(policy(|s| s.consecutive_failures = 4));
    assert_eq!(bench.call(FAILURE), TRIPPED);

    // The last calls are still known, and as many of them as before speak now.
    let mut bench = Bench::new();
    bench.calls(Sample::Success, 8);
    bench.calls(THROTTLED, 9);
    bench.machine.set_policy(policy(|s| s.window_calls = 10));
    assert_eq!(bench.machine.success_rate(), Some(8.0 / 17.0));
    assert_eq!(bench.call(THROTTLED), TRIPPED);

    // The slices of another length are not.
    let mut bench = Bench::new();
    bench.calls(Sample::Success, 100);
    bench.machine.set_policy(policy(|s| s.window_span = SECOND));
    assert_eq!(bench.calls(THROTTLED, 11), TRIPPED, "by the last twenty");

    // A cool-down is cut to the longest, and the next begins between the two.
    let mut bench = Bench::open();
    bench.machine.set_policy(policy(|s| (s.cool_down_min, s.cool_down_max) = (SECOND / 1000, SECOND)));
    assert_eq!(bench.refused().1, SECOND);
    let probe = bench.probe();
    bench.settle(probe, FAILURE);
    let (_, left) = bench.refused();
    assert!(left >= SECOND / 2 && left <= SECOND, "{left:?}");
    bench.machine.set_policy(policy(|s| s.cool_down_min = 100 * SECOND));
    let probe = bench.probe();
    bench.settle(probe, FAILURE);
    let (_, left) = bench.refused();
    assert!(left >= 50 * SECOND && left <= 100 * SECOND, "{left:?}");
}

/// Though they make no run, they are failures.
#[test]
fn failures_that_began_before_a_success_count_against_the_success_rate() {
    let mut bench = Bench::new();
    let hangs: Vec<Ticket> = (0..11).map(|_| bench.pass()).collect();
    bench.calls(Sample::Success, 10);
    assert_eq!(bench.machine.failures(), 0);
    let changes: Vec<_> = hangs.into_iter().map(|hang| bench.settle(hang, FAILURE)).collect();
    assert!(changes[..10].iter().all(Option::is_none));
    assert_eq!(changes[10], TRIPPED);
}

#[test]
fn throttling_opens_by_rate_and_never_as_a_run() {
    let mut bench = Bench::new();
    assert_eq!(bench.calls(THROTTLED, 20), TRIPPED);

    let settings = Settings { min_success_rate: 0.0, ..Settings::default() };
    let mut bench = Bench::with(Policy::try_new(settings).unwrap());
    assert_eq!(bench.calls(THROTTLED, 1000), None);
}

#[test]
fn half_of_the_calls_failing_is_not_yet_too_many() {
    let mut bench = Bench::new();
    for _ in 0..500 {
        assert_eq!(bench.call(Sample::Success), None);
        assert_eq!(bench.call(FAILURE), None);
    }
    assert_eq!(bench.call(FAILURE), TRIPPED);
}

#[test]
fn the_run_can_be_switched_off() {
    let settings = Settings { consecutive_failures: 0, ..Settings::default() };
    let mut bench = Bench::with(Policy::try_new(settings).unwrap());
    assert_eq!(bench.calls(FAILURE, 20), TRIPPED);
}

#[test]
fn after_ten_idle_minutes_old_samples_do_not_count() {
    // One more would have tripped by rate, or as a run.
    for (sample, nearly) in [(THROTTLED, 19), (FAILURE, 5)] {
        let mut bench = Bench::new();
        assert_eq!(bench.calls(sample, nearly), None);
        bench.wait(600 * SECOND);
        assert_eq!(bench.calls(sample, nearly), None);
        bench.wait(10 * SECOND);
        assert_eq!(bench.call(sample), TRIPPED);
    }
}

#[test]
fn a_run_may_be_silent_for_as_long_as_anything_counts() {
    for (silence, opens) in [(300 * SECOND, TRIPPED), (300 * SECOND + Duration::from_nanos(1), None)] {
        let mut bench = Bench::new();
        bench.calls(FAILURE, 5);
        bench.wait(silence);
        assert_eq!(bench.call(FAILURE), opens);
    }
}

#[test]
fn one_probe_at_a_time() {
    let mut bench = Bench::open();
    let probe = bench.probe();
    bench.wait(3600 * SECOND);
    for _ in 0..100 {
        assert_eq!(bench.refused(), (HalfOpen, SECOND * 5 / 2));
    }
    bench.settle(probe, FAILURE);
    assert_eq!(bench.refused().0, Open);
}

#[test]
fn a_released_probe_makes_room_for_the_next_at_once() {
    let mut bench = Bench::open();
    let mut probe = bench.probe();
    for _ in 0..100 {
        assert_eq!(bench.settle(probe, Sample::Ignored), None);
        probe = match bench.machine.admit(one, bench.now) {
            (Admit::Probe(ticket), None) => ticket,
            other => panic!("{other:?}"),
        };
        assert_eq!(bench.refused().0, HalfOpen);
    }
    assert_eq!(bench.settle(probe, Sample::Success), RECOVERED);
}

/// One who calls most and leaves soon would be the probe again and again.
#[test]
fn cool_downs_double_up_to_the_longest() {
    let mut bench = Bench::open();
    for nominal in [5, 10, 20, 40, 80, 160, 300, 300, 300] {
        let (_, left) = bench.refused();
        let nominal = nominal * SECOND;
        assert!(nominal / 2 <= left && left <= nominal, "{left:?} of {nominal:?}");
        let probe = bench.probe();
        bench.settle(probe, FAILURE);
    }
}

#[test]
fn cool_downs_are_spread_over_the_upper_half() {
    let drawn: Vec<Duration> = (0..1000)
        .map(|seed| {
            let mut bench = Bench::new();
            bench.rng = fastrand::Rng::with_seed(seed);
            bench.calls(FAILURE, 6);
            bench.refused().1
        })
        .collect();
    let mean = drawn.iter().sum::<Duration>() / 1000;
    assert!(drawn.iter().all(|d| (SECOND * 5 / 2..SECOND * 5).contains(d)));
    assert!(mean.abs_diff(SECOND * 15 / 4) < SECOND / 10, "{mean:?}");
}

#[test]
fn a_cool_down_is_at_least_what_the_server_asks_up_to_the_longest() {
    for (asked, granted) in [(60, 60), (300, 300), (86_400, 300)] {
        let retry_after = Some(asked * SECOND);
        for sample in [Sample::Failure { retry_after }, Sample::Throttled { retry_after }] {
            let mut bench = Bench::new();
            bench.calls(THROTTLED, 19);
            assert_eq!(bench.call(sample), TRIPPED);
            assert_eq!(bench.refused(), (Open, granted * SECOND));

            let probe = bench.probe();
            assert_eq!(bench.settle(probe, sample), RELAPSED);
            assert_eq!(bench.refused(), (Open, granted * SECOND));
        }
    }
}

#[test]
fn a_server_that_asks_for_less_than_the_cool_down_does_not_shorten_it() {
    let mut bench = Bench::new();
    bench.calls(FAILURE, 5);
    let retry_after = Some(Duration::from_millis(1));
    assert_eq!(bench.call(Sample::Failure { retry_after }), TRIPPED);
    assert!(bench.refused().1 >= SECOND * 5 / 2);
}

#[test]
fn a_ramp_lets_in_a_quarter_at_first_and_all_at_its_end() {
    let mut bench = Bench::ramping();
    let admitted =
        |bench: &mut Bench| (0..400).filter(|_| matches!(bench.machine.admit(one, bench.now).0, Admit::Pass(_))).count();
    assert_eq!(admitted(&mut bench), 100);
    let _ = bench.pass();
    assert_eq!(bench.refused(), (Closed, SECOND));
    bench.wait(10 * SECOND);
    assert_eq!(admitted(&mut bench), 400);
}

#[test]
fn failures_count_during_the_ramp_and_the_back_off_goes_on() {
    let mut bench = Bench::ramping();
    let mut changes = Vec::new();
    while changes.is_empty() {
        if let (Admit::Pass(ticket), _) = bench.machine.admit(one, bench.now) {
            changes.extend(bench.settle(ticket, FAILURE));
        }
    }
    assert_eq!(changes, Vec::from_iter(TRIPPED));
    let (_, left) = bench.refused();
    assert!((5 * SECOND..=10 * SECOND).contains(&left), "{left:?}");
}

#[test]
fn the_back_off_starts_over_once_the_ramp_is_complete() {
    let mut bench = Bench::ramping();
    // Admitted during the ramp, settled after it: still the same generation.
    let ticket = bench.pass();
    bench.wait(10 * SECOND);
    bench.settle(ticket, FAILURE);
    assert_eq!(bench.calls(FAILURE, 5), TRIPPED);
    let (_, left) = bench.refused();
    assert!(left <= 5 * SECOND, "{left:?}");
}

#[test]
fn times_out_of_order_are_harmless() {
    let mut bench = Bench::open();
    let start = bench.now;
    let probe = bench.probe();
    bench.now = start;
    assert_eq!(bench.settle(probe, Sample::Success), RECOVERED);
    let _ = bench.pass();
    bench.wait(3600 * SECOND);
    let _ = bench.pass();
    bench.now = start;
    assert_eq!(bench.calls(FAILURE, 6), TRIPPED);
}

#[test]
fn the_longest_durations_do_not_overflow() {
    let settings = Settings {
        window_span: Duration::MAX,
        sample_max_age: Duration::MAX,
        cool_down_min: Duration::MAX,
        cool_down_max: Duration::MAX,
        ramp: Duration::MAX,
        ..Settings::default()
    };
    let mut bench = Bench::with(Policy::try_new(settings).unwrap());
    assert_eq!(bench.calls(FAILURE, 6), TRIPPED);
    assert!(bench.refused().1 >= Duration::MAX / 2);
    bench.machine.circuit.set_phase(Phase::Ramping(Ramp::new(&settings, bench.now)));
    assert_eq!(bench.call(Sample::Success), None);
    bench.wait(3600 * SECOND);
    assert_eq!(bench.refused().0, Closed);
}

/// How often a million calls at this pace open the breaker, if so many percent fail at random.
fn trips(percent: u8, pace: Duration) -> usize {
    let mut bench = Bench::new();
    let mut noise = fastrand::Rng::with_seed(pace.as_millis() as u64);
    let mut call = || {
        bench.wait(pace);
        match bench.machine.admit(one, bench.now).0 {
            Admit::Refuse { .. } => false,
            Admit::Pass(ticket) | Admit::Probe(ticket) if noise.u8(..100) < percent => bench.settle(ticket, FAILURE) == TRIPPED,
            Admit::Pass(ticket) | Admit::Probe(ticket) => {
                bench.settle(ticket, Sample::Success);
                false
            }
        }
    };
    (0..1_000_000).filter(|_| call()).count()
}

#[test]
fn ten_percent_of_random_failures_hardly_ever_trip() {
    for pace in [Duration::from_millis(10), SECOND, 10 * SECOND] {
        let (noise, trouble) = (trips(10, pace), trips(40, pace));
        println!("a call every {pace:?}: {noise} trips at 10 %, {trouble} at 40 %");
        assert!(noise <= 10 && trouble > 20, "{noise}, {trouble}");
    }
}
