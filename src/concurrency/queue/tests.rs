use super::*;

const MS: Duration = Duration::from_millis(1);

fn tenant(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// Who is served, and what it is charged by.
type Served = Option<(u32, Charge)>;

/// A queue whose values are numbers, with its own clock.
struct Scene {
    queue: Queue<u32>,
    now: Instant,
    typical: Option<Typical>,
    slots: u32,
    keys: HashMap<u32, Key>,
}

impl Scene {
    fn new(places: usize) -> Self {
        let now = Instant::now();
        Self { queue: Queue::new(places, now), now, typical: None, slots: 1, keys: HashMap::new() }
    }

    fn typical(mut self, p50: Duration, p90: Duration) -> Self {
        self.typical = Some(Typical { p50, p90 });
        self
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn ask(&mut self, who: &str, class: Criticality, within: Option<Duration>, value: u32) -> Result<Option<u32>, Reason> {
        let arrival = Arrival { tenant: tenant(who), class, due: within.map(|within| Due::At(self.now + within)) };
        let (key, displaced) = self.queue.join(arrival, || value, self.typical, self.slots, self.now)?;
        self.keys.insert(value, key);
        Ok(displaced)
    }

    fn join(&mut self, who: &str, value: u32) {
        assert_eq!(self.ask(who, Criticality::Critical, None, value), Ok(None));
    }

    fn next(&mut self) -> Option<(u32, Charge)> {
        let (served, shed) = self.next_and_shed();
        assert_eq!(shed, []);
        served
    }

    fn next_and_shed(&mut self) -> (Served, Vec<(u32, Reason)>) {
        let mut shed = Vec::new();
        let served = self.queue.next(self.typical, self.now, &mut shed);
        (served.map(|granted| (granted.value, granted.charge)), shed)
    }

    /// Serves one call after the other, each holding a slot as long as `holds` says, and gives the order.
    fn serve_all(&mut self, holds: impl Fn(u32) -> Duration) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some((value, charge)) = self.next() {
            order.push(value);
            self.pass(holds(value));
            self.queue.settle(charge, self.now);
        }
        order
    }
}

#[tokio::test(start_paused = true)]
async fn one_tenant_is_served_in_the_order_of_coming() {
    let mut scene = Scene::new(10);
    (0..10).for_each(|n| scene.join("a", n));
    assert_eq!(scene.serve_all(|_| MS), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_and_a_newcomer_does_not_wait_behind_a_backlog() {
    let mut scene = Scene::new(1000).typical(MS, MS);
    (0..6).for_each(|n| scene.join("heavy", n));
    (10..12).for_each(|n| scene.join("light", n));
    assert_eq!(scene.serve_all(|_| MS), [0, 10, 1, 11, 2, 3, 4, 5]);

    (1000..1200).for_each(|n| scene.join("heavy", n));
    (2000..2200).for_each(|n| scene.join("other", n));
    for _ in 0..129 {
        let (_, charge) = scene.next().unwrap();
        scene.pass(MS);
        scene.queue.settle(charge, scene.now);
    }
    // The others have nothing in hand any more, so all that it has comes first.
    (200..204).for_each(|n| scene.join("newcomer", n));
    let next: Vec<u32> = scene.serve_all(|_| MS).into_iter().take(5).collect();
    assert!((200..204).all(|n| next.contains(&n)), "{next:?}");
}

/// The share is one of time, not of calls.
#[tokio::test(start_paused = true)]
async fn who_sends_slow_calls_gets_no_more_time_than_the_others() {
    let mut scene = Scene::new(1000).typical(MS, MS);
    (0..20).for_each(|n| scene.join("slow", n));
    (100..400).for_each(|n| scene.join("quick", n));
    let holds = |n| if n < 100 { 10 * MS } else { MS };
    let order = scene.serve_all(holds);
    let time =
        |range: std::ops::Range<u32>| order[..110].iter().filter(|n| range.contains(n)).map(|n| holds(*n)).sum::<Duration>();
    let (slow, quick) = (time(0..100), time(100..400));
    assert!(slow.abs_diff(quick) <= 10 * MS, "{slow:?} {quick:?}");
}

/// Calls that have not ended are charged for as they go: many slots at once are not had for the price of one.
#[tokio::test(start_paused = true)]
async fn a_tenant_whose_calls_do_not_end_does_not_take_slot_after_slot() {
    let mut scene = Scene::new(1000).typical(MS, MS);
    (0..50).for_each(|n| scene.join("slow", n));
    (100..200).for_each(|n| scene.join("quick", n));
    let mut served = Vec::new();
    for _ in 0..100 {
        let (value, charge) = scene.next().unwrap();
        served.push(value);
        scene.pass(MS);
        if value >= 100 {
            scene.queue.settle(charge, scene.now);
        }
    }
    let slow = served.iter().filter(|n| **n < 100).count();
    // What they had in hand was 64 turns, and so many calls at once use that up soon.
    assert!((1..=9).contains(&slow), "{slow}: {served:?}");
}

#[tokio::test(start_paused = true)]
async fn no_slot_is_left_idle_however_much_is_owed() {
    // An hour is so many turns that they cannot be gone through one by one.
    let mut scene = Scene::new(10).typical(SHORTEST_TURN, SHORTEST_TURN);
    (0..3).for_each(|n| scene.join("a", n));
    let (_, charge) = scene.next().unwrap();
    scene.pass(Duration::from_secs(3600));
    scene.queue.settle(charge, scene.now);
    assert_eq!(scene.next().unwrap().0, 1);
}

#[tokio::test(start_paused = true)]
async fn what_never_waited_is_charged_while_others_wait() {
    let mut scene = Scene::new(10).typical(MS, MS);
    let began = scene.now;
    scene.pass(50 * MS);
    // Nobody waits: nothing is taken from anybody.
    scene.queue.charge(tenant("a"), began, scene.typical, scene.now);
    scene.join("a", 0);
    scene.join("b", 10);
    scene.join("a", 1);
    scene.join("b", 11);
    scene.pass(66 * MS);
    scene.queue.charge(tenant("a"), began, scene.typical, scene.now);
    // It had 64 turns in hand and owes two: what it took since others wait, and not what it took before.
    assert_eq!(scene.serve_all(|_| MS), [10, 11, 0, 1]);
}

/// Who does not wait is remembered until the rounds have given it all that it may have in hand, and not longer.
#[tokio::test(start_paused = true)]
async fn who_has_all_in_hand_again_is_forgotten() {
    for (took, remembered) in [(2, 1), (3, 2)] {
        let mut scene = Scene::new(10).typical(MS, MS);
        let began = scene.now;
        scene.join("a", 0);
        scene.join("a", 1);
        scene.pass(66 * MS);
        scene.queue.charge(tenant("a"), began, scene.typical, scene.now);
        scene.queue.charge(tenant("b"), began + (66 - took) * MS, scene.typical, scene.now);
        assert_eq!(scene.queue.accounts.len(), 2);
        // Two rounds pay what the first owes.
        assert_eq!(scene.next().unwrap().0, 0);
        assert_eq!((scene.queue.accounts.len(), scene.queue.turns.len()), (remembered, remembered), "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn debts_end_with_the_queue() {
    let mut scene = Scene::new(10).typical(MS, MS);
    scene.join("a", 0);
    scene.join("b", 10);
    assert_eq!(scene.serve_all(|_| 20 * MS).len(), 2);
    assert_eq!((scene.queue.accounts.len(), scene.queue.turns.len()), (0, 0));
    scene.join("a", 1);
    scene.join("b", 11);
    assert_eq!(scene.serve_all(|_| MS), [1, 11]);
}

#[tokio::test(start_paused = true)]
async fn the_more_critical_are_first_within_a_tenant_and_have_no_advantage_over_others() {
    let mut scene = Scene::new(10).typical(MS, MS);
    for (n, class) in (0..).zip(Criticality::ALL) {
        scene.ask("a", class, None, n).unwrap();
    }
    scene.ask("b", Criticality::Sheddable, None, 10).unwrap();
    scene.ask("b", Criticality::Sheddable, None, 11).unwrap();
    assert_eq!(scene.serve_all(|_| MS), [3, 10, 2, 11, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_least_critical_youngest_of_the_longest_line() {
    use Criticality::{Critical, CriticalPlus, Sheddable};
    let mut scene = Scene::new(4);
    scene.join("a", 0);
    scene.join("a", 1);
    scene.ask("a", Sheddable, None, 2).unwrap();
    scene.ask("a", Sheddable, None, 3).unwrap();
    // No less critical one is there, and no other tenant has more waiting.
    assert_eq!(scene.ask("a", Sheddable, None, 4), Err(Reason::QueueFull));
    assert_eq!(scene.ask("a", Critical, None, 4), Ok(Some(3)));
    assert_eq!(scene.ask("b", Critical, None, 10), Ok(Some(2)));
    // As critical, from the longer line.
    assert_eq!(scene.ask("b", Critical, None, 11), Ok(Some(4)));
    // Now both have two.
    assert_eq!(scene.ask("b", Critical, None, 12), Err(Reason::QueueFull));
    assert_eq!(scene.ask("c", Sheddable, None, 20), Err(Reason::QueueFull));
    assert_eq!(scene.ask("b", CriticalPlus, None, 13), Ok(Some(11)));
    assert_eq!(scene.queue.len(), 4);
    let mut none = Scene::new(0);
    assert_eq!(none.ask("a", CriticalPlus, None, 0), Err(Reason::QueueFull));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_stands_is_served_from_its_end_and_sheds_who_has_stood_for_half_of_its_time() {
    let mut scene = Scene::new(100).typical(20 * MS, 20 * MS);
    for n in 0..8 {
        scene.ask("a", Criticality::Critical, Some(1000 * MS), n).unwrap();
    }
    scene.pass(10 * MS);
    assert_eq!(scene.next().unwrap().0, 0);
    scene.pass(99 * MS);
    assert_eq!(scene.next().unwrap().0, 1);
    scene.pass(MS);
    for n in 20..22 {
        scene.ask("a", Criticality::Critical, Some(1000 * MS), n).unwrap();
    }
    assert_eq!(scene.next().unwrap().0, 21);
    scene.pass(391 * MS);
    assert_eq!(scene.next_and_shed().1, (2..8).map(|n| (n, Reason::Shed)).collect::<Vec<_>>());
    // Empty: it stands no more.
    assert_eq!(scene.queue.len(), 0);
    scene.join("a", 30);
    scene.join("a", 31);
    assert_eq!(scene.next().unwrap().0, 30);
}

#[tokio::test(start_paused = true)]
async fn who_has_stood_for_half_of_its_time_and_not_more_is_still_served() {
    for (waited, shed) in [(500, 0), (501, 3)] {
        let mut scene = Scene::new(100).typical(20 * MS, 20 * MS);
        for n in 0..3 {
            scene.ask("a", Criticality::Critical, Some(1000 * MS), n).unwrap();
        }
        scene.pass(10 * MS);
        scene.ask("a", Criticality::Critical, Some(1000 * MS), 3).unwrap();
        scene.pass((waited - 10) * MS);
        let (served, shed_now) = scene.next_and_shed();
        assert_eq!((served.map(|(value, _)| value), shed_now.len()), (Some(3), shed), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_line_that_stands_is_turned_around() {
    let mut scene = Scene::new(100).typical(MS, MS);
    (0..8).for_each(|n| scene.join("a", n));
    scene.pass(50 * MS);
    let (_, charge) = scene.next().unwrap();
    scene.queue.settle(charge, scene.now);
    scene.pass(100 * MS);
    (10..12).for_each(|n| scene.join("b", n));
    let order = scene.serve_all(|_| MS);
    // Of the last two, who came first.
    assert_eq!(order, [7, 10, 6, 11, 5, 4, 3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_that_of_slots_coming_free_while_somebody_waits() {
    let mut scene = Scene::new(100).typical(10 * MS, 10 * MS);
    for gap in [20, 60] {
        (0..61).for_each(|n| scene.join("a", n));
        // Until somebody has been let in, it goes by what calls take.
        assert_eq!(scene.queue.pace.gap, 10 * MS, "nothing is left of {:?}", scene.queue.pace);
        for _ in 0..60 {
            scene.pass(gap * MS);
            let (_, charge) = scene.next().unwrap();
            scene.queue.settle(charge, scene.now);
        }
        assert!(scene.queue.pace.gap.abs_diff(gap * MS) < MS, "{:?}", scene.queue.pace);
        assert_eq!(scene.serve_all(|_| gap * MS).len(), 1);
        scene.pass(Duration::from_secs(3600));
    }
}

/// However slow slots came free in a queue that is no more.
#[tokio::test(start_paused = true)]
async fn a_burst_is_not_shed_by_the_pace_of_a_queue_that_is_no_more() {
    let secs = Duration::from_secs;
    let mut scene = Scene::new(100).typical(secs(20), secs(20));
    scene.join("a", 0);
    scene.pass(secs(20));
    assert_eq!(scene.serve_all(|_| secs(20)), [0]);
    // By now calls take less, or they take as long and there are more slots.
    for (p50, slots) in [(50 * MS, 1), (secs(20), 64)] {
        (scene.typical, scene.slots) = (Some(Typical { p50, p90: p50 }), slots);
        for n in 100..164 {
            assert_eq!(scene.ask("a", Criticality::Critical, Some(secs(55)), n), Ok(None), "{n} at {p50:?}");
        }
        assert_eq!(scene.serve_all(|_| MS).len(), 64);
    }
    // And where nothing has changed, nobody waits in vain: one call after the other, twenty seconds each.
    scene.slots = 1;
    let places = (0..9).filter(|n| scene.ask("a", Criticality::Critical, Some(secs(55)), *n).is_ok());
    assert_eq!(places.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_end_in_time_is_shed_when_it_comes_and_when_it_is_its_turn() {
    let class = Criticality::Critical;
    // Slots come free every 20 ms, and nine of ten calls take up to 40 ms.
    let mut scene = Scene::new(100).typical(10 * MS, 40 * MS);
    (0..4).for_each(|n| scene.join("a", n));
    scene.queue.pace.gap = 20 * MS;
    assert_eq!(scene.ask("a", class, Some(119 * MS), 10), Err(Reason::Shed));
    assert_eq!(scene.ask("a", class, Some(121 * MS), 11), Ok(None));
    // A tenant of its own has at most one of the others' before it; and it leaves half of its time for the call, not more.
    assert_eq!(scene.ask("b", class, Some(39 * MS), 12), Err(Reason::Shed));
    assert_eq!(scene.ask("b", class, Some(41 * MS), 13), Ok(None));
    assert_eq!(scene.ask("c", class, Some(Duration::ZERO), 14), Err(Reason::Deadline));
    // At its turn.
    scene.pass(22 * MS);
    let mut all = Vec::new();
    while let (Some((value, _)), shed) = scene.next_and_shed() {
        all.push((value, shed));
    }
    assert_eq!(all[1], (1, vec![(13, Reason::Shed)]));
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_nobody_waits_may_wait_however_slow_slots_have_been() {
    let mut scene = Scene::new(100).typical(10 * MS, Duration::from_secs(3600));
    assert_eq!(scene.ask("a", Criticality::Critical, Some(100 * MS), 0), Ok(None));
    scene.queue.pace.gap = Duration::from_secs(3600);
    assert_eq!(scene.ask("a", Criticality::Critical, Some(100 * MS), 1), Err(Reason::Shed));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_not_served() {
    let mut scene = Scene::new(100);
    (0..4).for_each(|n| scene.join("a", n));
    let key = scene.keys[&1];
    assert_eq!((scene.queue.leave(key), scene.queue.leave(key)), (Some(1), None));
    assert_eq!(scene.serve_all(|_| MS), [0, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn tenants_beyond_the_bound_are_one() {
    let mut scene = Scene::new(usize::MAX).typical(MS, MS);
    for n in 0..3000 {
        scene.join(&n.to_string(), n);
    }
    assert!(scene.queue.accounts.len() <= MOST_TENANTS + 1);
    let mut served = scene.serve_all(|_| MS);
    served.sort_unstable();
    assert_eq!(served, (0..3000).collect::<Vec<_>>());
}
