//! Where the limit goes next, once a group of calls has been read.

use super::{Adaptive, Way, group::Seen};

/// Of what a step up adds, throughput must follow more than this share.
const FOLLOW: f64 = 0.4;
/// Of what a step down takes, less than this share; and where steps are narrow (below ln 1.35), it must grow: right at the knee
/// every slot that is not filled at once is lost, a little above it none is.
const GIVE: f64 = 0.1;
const GAIN: f64 = -0.15;
const NARROW: f64 = 0.3;
/// Where throughput follows a wide step down this much, the limit was not the trouble, and up is the way.
const OBVIOUS: f64 = 0.6;
/// ln 2: the step where the world is new.
pub(super) const WIDEST: f64 = std::f64::consts::LN_2;
/// ln 1.25: the step where the limit is nearly right. Where it is low, one slot more is a longer step than that.
const NARROWEST: f64 = 0.223_143_551_314_209_76;
/// ln 1.5: a latency that changes as much at the same limit is the world's doing.
const DRIFT: f64 = 0.405_465_108_108_164_4;
/// The most groups watched between two fruitless probes.
const PATIENCE: u32 = 4;
/// How far limit and pace may go beyond what those who come would fill.
const SPARE: f64 = 1.2;
/// How far the limit stays above what is used while nobody waits, and what is left of the rest after each group.
const ROOM: f64 = 2.5;
const DECAY: f64 = 0.9;

impl Adaptive {
    pub(super) fn judge(&mut self, seen: Seen) {
        let bound = self.group.pressed_share(self.pressed, self.clock) >= 0.8;
        let short = self.group.arrivals > self.group.ends;
        let overloaded = self.group.is_overloaded();
        let age = self.group.age(self.clock);
        self.demand = f64::from(self.group.arrivals.max(1)) / age;
        self.best = if self.base.is_some() { seen.latency.min(self.best * 1.05) } else { seen.latency };
        // Where nobody comes any more, those who still wait go on as before.
        (self.pace.latency, self.pace.fastest) = (seen.latency, self.demand.max(f64::from(self.group.ends) / age) * SPARE);

        if overloaded {
            (self.base, self.way) = (None, Way::Down);
            return self.settle(self.home.min(self.limit) * 0.8);
        }
        match (self.follows(&seen), self.way) {
            (Some(follows), Way::Up) if follows > FOLLOW => self.accept(seen, short),
            (Some(follows), Way::Down) if follows < gives(self.step) => self.accept(seen, short),
            (Some(follows), Way::Down) if follows > OBVIOUS && self.step >= WIDEST && short => {
                self.way = Way::Up;
                self.probe();
            }
            (Some(_), _) => self.reject(),
            (None, _) if !bound => self.rest(seen),
            (None, _) if self.probing => self.reject(),
            (None, _) => self.watch(seen, short),
        }
    }

    /// The share of a probe's step that throughput has followed. `None`: no probe, or the step was not really made.
    fn follows(&self, seen: &Seen) -> Option<f64> {
        let base = self.base.filter(|_| self.probing)?;
        let made = (seen.in_flight / base.in_flight).ln();
        (made / (self.limit / self.home).ln() > 0.5).then(|| 1.0 - (seen.latency / base.latency).ln() / made)
    }

    /// Nobody waits: no news about the limit. Room that nobody uses is only a risk.
    fn rest(&mut self, seen: Seen) {
        (self.base, self.best, self.step, self.way, self.patience) = (None, seen.latency, WIDEST, Way::Up, 0);
        self.busy = seen.in_flight.max(self.busy * DECAY);
        self.settle(self.home.min((self.busy * ROOM).max(self.home * DECAY)));
    }

    /// One more group at home.
    fn watch(&mut self, seen: Seen, short: bool) {
        if let Some(base) = self.base
            && (seen.latency / base.latency).ln().abs() > DRIFT.max(3.0 * seen.error.hypot(base.error))
        {
            // The world has changed, not by our doing. Down first where it got slower: if the target collapses, up is ruin.
            self.way = if seen.latency < base.latency { Way::Up } else { Way::Down };
            (self.step, self.best, self.patience, self.idle) = (WIDEST, seen.latency, 0, 0);
        }
        self.base = Some(seen);
        if self.idle > 0 {
            self.idle -= 1;
            self.settle(self.home);
        } else if short {
            self.probe();
        } else {
            self.settle(self.home);
        }
    }

    fn accept(&mut self, seen: Seen, short: bool) {
        self.base = Some(seen);
        (self.patience, self.fruitless) = (0, 0);
        if self.way == Way::Up {
            self.step = (self.step * 1.5).min(WIDEST);
        }
        self.settle(self.limit);
        if short {
            self.probe();
        }
    }

    pub(super) fn reject(&mut self) {
        self.step = (self.step * 0.6).max(self.narrowest());
        self.turn();
        self.fruitless += 1;
        if self.fruitless >= 2 {
            self.patience = (self.patience * 2).clamp(1, PATIENCE);
        }
        self.idle = self.patience;
        self.settle(self.home);
    }

    fn probe(&mut self) {
        self.step = self.step.max(self.narrowest());
        let (floor, ceiling) = (f64::from(self.bounds.floor()), f64::from(self.bounds.ceiling()));
        let to = match self.way {
            Way::Up => {
                // Little's law again: more than this, those who come could not fill; but one slot in a few is always worth a try.
                let fill = (self.demand * self.best * SPARE).max(self.home + self.home.sqrt());
                (self.home * self.step.exp()).max(self.home + 1.0).min(fill).min(ceiling)
            }
            Way::Down => (self.home / self.step.exp()).min(self.home - 1.0).max(floor),
        };
        if (to - self.home).abs() < 0.5 {
            self.turn();
            return self.settle(self.home);
        }
        self.begin(to, true);
    }

    pub(super) fn settle(&mut self, home: f64) {
        self.home = home.max(f64::from(self.bounds.floor()));
        self.begin(self.home, false);
    }

    fn begin(&mut self, limit: f64, probing: bool) {
        (self.limit, self.probing) = (limit, probing);
        self.group.restart(limit);
    }

    fn turn(&mut self) {
        self.way = match self.way {
            Way::Up => Way::Down,
            Way::Down => Way::Up,
        };
    }

    /// One over the root of the limit, as a share of it.
    fn narrowest(&self) -> f64 {
        self.home.sqrt().recip().ln_1p().clamp(NARROWEST, WIDEST)
    }
}

fn gives(step: f64) -> f64 {
    if step < NARROW { GAIN } else { GIVE }
}

/// Whether the answer of a probe of this step is three standard errors clear of the line between yes and no.
pub(super) fn is_clear(seen: &Seen, base: &Seen, way: Way, step: f64) -> bool {
    let share = match way {
        Way::Up => FOLLOW,
        Way::Down => gives(step),
    };
    let line = (1.0 - share) * (seen.in_flight / base.in_flight).ln();
    ((seen.latency / base.latency).ln() - line).abs() > 3.0 * seen.error.hypot(base.error)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
