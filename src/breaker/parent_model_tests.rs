//! The parent against a reference that keeps everything it was ever told, and works out anew from
//! that, in milliseconds, what it has to do.

use std::{cell::RefCell, collections::BTreeSet};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::call::Digest;

#[derive(Debug, Clone)]
enum Event {
    Admit { name: Name, safe: bool },
    Settle { which: usize, end: (Sample, Contact) },
    Call { name: Name, end: (Sample, Contact) },
    Heed { name: Name, transition: Transition, active: usize },
    Force(Force),
    Wait { millis: u64 },
}

fn end() -> impl Strategy<Value = (Sample, Contact)> {
    let failure = Sample::Failure { retry_after: None };
    prop_oneof![
        6 => Just((failure, Contact::Failed)),
        2 => Just((Sample::Success, Contact::Made)),
        1 => Just((failure, Contact::Made)),
        1 => Just((failure, Contact::Unknown)),
        1 => Just((Sample::Neutral, Contact::Made)),
        1 => Just((Sample::Throttled { retry_after: Some(Duration::from_secs(40)) }, Contact::Made)),
        2 => Just((Sample::Ignored, Contact::Unknown)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let name = || 1..5u64;
    let millis = prop_oneof![0..50u64, 0..2_000u64, 0..12_000u64, 0..60_000u64];
    let transition = (0..Transition::ALL.len()).prop_map(|place| Transition::ALL[place]);
    let force = prop_oneof![1 => Just(Force::Open), 1 => Just(Force::Closed), 3 => Just(Force::Auto)];
    prop_oneof![
        20 => (name(), any::<bool>()).prop_map(|(name, safe)| Event::Admit { name, safe }),
        20 => (any::<usize>(), end()).prop_map(|(which, end)| Event::Settle { which, end }),
        30 => (name(), end()).prop_map(|(name, end)| Event::Call { name, end }),
        15 => (name(), transition, 0..8usize).prop_map(|(name, transition, active)| Event::Heed { name, transition, active }),
        1 => force.prop_map(Event::Force),
        12 => millis.prop_map(|millis| Event::Wait { millis }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// And since when; the beginning counts as long ago.
    Closed {
        since: Option<u64>,
    },
    Open {
        since: u64,
        length: f64,
    },
    HalfOpen {
        since: u64,
        length: f64,
        probe: Option<usize>,
    },
    Held {
        open: bool,
    },
}

enum Told {
    Contact { at: u64, name: Name, contact: Contact },
    Change { at: u64, name: Name, to: State, fresh: bool },
}

struct Reference {
    settings: Settings,
    rng: fastrand::Rng,
    now: u64,
    mode: Mode,
    /// What it was told since the mode last changed.
    told: Vec<Told>,
    /// Which calls were admitted since then.
    current: BTreeSet<usize>,
    trips: i32,
    failed_probe: Option<Name>,
    seen: BTreeSet<&'static str>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Pass,
    Probe,
    Refuse,
}

impl Reference {
    fn state(&self) -> State {
        match self.mode {
            Mode::Closed { .. } | Mode::Held { open: false } => State::Closed,
            Mode::Open { .. } | Mode::Held { open: true } => State::Open,
            Mode::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn go(&mut self, mode: Mode) {
        self.mode = mode;
        self.told.clear();
        self.current.clear();
        self.failed_probe = None;
    }

    fn end_of_ramp(&mut self) {
        if let Mode::Closed { since: Some(since) } = self.mode
            && self.now >= since + self.settings.ramp.as_millis() as u64
        {
            self.mode = Mode::Closed { since: None };
            self.trips = 0;
        }
    }

    fn open(&mut self, asked: Option<Duration>) {
        let longest = self.settings.cool_down_max.as_secs_f64();
        let nominal = (self.settings.cool_down_min.as_secs_f64() * 2f64.powi(self.trips)).min(longest);
        let drawn = nominal * (0.5 + 0.5 * self.rng.f64());
        let asked = asked.map_or(0.0, |asked| asked.as_secs_f64().min(longest));
        self.trips += 1;
        self.go(Mode::Open { since: self.now, length: 1e3 * drawn.max(asked) });
    }

    fn admit(&mut self, call: usize, name: Name, safe: bool) -> Answer {
        self.end_of_ramp();
        match self.mode {
            Mode::Closed { .. } | Mode::Held { open: false } => {
                self.current.insert(call);
                Answer::Pass
            }
            Mode::Held { open: true } => Answer::Refuse,
            Mode::HalfOpen { probe: Some(_), .. } => Answer::Refuse,
            Mode::Open { since, length } | Mode::HalfOpen { since, length, .. } => {
                let waited = (self.now - since) as f64;
                let yields = !safe || self.failed_probe == Some(name);
                if waited < length {
                    return Answer::Refuse;
                }
                if yields && waited < length + (length / 4.0).min(10_000.0) {
                    self.seen.insert("left the probe to others");
                    return Answer::Refuse;
                }
                let failed = self.failed_probe;
                self.go(Mode::HalfOpen { since, length, probe: Some(call) });
                self.failed_probe = failed;
                self.seen.insert(if yields { "a probe of last resort" } else { "a probe" });
                Answer::Probe
            }
        }
    }

    fn settle(&mut self, call: usize, name: Name, (sample, contact): (Sample, Contact)) {
        self.end_of_ramp();
        if let Mode::HalfOpen { since, length, probe: Some(probe) } = self.mode
            && probe == call
        {
            match sample {
                Sample::Ignored => {
                    self.seen.insert("a probe released");
                    self.mode = Mode::HalfOpen { since, length, probe: None };
                }
                Sample::Success | Sample::Neutral => {
                    self.seen.insert("a probe passed");
                    self.go(Mode::Closed { since: Some(self.now) });
                }
                Sample::Failure { .. } | Sample::Throttled { .. } => {
                    self.seen.insert("a probe failed");
                    self.open(sample.retry_after());
                    self.failed_probe = Some(name);
                }
            }
        } else if self.current.remove(&call) && matches!(self.mode, Mode::Closed { .. }) {
            self.told.push(Told::Contact { at: self.now, name, contact });
            if contact == Contact::Failed && self.is_lost() {
                self.seen.insert("opened by lost calls");
                self.open(None);
            }
        } else {
            self.seen.insert("a late result");
        }
    }

    fn is_lost(&self) -> bool {
        let (mut names, mut length, mut later) = (BTreeSet::new(), 0, self.now);
        for told in self.told.iter().rev() {
            match told {
                Told::Contact { contact: Contact::Made, .. } => break,
                Told::Contact { at, name, contact: Contact::Failed } => {
                    if later - at > self.max_age() {
                        break;
                    }
                    names.insert(name);
                    (length, later) = (length + 1, *at);
                }
                _ => {}
            }
        }
        length >= self.settings.connect_failures && names.len() >= 2
    }

    fn heed(&mut self, name: Name, Transition { from, to }: Transition, active: usize) {
        if !matches!(self.mode, Mode::Closed { .. }) {
            return;
        }
        let known = self.is_open(name);
        self.told.push(Told::Change { at: self.now, name, to, fresh: from == State::Closed });
        let open = (0..5).filter(|name| self.is_open(*name)).count();
        if to == State::Open
            && (known || from == State::Closed)
            && open >= 2
            && open as f64 >= self.settings.open_share * active as f64
        {
            self.seen.insert("opened by several targets");
            self.open(None);
        }
    }

    /// Whether the breaker of `name` has opened since the mode last changed, recently enough, and not closed again.
    fn is_open(&self, wanted: Name) -> bool {
        let mut opened: Option<u64> = None;
        for told in &self.told {
            let Told::Change { at, name, to, fresh } = told else { continue };
            opened = opened.filter(|opened| at - opened <= self.max_age());
            match to {
                _ if *name != wanted => {}
                State::Open if *fresh || opened.is_some() => opened = Some(*at),
                State::Closed => opened = None,
                _ => {}
            }
        }
        opened.is_some_and(|opened| self.now - opened <= self.max_age())
    }

    fn max_age(&self) -> u64 {
        self.settings.sample_max_age.as_millis() as u64
    }

    fn force(&mut self, force: Force) {
        match (force, self.mode) {
            (Force::Open, _) => self.go(Mode::Held { open: true }),
            (Force::Closed, _) => self.go(Mode::Held { open: false }),
            (Force::Auto, Mode::Held { .. }) => self.go(Mode::Closed { since: None }),
            (Force::Auto, _) => return,
        }
        self.seen.insert("forced");
        self.trips = 0;
    }
}

/// The two side by side, and the tickets that are out, with number and name of their call.
struct Pair {
    parent: Parent,
    rng: fastrand::Rng,
    start: Instant,
    reference: Reference,
    out: Vec<(usize, Name, Ticket)>,
    calls: usize,
}

impl Pair {
    fn new(settings: Settings, seed: u64) -> Self {
        let (start, rng) = (Instant::now(), fastrand::Rng::with_seed(seed));
        Self {
            parent: Parent::new(Policy::try_new(settings).unwrap(), start),
            rng: rng.clone(),
            start,
            reference: Reference {
                settings,
                rng,
                now: 0,
                mode: Mode::Closed { since: None },
                told: Vec::new(),
                current: BTreeSet::new(),
                trips: 0,
                failed_probe: None,
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
        let before = self.parent.state();
        match event {
            Event::Admit { name, safe } => self.admit(name, safe).map(drop),
            Event::Settle { which, end } if !self.out.is_empty() => self.settle(which % self.out.len(), end),
            Event::Settle { .. } => Ok(()),
            Event::Call { name, end } => match self.admit(name, true)? {
                Answer::Refuse => Ok(()),
                Answer::Pass | Answer::Probe => self.settle(self.out.len() - 1, end),
            },
            Event::Heed { name, transition, active } => {
                let change = self.parent.heed(name, transition, active, self.now(), &mut self.rng);
                self.reference.heed(name, transition, active);
                self.agree(before, change)
            }
            Event::Force(force) => {
                let change = self.parent.force(force);
                self.reference.force(force);
                self.agree(before, change)
            }
            Event::Wait { millis } => {
                self.reference.now += millis;
                Ok(())
            }
        }
    }

    fn admit(&mut self, name: Name, safe: bool) -> Result<Answer, TestCaseError> {
        // Each its own: what tenants leave to each other is the machine's model's to say.
        let who = || Who { tenant: Digest::of(&self.calls.to_le_bytes()), hurries: false };
        let before = self.parent.state();
        let (admit, transition) = self.parent.admit(name, safe, who, self.now());
        let (answer, ticket) = match admit {
            Admit::Pass(ticket) => (Answer::Pass, Some(ticket)),
            Admit::Probe(ticket) => (Answer::Probe, Some(ticket)),
            Admit::Refuse { retry_after } => {
                prop_assert_eq!(retry_after.is_none(), self.parent.is_held());
                (Answer::Refuse, None)
            }
        };
        prop_assert_eq!(&answer, &self.reference.admit(self.calls, name, safe));
        self.out.extend(ticket.map(|ticket| (self.calls, name, ticket)));
        self.calls += 1;
        self.agree(before, transition)?;
        Ok(answer)
    }

    fn settle(&mut self, index: usize, end: (Sample, Contact)) -> Result<(), TestCaseError> {
        let (call, name, ticket) = self.out.swap_remove(index);
        let before = self.parent.state();
        let transition = self.parent.settle(&ticket, name, end, self.now(), &mut self.rng);
        self.reference.settle(call, name, end);
        self.agree(before, transition)
    }

    fn agree(&self, before: State, transition: Option<Transition>) -> Result<(), TestCaseError> {
        let after = self.parent.state();
        prop_assert_eq!(after, self.reference.state());
        prop_assert_eq!(transition, (before != after).then_some(Transition { from: before, to: after }));
        let nothing_to_count =
            !self.reference.told.iter().rev().any(|told| matches!(told, Told::Contact { contact: Contact::Failed, .. }))
                || self.parent.failures() == 0;
        if self.parent.is_quiet() {
            let closed = matches!(self.reference.mode, Mode::Closed { .. });
            prop_assert!(closed && nothing_to_count);
        }
        Ok(())
    }

    /// However it got here, when it is nobody's but its policy's, a call that comes long after gets in, unless a probe is out;
    /// and then it does as soon as that is back.
    fn must_not_be_stuck(mut self) -> Result<(), TestCaseError> {
        self.happen(Event::Force(Force::Auto))?;
        self.happen(Event::Wait { millis: 2 * self.reference.settings.cool_down_max.as_millis() as u64 })?;
        if let Mode::HalfOpen { probe: Some(probe), .. } = self.reference.mode {
            prop_assert_eq!(self.admit(1, true)?, Answer::Refuse);
            let index = self.out.iter().position(|(call, ..)| *call == probe);
            self.settle(index.expect("the probe is out"), (Sample::Ignored, Contact::Unknown))?;
        }
        prop_assert_ne!(self.admit(1, false)?, Answer::Refuse);
        Ok(())
    }
}

#[test]
fn the_parent_does_what_the_reference_does() {
    // Its ramp lets all in, since the ramp itself is checked elsewhere; its length is what ends the back-off.
    let usual = Settings { ramp_floor: 1.0, ..Settings::default() };
    let hasty = Settings {
        connect_failures: 3,
        open_share: 0.3,
        window_span: Duration::from_secs(3),
        sample_max_age: Duration::from_secs(20),
        cool_down_min: Duration::from_secs(1),
        cool_down_max: Duration::from_secs(60),
        ramp: Duration::from_secs(2),
        ..usual
    };
    let settings = prop_oneof![Just(usual), Just(hasty)];
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
    assert_eq!(seen.borrow().len(), 10, "{seen:?}");
}
