//! The machine against a reference that keeps every call ever settled and works everything out
//! from them anew, in milliseconds. Whatever calls, results, drops and pauses come in whatever
//! order, the two must agree at every step.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::breaker::policy::Settings;

/// One thing that happens. `which` picks among the tickets that are out.
#[derive(Debug, Clone)]
enum Event {
    Admit(Asker),
    Settle {
        which: usize,
        sample: Sample,
    },
    /// Both at once, where the call gets in: a call faster than the clock.
    Call(Asker, Sample),
    Wait {
        millis: u64,
    },
    Force(Force),
}

/// A tenant, and whether it hurries.
type Asker = (u8, bool);

fn asker() -> impl Strategy<Value = Asker> {
    (0..2u8, any::<bool>())
}

fn sample() -> impl Strategy<Value = Sample> {
    let asked = || {
        prop_oneof![
            3 => Just(None),
            1 => (0..500u64).prop_map(|s| Some(Duration::from_secs(s))),
        ]
    };
    prop_oneof![
        4 => Just(Sample::Success),
        6 => asked().prop_map(|retry_after| Sample::Failure { retry_after }),
        3 => asked().prop_map(|retry_after| Sample::Throttled { retry_after }),
        1 => Just(Sample::Neutral),
        2 => Just(Sample::Ignored),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let millis = prop_oneof![0..50u64, 0..2_000u64, 0..12_000u64, 0..60_000u64, 0..400_000u64];
    let force = prop_oneof![1 => Just(Force::Open), 1 => Just(Force::Closed), 3 => Just(Force::Auto)];
    prop_oneof![
        1 => force.prop_map(Event::Force),
        20 => asker().prop_map(Event::Admit),
        20 => (any::<usize>(), sample()).prop_map(|(which, sample)| Event::Settle { which, sample }),
        40 => (asker(), sample()).prop_map(|(asker, sample)| Event::Call(asker, sample)),
        12 => millis.prop_map(|millis| Event::Wait { millis }),
    ]
}

/// A call that counted: when it ended, and how.
struct Ended {
    at: u64,
    sample: Sample,
    /// How many calls had been admitted before it, and how many when it ended.
    admitted: usize,
    followed: usize,
}

enum Mode {
    Closed,
    /// How much each caller so far has paid in, and how many got in.
    Ramping {
        since: u64,
        paid: Vec<f64>,
        admitted: usize,
    },
    Open {
        until: f64,
    },
    HalfOpen {
        /// The call that is it, whose it is, and since when.
        probe: Option<(usize, Asker, u64)>,
        /// How long each caller has been it for nothing.
        spent: BTreeMap<Asker, u64>,
        /// Who was turned away last of those that had been it the least, and when.
        turned_away: Option<(Asker, u64)>,
    },
    Held {
        open: bool,
    },
}

#[derive(Debug, PartialEq)]
enum Answer {
    Pass,
    Probe,
    Refuse,
}

struct Reference {
    settings: Settings,
    rng: fastrand::Rng,
    now: u64,
    mode: Mode,
    /// What counts since the breaker was last opened or closed.
    ended: Vec<Ended>,
    /// The calls that were admitted since then, by number.
    current: BTreeSet<usize>,
    /// How often it has opened since it was last well.
    trips: i32,
    /// What has happened so far, to know that the events get everywhere.
    seen: BTreeSet<&'static str>,
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl Reference {
    fn state(&self) -> State {
        match self.mode {
            Mode::Closed | Mode::Ramping { .. } | Mode::Held { open: false } => State::Closed,
            Mode::Open { .. } | Mode::Held { open: true } => State::Open,
            Mode::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn end_of_ramp(&mut self) {
        if let Mode::Ramping { since, .. } = self.mode
            && self.now >= since + millis(self.settings.ramp)
        {
            self.seen.insert("ramp complete");
            self.mode = Mode::Closed;
            self.trips = 0;
        }
    }

    /// What the call with this number is told. `told` settles what rounding leaves open.
    fn admit(&mut self, call: usize, asker: Asker, told: &Answer) -> Answer {
        self.end_of_ramp();
        let now = self.now as f64;
        let answer = match &mut self.mode {
            Mode::Closed | Mode::Held { open: false } => Answer::Pass,
            Mode::Held { open: true } => Answer::Refuse,
            Mode::Ramping { since, paid, admitted } => {
                let passed = (now - *since as f64) / millis(self.settings.ramp) as f64;
                let floor = self.settings.ramp_floor;
                paid.push(floor + (1.0 - floor) * passed);
                let due = 1.0 - floor + paid.iter().sum::<f64>() - *admitted as f64;
                let on_the_line = (due - 1.0).abs() < 1e-6;
                if (on_the_line && *told == Answer::Pass) || (!on_the_line && due > 1.0) {
                    *admitted += 1;
                    Answer::Pass
                } else {
                    self.seen.insert("refused by the ramp");
                    Answer::Refuse
                }
            }
            Mode::Open { until } if now < *until => Answer::Refuse,
            Mode::Open { .. } => {
                self.seen.insert("probe");
                let probe = Some((call, asker, self.now));
                self.mode = Mode::HalfOpen { probe, spent: BTreeMap::new(), turned_away: None };
                Answer::Probe
            }
            Mode::HalfOpen { probe: Some((_, its, _)), spent, turned_away } => {
                self.seen.insert("refused for the probe");
                let by = |asker| spent.get(&asker).copied().unwrap_or(0);
                let first = turned_away.is_none_or(|(other, at)| self.now >= at + 30_000 || by(asker) <= by(other));
                if *its != asker && first {
                    *turned_away = Some((asker, self.now));
                }
                Answer::Refuse
            }
            Mode::HalfOpen { probe, spent, turned_away } => {
                let by = |asker| spent.get(&asker).copied().unwrap_or(0);
                match *turned_away {
                    Some((other, at)) if self.now < at + 30_000 && by(other) < by(asker) => {
                        self.seen.insert("left the probe to others");
                        Answer::Refuse
                    }
                    _ => {
                        self.seen.insert("another probe");
                        if turned_away.is_some_and(|(other, _)| other == asker) {
                            *turned_away = None;
                        }
                        *probe = Some((call, asker, self.now));
                        Answer::Probe
                    }
                }
            }
        };
        if answer == Answer::Pass {
            self.current.insert(call);
        }
        answer
    }

    /// The call with this number ends, when `calls` have asked to go through.
    fn settle(&mut self, call: usize, sample: Sample, calls: usize) {
        self.end_of_ramp();
        let bad = matches!(sample, Sample::Failure { .. } | Sample::Throttled { .. });
        match &mut self.mode {
            Mode::HalfOpen { probe, spent, .. } if probe.is_some_and(|(its, ..)| its == call) => match sample {
                Sample::Ignored => {
                    self.seen.insert("probe released");
                    if let Some((_, asker, since)) = probe.take() {
                        *spent.entry(asker).or_default() += self.now - since;
                    }
                }
                _ if bad => {
                    self.seen.insert("probe failed");
                    self.open(sample.retry_after());
                }
                _ => {
                    self.seen.insert("probe passed");
                    self.forget();
                    self.mode = Mode::Ramping { since: self.now, paid: Vec::new(), admitted: 0 };
                }
            },
            _ if !self.current.remove(&call) => {
                self.seen.insert("late result");
            }
            Mode::Held { .. } => {
                self.seen.insert("not counted");
            }
            _ => {
                self.ended.push(Ended { at: self.now, sample, admitted: call, followed: calls });
                let (too_many, too_poor) = (self.too_many(), self.too_poor());
                if bad && (too_many || too_poor) {
                    self.seen.insert(match (&self.mode, too_many) {
                        (Mode::Ramping { .. }, _) => "opened during the ramp",
                        (_, true) => "opened by a run",
                        (_, false) => "opened by rate alone",
                    });
                    self.open(sample.retry_after());
                }
            }
        }
    }

    fn forget(&mut self) {
        self.ended.clear();
        self.current.clear();
    }

    fn open(&mut self, asked: Option<Duration>) {
        self.forget();
        let longest = self.settings.cool_down_max.as_secs_f64();
        let nominal = (self.settings.cool_down_min.as_secs_f64() * 2f64.powi(self.trips)).min(longest);
        let drawn = nominal * (0.5 + 0.5 * self.rng.f64());
        let asked = asked.map_or(0.0, |asked| asked.as_secs_f64().min(longest));
        self.trips += 1;
        self.mode = Mode::Open { until: self.now as f64 + 1e3 * drawn.max(asked) };
    }

    fn force(&mut self, force: Force) {
        let held = matches!(self.mode, Mode::Held { .. });
        self.mode = match force {
            Force::Auto if !held => return,
            Force::Auto => Mode::Closed,
            Force::Open => Mode::Held { open: true },
            Force::Closed => Mode::Held { open: false },
        };
        self.trips = 0;
        self.forget();
    }

    fn too_many(&mut self) -> bool {
        let mut run = 0;
        let mut later = self.now;
        let last_success = self.ended.iter().rev().find(|ended| ended.sample == Sample::Success);
        let followed = last_success.map_or(0, |success| success.followed);
        for ended in self.ended.iter().rev() {
            match ended.sample {
                Sample::Success => break,
                _ if ended.admitted < followed => {
                    self.seen.insert("began too early");
                }
                Sample::Failure { .. } if later - ended.at > millis(self.settings.sample_max_age) => {
                    break;
                }
                Sample::Failure { .. } => (run, later) = (run + 1, ended.at),
                _ => {}
            }
        }
        run >= self.settings.consecutive_failures
    }

    fn too_poor(&self) -> bool {
        let Settings { window_calls, window_span, sample_max_age, .. } = self.settings;
        let slice = |at: u64| at * 30 / millis(window_span);
        let voting: Vec<&Ended> = self.ended.iter().filter(|e| !matches!(e.sample, Sample::Neutral | Sample::Ignored)).collect();
        let last_calls = voting.iter().rev().take(window_calls).filter(|e| self.now - e.at <= millis(sample_max_age));
        let last_span = voting.iter().rev().filter(|e| slice(self.now) - slice(e.at) < 30);
        let rate_of = |calls: Vec<&&Ended>| {
            let good = calls.iter().filter(|e| e.sample == Sample::Success).count();
            (calls.len(), good as f64 / calls.len() as f64)
        };
        let (by_count, by_time) = (rate_of(last_calls.collect()), rate_of(last_span.collect()));
        let (calls, rate) = if by_count.0 > by_time.0 { by_count } else { by_time };
        calls >= window_calls && rate < self.settings.min_success_rate
    }
}

/// The two side by side, and the tickets that are out, with the number of their call.
struct Pair {
    machine: Machine,
    rng: fastrand::Rng,
    start: Instant,
    reference: Reference,
    out: Vec<(usize, Ticket)>,
    calls: usize,
}

impl Pair {
    fn new(settings: Settings, seed: u64) -> Self {
        let start = Instant::now();
        let rng = fastrand::Rng::with_seed(seed);
        Self {
            machine: Machine::new(Policy::try_new(settings).unwrap(), start),
            rng: rng.clone(),
            start,
            reference: Reference {
                settings,
                rng,
                now: 0,
                mode: Mode::Closed,
                ended: Vec::new(),
                current: BTreeSet::new(),
                trips: 0,
                seen: BTreeSet::new(),
            },
            out: Vec::new(),
            calls: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.reference.now)
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Admit(asker) => self.admit(asker).map(drop),
            Event::Settle { which, sample } if !self.out.is_empty() => self.settle(which % self.out.len(), sample),
            Event::Settle { .. } => Ok(()),
            Event::Call(asker, sample) => match self.admit(asker)? {
                Answer::Refuse => Ok(()),
                Answer::Pass | Answer::Probe => self.settle(self.out.len() - 1, sample),
            },
            Event::Force(force) => {
                let before = self.machine.state();
                let change = self.machine.force(force);
                self.reference.force(force);
                self.agree(before, change)
            }
            Event::Wait { millis } => {
                self.reference.now += millis;
                Ok(())
            }
        }
    }

    fn admit(&mut self, asker: Asker) -> Result<Answer, TestCaseError> {
        let before = self.machine.state();
        let who = || if asker.1 { Who::hurried(asker.0) } else { Who::patient(asker.0) };
        let (admit, transition) = self.machine.admit(who, self.now());
        let (answer, ticket) = match admit {
            Admit::Pass(ticket) => (Answer::Pass, Some(ticket)),
            Admit::Probe(ticket) => (Answer::Probe, Some(ticket)),
            Admit::Refuse { retry_after } => {
                let longest = self.reference.settings.cool_down_max;
                prop_assert_eq!(retry_after.is_none(), self.machine.is_held());
                prop_assert!(retry_after.is_none_or(|delay| !delay.is_zero() && delay <= longest.max(Duration::from_secs(30))));
                (Answer::Refuse, None)
            }
        };
        let expected = self.reference.admit(self.calls, asker, &answer);
        prop_assert_eq!(&answer, &expected);
        self.out.extend(ticket.map(|ticket| (self.calls, ticket)));
        self.calls += 1;
        self.agree(before, transition)?;
        Ok(answer)
    }

    fn settle(&mut self, index: usize, sample: Sample) -> Result<(), TestCaseError> {
        let (call, ticket) = self.out.swap_remove(index);
        let before = self.machine.state();
        let transition = self.machine.settle(ticket, sample, self.now(), &mut self.rng);
        self.reference.settle(call, sample, self.calls);
        self.agree(before, transition)
    }

    fn agree(&self, before: State, transition: Option<Transition>) -> Result<(), TestCaseError> {
        let after = self.machine.state();
        prop_assert_eq!(after, self.reference.state());
        let change = Transition { from: before, to: after };
        prop_assert_eq!(transition, (before != after).then_some(change));
        Ok(())
    }

    /// However it got here, a caller that comes after the longest cool-down, or half a minute if that is longer, finds a breaker
    /// that is closed or lets it probe, unless a probe is out; and then it does as soon as that is back.
    fn must_not_be_stuck(mut self) -> Result<(), TestCaseError> {
        let longest = self.reference.settings.cool_down_max;
        self.happen(Event::Force(Force::Auto))?;
        self.happen(Event::Wait { millis: millis(longest).max(30_000) })?;
        if let Mode::HalfOpen { probe: Some((probe, ..)), .. } = self.reference.mode {
            prop_assert_eq!(self.admit((2, false))?, Answer::Refuse);
            let index = self.out.iter().position(|(call, _)| *call == probe);
            self.settle(index.expect("the probe is out"), Sample::Ignored)?;
        }
        prop_assert_ne!(self.admit((2, false))?, Answer::Refuse);
        Ok(())
    }
}

#[test]
fn the_machine_does_what_the_reference_does() {
    let hasty = Settings {
        consecutive_failures: 3,
        min_success_rate: 0.7,
        window_calls: 5,
        window_span: Duration::from_secs(3),
        sample_max_age: Duration::from_secs(20),
        cool_down_min: Duration::from_secs(1),
        cool_down_max: Duration::from_secs(9),
        ramp: Duration::from_secs(2),
        ramp_floor: 0.4,
        ..Settings::default()
    };
    let settings = prop_oneof![Just(Settings::default()), Just(hasty)];
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let seen = RefCell::new(BTreeSet::new());
    TestRunner::new(config)
        .run(&(settings, any::<u64>(), vec(event(), 0..300)), |(settings, seed, events)| {
            let mut pair = Pair::new(settings, seed);
            for event in events {
                pair.happen(event)?;
            }
            seen.borrow_mut().append(&mut pair.reference.seen);
            pair.must_not_be_stuck()
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // Agreement says nothing about what never happened.
    assert_eq!(seen.borrow().len(), 15, "{seen:?}");
}
