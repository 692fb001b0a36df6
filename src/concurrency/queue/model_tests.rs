//! The queue against a reference that is as plain as can be: vectors, sums made anew each time, and one round after the other.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// How many slots there are, as far as the queue cares.
const SLOTS: u32 = 2;

/// One who waits, in the reference.
#[derive(Debug, Clone)]
struct Waiting {
    value: u32,
    class: Criticality,
    joined: Instant,
    deadline: Option<Instant>,
}

/// A tenant, in the reference.
#[derive(Debug, Clone)]
struct Tenant {
    name: u8,
    balance: i128,
    running: Vec<(u32, Instant, Duration)>,
    /// In the order of coming.
    line: Vec<Waiting>,
    above_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Reference {
    places: usize,
    turns: Vec<Tenant>,
    gap: Duration,
    last: Option<Instant>,
    contended_since: Option<Instant>,
}

impl Tenant {
    fn new(name: u8, typical: Typical) -> Self {
        Self { name, balance: 64 * nanos(typical.p50), running: Vec::new(), line: Vec::new(), above_since: None }
    }

    fn left(&self, now: Instant) -> i128 {
        let sum = |each: &dyn Fn(&(u32, Instant, Duration)) -> Duration| nanos(self.running.iter().map(each).sum());
        self.balance - sum(&|(_, _, paid)| *paid).max(sum(&|(_, started, _)| now - *started))
    }

    fn look(&mut self, typical: Typical, now: Instant) {
        let target = (typical.p50 / 20).clamp(5 * MS, 500 * MS);
        let oldest = self.line.iter().map(|waiting| now - waiting.joined).max().filter(|_| self.line.len() > 2);
        self.above_since = oldest.filter(|oldest| *oldest > target).map(|_| self.above_since.unwrap_or(now));
    }

    fn stands(&self, typical: Typical, now: Instant) -> bool {
        self.above_since.is_some_and(|since| now - since >= typical.p50.max(100 * MS))
    }

    fn pop(&mut self, typical: Typical, now: Instant, shed: &mut Vec<(u32, Reason)>) -> Option<Waiting> {
        self.look(typical, now);
        let stands = self.stands(typical, now);
        let hopeless = |waiting: &Waiting| {
            let half = waiting.deadline.map_or(Duration::from_secs(30), |deadline| (deadline - waiting.joined) / 2);
            match waiting.deadline {
                Some(deadline) if deadline <= now => Some(Reason::Deadline),
                Some(deadline) if now + typical.p90.min(half) > deadline => Some(Reason::Shed),
                _ if stands && now - waiting.joined > half => Some(Reason::Shed),
                _ => None,
            }
        };
        if stands {
            for class in Criticality::ALL {
                while let Some(place) = self.line.iter().position(|waiting| waiting.class == class) {
                    let Some(reason) = hopeless(&self.line[place]) else { break };
                    shed.push((self.line.remove(place).value, reason));
                }
            }
        }
        loop {
            let best = self.line.iter().map(|waiting| waiting.class).max()?;
            let of_class = |waiting: &Waiting| waiting.class == best;
            let place = if stands { self.line.iter().rposition(of_class) } else { self.line.iter().position(of_class) };
            let waiting = self.line.remove(place?);
            match hopeless(&waiting) {
                Some(reason) => shed.push((waiting.value, reason)),
                None => return Some(waiting),
            }
        }
    }
}

impl Reference {
    fn all(&self) -> impl Iterator<Item = &Tenant> {
        self.turns.iter()
    }

    fn find(&mut self, name: u8) -> Option<&mut Tenant> {
        self.turns.iter_mut().find(|tenant| tenant.name == name)
    }

    fn waiting(&self) -> usize {
        self.all().map(|tenant| tenant.line.len()).sum()
    }

    fn rest(&mut self) {
        if self.waiting() == 0 {
            self.contended_since = None;
            self.turns.retain(|tenant| !tenant.running.is_empty());
            self.turns.iter_mut().for_each(|tenant| tenant.balance = tenant.balance.max(0));
        }
    }

    fn join(&mut self, name: u8, new: &Waiting, typical: Typical, now: Instant) -> Result<Option<u32>, Reason> {
        let (waiting, tenants) = (self.waiting(), self.all().count());
        let line = self.find(name).map_or_else(Vec::new, |tenant| {
            let stands = tenant.stands(typical, now);
            tenant.line.iter().map(|other| (other.class, stands)).collect()
        });
        let own = line.iter().filter(|(class, stands)| *class > new.class || (*class == new.class && !stands)).count();
        let ahead = own + (waiting - line.len()).min((own + 1) * tenants);
        if let Some(deadline) = new.deadline {
            let begins = now + self.gap * u32::try_from(ahead).unwrap();
            if deadline <= now {
                return Err(Reason::Deadline);
            }
            if begins + typical.p90.min((deadline - now) / 2) > deadline {
                return Err(Reason::Shed);
            }
        }
        let mut displaced = None;
        if waiting >= self.places {
            let mut victims: Vec<(Criticality, usize, u32, u8)> = Vec::new();
            for tenant in self.all() {
                let Some(least) = tenant.line.iter().map(|other| other.class).min() else { continue };
                let youngest = tenant.line.iter().rfind(|other| other.class == least).unwrap().value;
                if least < new.class || (least == new.class && tenant.line.len() > line.len() + 1) {
                    victims.push((least, usize::MAX - tenant.line.len(), u32::MAX - youngest, tenant.name));
                }
            }
            let (_, _, youngest, name) = victims.into_iter().min().ok_or(Reason::QueueFull)?;
            self.find(name).unwrap().line.retain(|other| other.value != u32::MAX - youngest);
            displaced = Some(u32::MAX - youngest);
        }
        if self.waiting() == 0 {
            (self.contended_since, self.last, self.gap) = (Some(now), Some(now), typical.p50 / SLOTS);
        }
        if self.find(name).is_none() {
            self.turns.push(Tenant::new(name, typical));
        }
        let tenant = self.find(name).unwrap();
        tenant.look(typical, now);
        tenant.line.push(new.clone());
        Ok(displaced)
    }

    fn next(&mut self, typical: Typical, now: Instant, shed: &mut Vec<(u32, Reason)>) -> Option<u32> {
        while self.waiting() > 0 {
            let Some(place) = self.turns.iter().position(|tenant| tenant.left(now) >= 0 && !tenant.line.is_empty()) else {
                for tenant in &mut self.turns {
                    let left = tenant.left(now);
                    let most = 64 * nanos(typical.p50);
                    tenant.balance += (left + nanos(typical.p50)).min(most).max(left) - left;
                }
                let full = |tenant: &Tenant| tenant.left(now) >= 64 * nanos(typical.p50);
                self.turns.retain(|tenant| !tenant.line.is_empty() || !tenant.running.is_empty() || !full(tenant));
                continue;
            };
            let mut front = self.turns.remove(place);
            let served = front.pop(typical, now, shed);
            if let Some(served) = &served {
                front.running.push((served.value, now, typical.p50));
            }
            self.turns.push(front);
            if let Some(served) = served {
                let gap = now - self.last.unwrap();
                self.gap = if self.gap.is_zero() { gap } else { (self.gap * 7 + gap) / 8 };
                self.last = Some(now);
                self.rest();
                return Some(served.value);
            }
        }
        self.rest();
        None
    }

    fn leave(&mut self, value: u32) -> Option<u32> {
        for tenant in self.turns.iter_mut() {
            if let Some(place) = tenant.line.iter().position(|waiting| waiting.value == value) {
                tenant.line.remove(place);
                self.rest();
                return Some(value);
            }
        }
        None
    }

    fn settle(&mut self, value: u32, now: Instant) {
        for tenant in self.turns.iter_mut() {
            if let Some(place) = tenant.running.iter().position(|(running, ..)| *running == value) {
                let (_, started, _) = tenant.running.remove(place);
                tenant.balance -= nanos(now - started);
                break;
            }
        }
        self.rest();
    }

    fn charge(&mut self, name: u8, started: Instant, typical: Typical, now: Instant) {
        let Some(since) = self.contended_since else { return };
        if self.find(name).is_none() {
            self.turns.push(Tenant::new(name, typical));
        }
        self.find(name).unwrap().balance -= nanos(now - started.max(since));
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Join { tenant: u8, class: usize, within: Option<u64> },
    Next,
    Leave(usize),
    Settle(usize),
    Charge { tenant: u8, held: u64 },
    Pass(u64),
    Places(usize),
    Slower(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..4_u8, 0..4_usize, prop::option::of(1..400_u64))
            .prop_map(|(tenant, class, within)| Act::Join { tenant, class, within }),
        6 => Just(Act::Next),
        2 => (0..20_usize).prop_map(Act::Leave),
        5 => (0..20_usize).prop_map(Act::Settle),
        1 => (0..6_u8, 0..200_u64).prop_map(|(tenant, held)| Act::Charge { tenant, held }),
        6 => prop_oneof![0..20_u64, 0..150_u64].prop_map(Act::Pass),
        1 => (0..12_usize).prop_map(Act::Places),
        1 => (1..60_u64).prop_map(Act::Slower),
    ]
}

/// Plays the same acts to both, and compares all that they say.
fn play(acts: Vec<Act>) {
    let epoch = Instant::now();
    let mut now = epoch;
    let mut typical = Typical { p50: 10 * MS, p90: 20 * MS };
    let mut queue = Queue::new(8, epoch);
    let mut reference = Reference { places: 8, ..Reference::default() };
    let mut keys: Vec<(u32, Key)> = Vec::new();
    let mut charges: Vec<(u32, Charge)> = Vec::new();
    let tenant = |name: u8| Digest::of(&[name]);
    for (value, act) in (0..).zip(acts) {
        match act {
            Act::Join { tenant: name, class, within } => {
                let class = Criticality::ALL[class];
                let deadline = within.map(|within| now + Duration::from_millis(within));
                let joined = queue.join(
                    Arrival { tenant: tenant(name), class, due: deadline.map(Due::At) },
                    || value,
                    Some(typical),
                    SLOTS,
                    now,
                );
                let expected = reference.join(name, &Waiting { value, class, joined: now, deadline }, typical, now);
                assert_eq!(joined.as_ref().map(|(_, displaced)| *displaced).map_err(|reason| *reason), expected);
                keys.extend(joined.ok().map(|(key, _)| (value, key)));
            }
            Act::Next => {
                let (mut shed, mut expected_shed) = (Vec::new(), Vec::new());
                let served = queue.next(Some(typical), now, &mut shed);
                let expected = reference.next(typical, now, &mut expected_shed);
                assert_eq!((served.as_ref().map(|granted| granted.value), shed), (expected, expected_shed));
                charges.extend(served.map(|granted| (granted.value, granted.charge)));
            }
            Act::Leave(n) if !keys.is_empty() => {
                let (value, key) = keys.swap_remove(n % keys.len());
                assert_eq!(queue.leave(key), reference.leave(value));
            }
            Act::Settle(n) if !charges.is_empty() => {
                let (value, charge) = charges.swap_remove(n % charges.len());
                queue.settle(charge, now);
                reference.settle(value, now);
            }
            Act::Charge { tenant: name, held } => {
                let started = now.checked_sub(Duration::from_millis(held)).unwrap_or(epoch).max(epoch);
                queue.charge(tenant(name), started, Some(typical), now);
                reference.charge(name, started, typical, now);
            }
            Act::Leave(_) | Act::Settle(_) => {}
            Act::Pass(millis) => now += Duration::from_millis(millis),
            Act::Places(places) => {
                queue.set_places(places);
                reference.places = places;
            }
            Act::Slower(millis) => {
                typical = Typical { p50: Duration::from_millis(millis), p90: Duration::from_millis(2 * millis) };
            }
        }
        assert_eq!(queue.len(), reference.waiting());
        assert_eq!(queue.tenants(), reference.all().filter(|tenant| !tenant.line.is_empty()).count());
        assert_eq!(queue.accounts.len(), reference.all().count());
        assert_eq!(queue.turns.len(), queue.accounts.len());
        for other in reference.all() {
            assert_eq!(queue.accounts[&tenant(other.name)].left(nanos(now - epoch)), other.left(now));
        }
    }
    // With everybody gone, nothing is left.
    charges.into_iter().for_each(|(_, charge)| queue.settle(charge, now));
    for (_, key) in keys {
        let _gone = queue.leave(key);
    }
    assert_eq!((queue.len(), queue.accounts.len(), queue.turns.len()), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_reference_does(acts in prop::collection::vec(act(), 1..120)) {
        play(acts);
    }
}
