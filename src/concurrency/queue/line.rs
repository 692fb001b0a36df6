//! The line of one tenant: who of it is next, and who is not served any more.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::standing::Standing;
use crate::{
    call::{Criticality, Joint},
    concurrency::latency::Typical,
    error::Reason,
};

/// How long a call without a deadline stands in a line that stands.
const PATIENCE: Duration = Duration::from_secs(30);

/// So few do not stand: whatever their order, the last of them is soon served; and turned around, who came first would wait for
/// the line to be empty.
const FEW: usize = 2;

/// By when somebody needs the answer.
#[derive(Debug, Clone)]
pub(in crate::concurrency) enum Due {
    At(Instant),
    /// Several wait for the one call, and who comes to them later may wait longer.
    Latest(Joint),
}

impl Due {
    /// When that is, as things stand. `None`: one of them waits for ever.
    pub(super) fn at(&self) -> Option<Instant> {
        match self {
            Self::At(at) => Some(*at),
            Self::Latest(joint) => joint.deadline().end(None).map(|(end, _)| end),
        }
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    pub(super) id: u64,
    pub(super) joined: Instant,
    pub(super) due: Option<Due>,
    pub(super) value: T,
}

/// Those of one tenant who wait: the more critical ones first, and among equals who came first; while the line stands, who came
/// last.
#[derive(Debug)]
pub(super) struct Line<T> {
    classes: [VecDeque<Waiter<T>>; Criticality::ALL.len()],
    standing: Standing,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { classes: std::array::from_fn(|_| VecDeque::new()), standing: Standing::default() }
    }
}

impl<T> Waiter<T> {
    fn deadline(&self) -> Option<Instant> {
        self.due.as_ref().and_then(Due::at)
    }

    /// Half of the time until its deadline from when it came: more than that it need not leave for the call itself, lest a tool
    /// whose calls take nearly as long as they may had no queue; and more than that it does not stand for.
    fn half(&self, deadline: Option<Instant>) -> Duration {
        deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(self.joined) / 2)
    }

    /// Why it is not served now, if it is not.
    fn hopeless(&self, typical: Option<Typical>, stands: bool, now: Instant) -> Option<Reason> {
        let deadline = self.deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Reason::Deadline);
        }
        let (half, waited) = (self.half(deadline), now.saturating_duration_since(self.joined));
        let too_late = deadline.is_some_and(|deadline| !leaves_time(deadline, half, typical, now));
        (too_late || (stands && waited > half)).then_some(Reason::Shed)
    }
}

/// Whether a call that begins `at` will probably have ended by its deadline: nine of ten do.
pub(super) fn leaves_time(deadline: Instant, at_most: Duration, typical: Option<Typical>, at: Instant) -> bool {
    let takes = typical.map_or(Duration::ZERO, |typical| typical.p90).min(at_most);
    at.checked_add(takes).is_some_and(|end| end <= deadline)
}

impl<T> Line<T> {
    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.classes.iter().all(VecDeque::is_empty)
    }

    pub(super) fn push(&mut self, class: Criticality, waiter: Waiter<T>, typical: Option<Typical>, now: Instant) {
        self.look(typical, now);
        self.classes[class as usize].push_back(waiter);
    }

    /// How many would be served before a newcomer.
    pub(super) fn ahead_of(&self, class: Criticality, typical: Option<Typical>, now: Instant) -> usize {
        let as_critical = if self.standing.stands(typical, now) { 1 } else { 0 };
        self.classes.iter().skip(class as usize + as_critical).map(VecDeque::len).sum()
    }

    /// Who is next. Those who are found to be hopeless on the way go to `shed`.
    pub(super) fn pop(&mut self, typical: Option<Typical>, now: Instant, shed: &mut Vec<(T, Reason)>) -> Option<Waiter<T>> {
        self.look(typical, now);
        let stands = self.standing.stands(typical, now);
        if stands {
            // The oldest are not served while it stands, so it is here that they are found.
            for class in &mut self.classes {
                while let Some(reason) = class.front().and_then(|oldest| oldest.hopeless(typical, stands, now)) {
                    shed.extend(class.pop_front().map(|waiter| (waiter.value, reason)));
                }
            }
        }
        for class in self.classes.iter_mut().rev() {
            while let Some(waiter) = if stands { class.pop_back() } else { class.pop_front() } {
                match waiter.hopeless(typical, stands, now) {
                    Some(reason) => shed.push((waiter.value, reason)),
                    None => return Some(waiter),
                }
            }
        }
        None
    }

    /// Who leaves by itself. `None`: it is not here.
    pub(super) fn remove(&mut self, class: Criticality, id: u64) -> Option<Waiter<T>> {
        let class = &mut self.classes[class as usize];
        let place = class.binary_search_by_key(&id, |waiter| waiter.id).ok()?;
        class.remove(place)
    }

    /// Of the least critical, who came last: its class and its number.
    pub(super) fn least(&self) -> Option<(Criticality, u64)> {
        let waiting = |class: &Criticality| self.classes[*class as usize].back().map(|youngest| (*class, youngest.id));
        Criticality::ALL.iter().find_map(waiting)
    }

    fn look(&mut self, typical: Option<Typical>, now: Instant) {
        let long = self.len() > FEW;
        let oldest = self.classes.iter().filter_map(|class| class.front()).map(|oldest| oldest.joined).min().filter(|_| long);
        self.standing.look(oldest.map(|joined| now.saturating_duration_since(joined)), typical, now);
    }
}
