use super::slots::{CHUNK, Slot, Slots};

#[test]
fn each_claim_has_a_cell_of_its_own_and_keeps_it() {
    let slots = Slots::default();
    let claims: Vec<Slot<usize>> = (0..3 * CHUNK).map(|_| Slot::new()).collect();
    for (n, claim) in claims.iter().enumerate() {
        assert_eq!(*slots.get_or_init(claim, || n), n);
    }
    for (n, claim) in claims.iter().enumerate() {
        assert_eq!(*slots.get_or_init(claim, || usize::MAX), n);
    }
}

#[test]
fn a_cell_may_be_made_of_another() {
    let (slots, one, other) = (Slots::default(), Slot::<u32>::new(), Slot::<u32>::new());
    assert_eq!(*slots.get_or_init(&one, || slots.get_or_init(&other, || 20) + 1), 21);
}

#[test]
fn threads_that_meet_at_a_cell_see_one_value() {
    let slots = Slots::default();
    let claim = Slot::<std::thread::ThreadId>::new();
    let seen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| *slots.get_or_init(&claim, || std::thread::current().id()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|id| *id == seen[0]));
}
