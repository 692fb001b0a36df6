//! The word beside an upstream's breaker. The machine here is as small as can be.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{check, model};

#[path = "../../src/breaker/watched.rs"]
mod watched;

use watched::{Watch, Watched};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    HalfOpen { probe_out: bool },
}

#[derive(Debug)]
struct Machine {
    generation: u64,
    phase: Phase,
}

impl Watch for Machine {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn is_quiet(&self) -> bool {
        self.phase == Phase::Closed
    }
}

impl Machine {
    fn enter(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }

    /// A ticket, and whether it is the probe's.
    fn admit(&mut self) -> Option<(u64, bool)> {
        match self.phase {
            Phase::Closed => Some((self.generation, false)),
            Phase::HalfOpen { probe_out: true } => None,
            Phase::Open | Phase::HalfOpen { probe_out: false } => {
                self.enter(Phase::HalfOpen { probe_out: true });
                Some((self.generation, true))
            }
        }
    }

    fn settle(&mut self, ticket: u64, answered: bool) {
        if ticket == self.generation && self.phase == (Phase::HalfOpen { probe_out: true }) {
            self.enter(if answered { Phase::Closed } else { Phase::Open });
        }
    }
}

/// The breaker, as calls go through it.
struct Breaker(Watched<Machine>);

impl Breaker {
    fn new(phase: Phase) -> Arc<Self> {
        Arc::new(Self(Watched::new(Machine { generation: 0, phase })))
    }

    fn admit(&self) -> Option<(u64, bool)> {
        self.0.quiet().map_or_else(|| self.0.change(Machine::admit), |generation| Some((generation, false)))
    }

    fn settle(&self, ticket: u64, answered: bool) {
        if self.0.quiet().is_none() {
            self.0.change(|machine| machine.settle(ticket, answered));
        }
    }

    fn trip(&self) {
        self.0.change(|machine| {
            if machine.phase == Phase::Closed {
                machine.enter(Phase::Open);
            }
        });
    }

    /// What calls may know without the lock is what there is.
    fn settled(&self) -> Phase {
        let machine = self.0.lock();
        assert_eq!(self.0.quiet(), (machine.phase == Phase::Closed).then_some(machine.generation));
        machine.phase
    }
}

#[test]
fn at_most_one_probe_is_out_and_its_end_is_heard() {
    model(2, || {
        let (breaker, probes) = (Breaker::new(Phase::Open), Arc::new(AtomicUsize::new(0)));
        let call = |answered: bool| {
            let (breaker, probes) = (breaker.clone(), probes.clone());
            move || {
                let Some((ticket, probe)) = breaker.admit() else { return };
                if probe {
                    assert_eq!(probes.fetch_add(1, Ordering::Relaxed), 0, "two probes at once");
                    probes.fetch_sub(1, Ordering::Relaxed);
                }
                breaker.settle(ticket, answered);
            }
        };
        let threads = [thread::spawn(call(true)), thread::spawn(call(false))];
        call(true)();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!matches!(breaker.settled(), Phase::HalfOpen { .. }), "it waits for a probe that is over");
    });
}

#[test]
fn who_knows_that_it_has_opened_does_not_pass() {
    check(|| {
        let (breaker, known) = (Breaker::new(Phase::Closed), Arc::new(AtomicBool::new(false)));
        let trips = {
            let (breaker, known) = (breaker.clone(), known.clone());
            thread::spawn(move || {
                breaker.trip();
                known.store(true, Ordering::Release);
            })
        };
        let also_trips = {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.trip())
        };
        if known.load(Ordering::Acquire) {
            assert!(breaker.0.quiet().is_none(), "it passes a breaker that is open");
        }
        trips.join().unwrap();
        also_trips.join().unwrap();
        assert_eq!(breaker.settled(), Phase::Open);
    });
}
