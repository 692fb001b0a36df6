//! Who may be the probe, where some have been it and proved nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::ticket::Who;

/// How long the turn of who was turned away is kept: to ask again may take them that long.
const TURN_KEPT: Duration = Duration::from_secs(30);

/// Of so many it is remembered how long they were the probe for nothing.
const REMEMBERED: usize = 64;

/// The one call whose end decides, and whose turn it is where there is none.
///
/// A caller who leaves before the answer, or gives a call too little time, proves nothing; who calls most would then be the
/// probe again and again, and all others would be refused for ever. So who has held it for nothing stands back for who was
/// turned away meanwhile and has held it less.
#[derive(Debug)]
pub(super) struct Probe {
    /// Whose call it is, and since when.
    out: Option<(Who, Instant)>,
    /// Who proved nothing, and how long all others waited for that.
    spent: Vec<(Who, Duration)>,
    /// Who was turned away last of those that have spent the least, and when.
    turned_away: Option<(Who, Instant)>,
}

impl Probe {
    /// The first one after a cool-down.
    pub(super) fn new(who: Who, now: Instant) -> Self {
        Self { out: Some((who, now)), spent: Vec::new(), turned_away: None }
    }

    pub(super) const fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// A call of this one's is refused, because another is the probe.
    pub(super) fn turn_away(&mut self, who: Who, now: Instant) {
        let is_less = |other: Who, since: Instant| {
            now.saturating_duration_since(since) >= TURN_KEPT || self.spent_by(who) <= self.spent_by(other)
        };
        let its_own = self.out.is_some_and(|(out, _)| out == who);
        if !its_own && self.turned_away.is_none_or(|(other, since)| is_less(other, since)) {
            self.turned_away = Some((who, now));
        }
    }

    /// How long this one stands back for another.
    pub(super) fn stands_back(&self, who: Who, now: Instant) -> Duration {
        let for_other = |&(other, _): &(Who, Instant)| other != who && self.spent_by(other) < self.spent_by(who);
        let left = |(_, since)| TURN_KEPT.saturating_sub(now.saturating_duration_since(since));
        self.turned_away.filter(for_other).map_or(Duration::ZERO, left)
    }

    /// A call of this one's is the probe from now on.
    pub(super) fn take(&mut self, who: Who, now: Instant) {
        self.out = Some((who, now));
        self.turned_away = self.turned_away.filter(|(other, _)| *other != who);
    }

    /// The probe has proved nothing.
    pub(super) fn release(&mut self, now: Instant) {
        let Some((who, since)) = self.out.take() else { return };
        let held = now.saturating_duration_since(since);
        if let Some((_, spent)) = self.spent.iter_mut().find(|(other, _)| *other == who) {
            *spent = spent.saturating_add(held);
            return;
        }
        if self.spent.len() == REMEMBERED
            && let Some((least, _)) = self.spent.iter().enumerate().min_by_key(|(_, (_, spent))| *spent)
        {
            self.spent.remove(least);
        }
        self.spent.push((who, held));
    }

    fn spent_by(&self, who: Who) -> Duration {
        self.spent.iter().find(|(other, _)| *other == who).map_or(Duration::ZERO, |(_, spent)| *spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Somebody's probe that was let go after so long.
    fn let_go(who: Who, held: Duration) -> (Probe, Instant) {
        let now = Instant::now();
        let mut probe = Probe::new(who, now);
        assert!(probe.is_out());
        probe.release(now + held);
        assert!(!probe.is_out());
        (probe, now + held)
    }

    #[test]
    fn alone_nobody_stands_back() {
        let alone = Who::patient(1);
        let (mut probe, now) = let_go(alone, 10 * SECOND);
        assert_eq!(probe.stands_back(alone, now), Duration::ZERO);
        probe.take(alone, now);
        // Its own calls that are turned away for it are nobody else's.
        probe.turn_away(alone, now);
        probe.release(now + SECOND);
        assert_eq!(probe.stands_back(alone, now + SECOND), Duration::ZERO);
    }

    #[test]
    fn who_held_it_for_nothing_stands_back_for_who_was_turned_away_and_has_held_it_less() {
        let [leaves, waits, another] = [1, 2, 3].map(Who::patient);
        let began = Instant::now();
        let mut probe = Probe::new(leaves, began);
        probe.turn_away(waits, began + SECOND);
        let now = began + 10 * SECOND;
        probe.release(now);
        assert_eq!(probe.stands_back(leaves, now), 21 * SECOND, "half a minute since it was turned away");
        assert_eq!(probe.stands_back(waits, now), Duration::ZERO);
        assert_eq!(probe.stands_back(another, now), Duration::ZERO, "has held it no longer");
        assert_eq!(probe.stands_back(leaves, began + 31 * SECOND), Duration::ZERO, "it did not come");

        probe.take(waits, now);
        probe.release(now);
        assert_eq!(probe.stands_back(leaves, now), Duration::ZERO, "it has had its turn");
    }

    #[test]
    fn a_tenants_hurried_calls_stand_back_for_its_others() {
        let (mut probe, now) = let_go(Who::hurried(1), SECOND);
        probe.take(Who::hurried(2), now);
        probe.turn_away(Who::patient(1), now);
        probe.release(now);
        assert_eq!(probe.stands_back(Who::hurried(1), now), 30 * SECOND);
        assert_eq!(probe.stands_back(Who::hurried(2), now), Duration::ZERO, "it took no time");
    }

    #[test]
    fn the_turn_is_of_who_held_it_least_and_of_the_last_of_those() {
        let [longest, longer, first, last] = [1, 2, 3, 4].map(Who::patient);
        let (mut probe, mut now) = let_go(longest, 3 * SECOND);
        probe.take(longer, now);
        now += 2 * SECOND;
        probe.release(now);
        probe.take(longest, now);
        for who in [longer, first, last, longer] {
            probe.turn_away(who, now);
        }
        probe.release(now);
        assert_eq!(probe.stands_back(longer, now), 30 * SECOND);
        probe.take(last, now);
        probe.release(now);
        assert_eq!(probe.stands_back(longer, now), Duration::ZERO, "only one was noted");

        // One that has held it is turned away, and nobody better came for half a minute.
        probe.take(longest, now);
        probe.turn_away(first, now);
        now += 30 * SECOND;
        probe.turn_away(longer, now);
        probe.release(now);
        assert_eq!(probe.stands_back(longest, now), 30 * SECOND);
    }

    #[test]
    fn what_is_remembered_has_an_end_and_who_held_it_longest_is_not_forgotten() {
        let (mut probe, mut now) = let_go(Who::patient(0), 3600 * SECOND);
        for tenant in 1..=u8::MAX {
            probe.take(Who::patient(tenant), now);
            now += SECOND * u32::from(tenant);
            probe.release(now);
        }
        assert_eq!(probe.spent.len(), REMEMBERED);
        assert_eq!(probe.spent_by(Who::patient(0)), 3600 * SECOND);
        assert_eq!(probe.spent_by(Who::patient(u8::MAX)), 255 * SECOND);
        assert_eq!(probe.spent_by(Who::patient(1)), Duration::ZERO);
    }

    /// However many leave before the answer and come back at once, each has its turn, and then the patient has.
    #[test]
    fn who_waits_for_the_answer_gets_it_past_many_who_leave() {
        for leave in 1..20 {
            let began = Instant::now();
            let mut now = began;
            let (mut probe, mut turn, mut asks) = (Probe::new(Who::patient(0), now), 0, now + SECOND);
            let (patient, held) = (Who::patient(255), 10 * SECOND);
            let got_it = loop {
                let released = now + held;
                while asks < released {
                    probe.turn_away(patient, asks);
                    asks += 20 * SECOND;
                }
                probe.release(released);
                now = released;
                // Those who leave ask all the time, one after the other.
                let next = (1..=leave)
                    .map(|step| Who::patient((turn + step) % leave))
                    .find(|who| probe.stands_back(*who, now).is_zero());
                let Some(next) = next else { break asks };
                turn = (turn + 1) % leave;
                probe.take(next, now);
            };
            assert!(got_it - began <= held * (u32::from(leave) + 3), "{leave}: {:?}", got_it - began);
        }
    }
}
