use super::*;
use State::{Closed, HalfOpen, Open};

const SECOND: Duration = Duration::from_secs(1);
const FAILURE: Sample = Sample::Failure { retry_after: None };
const LOST: (Sample, Contact) = (FAILURE, Contact::Failed);
const ANSWERED: (Sample, Contact) = (Sample::Success, Contact::Made);

const TRIPPED: Option<Transition> = change(Closed, Open);
const RECOVERED: Option<Transition> = change(HalfOpen, Closed);
const RELAPSED: Option<Transition> = change(HalfOpen, Open);

const fn change(from: State, to: State) -> Option<Transition> {
    Some(Transition { from, to })
}

fn one() -> Who {
    Who::patient(1)
}

/// A parent, a clock that moves when told to, and a seeded source of jitter.
struct Bench {
    parent: Parent,
    now: Instant,
    rng: fastrand::Rng,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Self { parent: Parent::new(Policy::try_new(settings).unwrap(), now), now, rng: fastrand::Rng::with_seed(7) }
    }

    /// Two of two have opened.
    fn open() -> Self {
        let mut bench = Self::new();
        assert_eq!((bench.opens(1, 2), bench.opens(2, 2)), (None, TRIPPED));
        bench
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn heed(&mut self, name: Name, from: State, to: State, active: usize) -> Option<Transition> {
        self.parent.heed(name, Transition { from, to }, active, self.now, &mut self.rng)
    }

    fn opens(&mut self, name: Name, active: usize) -> Option<Transition> {
        self.heed(name, Closed, Open, active)
    }

    fn admit(&mut self, name: Name, safe: bool) -> Result<Ticket, Option<Duration>> {
        match self.parent.admit(name, safe, one, self.now).0 {
            Admit::Pass(ticket) | Admit::Probe(ticket) => Ok(ticket),
            Admit::Refuse { retry_after } => Err(retry_after),
        }
    }

    fn call(&mut self, name: Name, end: (Sample, Contact)) -> Option<Transition> {
        let ticket = self.admit(name, true).unwrap();
        self.settle(name, ticket, end)
    }

    fn settle(&mut self, name: Name, ticket: Ticket, end: (Sample, Contact)) -> Option<Transition> {
        self.parent.settle(&ticket, name, end, self.now, &mut self.rng)
    }

    /// Waits for as long as a read of target 9 has to.
    fn cool_down(&mut self) -> Duration {
        let left = self.admit(9, true).unwrap_err().unwrap();
        self.wait(left);
        left
    }
}

#[test]
fn it_opens_when_several_and_half_of_the_active_are_open() {
    for (active, needed) in [(1, 2), (2, 2), (3, 2), (4, 2), (5, 3), (6, 3), (20, 10)] {
        let mut bench = Bench::new();
        let opened = (1..=20).position(|name| bench.opens(name, active) == TRIPPED);
        assert_eq!(opened, Some(needed - 1), "{active} active");
    }
}

#[test]
fn one_target_says_nothing_about_the_others_however_often_it_opens() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        assert_eq!(bench.opens(1, 1), None);
        assert_eq!(bench.heed(1, HalfOpen, Open, 1), None);
    }
    for _ in 0..100 {
        assert_eq!(bench.call(1, LOST), None);
    }
    assert_eq!(bench.parent.failures(), 100);
}

#[test]
fn who_has_closed_again_or_opened_long_ago_does_not_count() {
    let mut bench = Bench::new();
    bench.opens(1, 2);
    bench.heed(1, HalfOpen, Closed, 0);
    assert_eq!(bench.opens(2, 2), None);

    bench.wait(300 * SECOND);
    bench.heed(2, HalfOpen, Open, 4);
    bench.wait(300 * SECOND);
    assert_eq!(bench.opens(3, 2), TRIPPED, "its relapse was just recent enough");

    let mut bench = Bench::new();
    bench.opens(1, 2);
    bench.wait(300 * SECOND + Duration::from_nanos(1));
    assert_eq!(bench.opens(2, 2), None);
}

#[test]
fn what_was_known_before_it_closed_is_no_reason_to_open_again() {
    let mut bench = Bench::open();
    bench.cool_down();
    assert_eq!(bench.call(9, ANSWERED), RECOVERED);
    for name in [1, 2, 1, 2] {
        assert_eq!(bench.heed(name, HalfOpen, Open, 2), None, "a relapse");
    }
    assert_eq!(bench.opens(3, 2), None);
    assert_eq!(bench.opens(1, 2), TRIPPED);
}

#[test]
fn what_happens_while_it_is_not_closed_is_not_remembered() {
    let mut bench = Bench::open();
    assert_eq!(bench.opens(3, 2), None);
    bench.cool_down();
    let probe = bench.admit(9, true).unwrap();
    assert_eq!((bench.opens(4, 2), bench.opens(5, 2)), (None, None));
    assert_eq!(bench.settle(9, probe, ANSWERED), RECOVERED);
    assert_eq!(bench.opens(6, 2), None);
}

#[test]
fn six_lost_calls_in_a_row_open_it_if_they_are_not_all_of_one_target() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        assert_eq!(bench.call(1, LOST), None);
    }
    assert_eq!(bench.call(2, LOST), TRIPPED);

    let mut bench = Bench::new();
    for _ in 0..10 {
        assert_eq!(bench.call(1, LOST), None);
    }
    assert_eq!(bench.call(2, LOST), TRIPPED, "however many were of the one");
}

#[test]
fn any_answer_ends_a_run_of_lost_calls_and_silence_does_too() {
    let doubt = (FAILURE, Contact::Unknown);
    let failed_answer = (FAILURE, Contact::Made);
    for (between, opens) in
        [(ANSWERED, None), (failed_answer, None), (doubt, TRIPPED), ((Sample::Ignored, Contact::Unknown), TRIPPED)]
    {
        let mut bench = Bench::new();
        for name in 1..=5 {
            bench.call(name, LOST);
        }
        assert_eq!(bench.call(7, between), None);
        assert_eq!(bench.call(6, LOST), opens, "{between:?}");
    }
    for (silence, opens) in [(300 * SECOND, TRIPPED), (301 * SECOND, None)] {
        let mut bench = Bench::new();
        for name in 1..=5 {
            bench.call(name, LOST);
        }
        bench.wait(silence);
        assert_eq!(bench.call(6, LOST), opens, "{silence:?}");
    }
}

#[test]
fn each_rule_can_be_switched_off() {
    let mut bench = Bench::with(Settings { connect_failures: 0, ..Settings::default() });
    assert!((0..100).all(|name| bench.call(name, LOST).is_none()));
    let mut bench = Bench::with(Settings { open_share: 0.0, ..Settings::default() });
    assert!((0..100).all(|name| bench.opens(name, 1).is_none()));
}

#[test]
fn a_read_has_the_right_of_way_and_others_come_a_quarter_later() {
    let mut bench = Bench::open();
    let left = bench.cool_down();
    let quarter = left / 4;
    assert_eq!(bench.admit(1, false).unwrap_err(), Some(quarter));
    bench.wait(quarter - Duration::from_nanos(1));
    assert_eq!(bench.admit(1, false).unwrap_err(), Some(Duration::from_nanos(1)));
    let read = bench.admit(1, true).unwrap();
    // Released, it is free for reads at once, and for others when they would have come anyway.
    assert_eq!(bench.settle(1, read, (Sample::Ignored, Contact::Unknown)), None);
    assert_eq!(bench.admit(1, false).unwrap_err(), Some(Duration::from_nanos(1)));
    bench.wait(Duration::from_nanos(1));
    assert!(bench.admit(1, false).is_ok());
}

#[test]
fn nobody_waits_longer_than_ten_seconds_for_a_read() {
    let mut bench = Bench::new();
    bench.opens(1, 2);
    bench.opens(2, 2);
    for _ in 0..8 {
        bench.cool_down();
        assert_eq!(bench.call(9, LOST), RELAPSED);
        // Another is the next probe.
        let left = bench.admit(8, true).unwrap_err().unwrap();
        bench.wait(left);
        assert_eq!(bench.call(8, LOST), RELAPSED);
    }
    let left = bench.admit(9, true).unwrap_err().unwrap();
    assert!(left > 150 * SECOND, "{left:?}");
    assert_eq!(bench.admit(9, false).unwrap_err(), Some(left + 10 * SECOND));
}

/// A sick tool that is hammered must not be the probe again and again while others wait.
#[test]
fn who_failed_as_the_probe_leaves_the_next_one_to_others() {
    let mut bench = Bench::open();
    bench.cool_down();
    assert_eq!(bench.call(1, (FAILURE, Contact::Made)), RELAPSED);
    let left = bench.admit(9, true).unwrap_err().unwrap();
    assert_eq!(bench.admit(1, true).unwrap_err(), Some(left + left / 4));
    bench.wait(left);
    assert!(bench.admit(1, true).is_err());
    assert_eq!(bench.call(2, ANSWERED), RECOVERED);
}

/// While it is quiet, calls read its generation without asking it.
#[test]
fn a_call_that_only_knows_the_generation_counts_and_comes_late_like_any_other() {
    let mut bench = Bench::new();
    let ticket = |bench: &Bench| Ticket { generation: bench.parent.generation(), run: 0 };
    for name in 1..=5 {
        let ticket = ticket(&bench);
        assert_eq!(bench.settle(name, ticket, LOST), None);
    }
    let late = ticket(&bench);
    let last = ticket(&bench);
    assert_eq!(bench.settle(6, last, LOST), TRIPPED);
    bench.cool_down();
    let probe = bench.admit(9, true).unwrap();
    assert_eq!(bench.settle(6, late, ANSWERED), None, "it is not the probe");
    assert_eq!(bench.parent.until_probe(bench.now), None);
    assert_eq!(bench.settle(9, probe, ANSWERED), RECOVERED);
    bench.wait(10 * SECOND);
    for (name, opens) in [(1, None), (2, None), (3, None), (4, None), (5, None), (6, TRIPPED)] {
        let ticket = ticket(&bench);
        assert_eq!(bench.settle(name, ticket, LOST), opens);
    }
}

#[test]
fn another_policy_holds_from_then_on() {
    let mut bench = Bench::new();
    let settings = Settings { connect_failures: 2, cool_down_min: SECOND / 2, cool_down_max: SECOND, ..Settings::default() };
    bench.call(1, LOST);
    bench.parent.set_policy(Policy::try_new(settings).unwrap());
    assert_eq!(bench.call(2, LOST), TRIPPED);
    let left = bench.parent.until_probe(bench.now).unwrap();
    assert!(left <= SECOND, "{left:?}");
}

#[test]
fn it_is_quiet_only_where_there_is_nothing_to_decide_or_to_count() {
    let mut bench = Bench::new();
    assert!(bench.parent.is_quiet());
    bench.opens(1, 4);
    assert!(bench.parent.is_quiet(), "what calls do does not matter to this rule");
    bench.call(1, LOST);
    assert!(!bench.parent.is_quiet(), "an answer would end the run");
    bench.call(1, ANSWERED);
    assert!(bench.parent.is_quiet());
    bench.opens(2, 4);
    assert!(!bench.parent.is_quiet());
    bench.cool_down();
    bench.call(9, ANSWERED);
    assert!(!bench.parent.is_quiet(), "the ramp");
    bench.wait(10 * SECOND);
    bench.call(9, ANSWERED);
    assert!(bench.parent.is_quiet());
}

#[test]
fn forced_it_neither_counts_nor_changes_until_it_is_given_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.parent.force(Force::Open), TRIPPED);
    bench.wait(3600 * SECOND);
    assert_eq!(bench.admit(9, true).unwrap_err(), None);
    assert_eq!(bench.parent.force(Force::Closed), change(Open, Closed));
    for name in 0..10 {
        assert_eq!((bench.opens(name, 2), bench.call(name, LOST)), (None, None));
    }
    assert_eq!((bench.parent.force(Force::Auto), bench.parent.is_held()), (None, false));
    assert_eq!(bench.opens(1, 2), None, "nothing is left of before");
    assert_eq!(bench.opens(2, 2), TRIPPED);
    assert_eq!(bench.parent.force(Force::Auto), None, "this one was not forced");
}
