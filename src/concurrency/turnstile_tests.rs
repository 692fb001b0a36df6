//! The turnstile, one step after the other; what several threads may do to it at once is looked at under loom.

use super::turnstile::{Barred, MOST, Turnstile, View};

#[test]
fn slots_are_counted_whichever_way_they_are_taken() {
    let turnstile = Turnstile::new(3);
    assert_eq!((turnstile.enter(), turnstile.enter_or_wait(), turnstile.enter()), (Ok(1), Some(2), Ok(3)));
    assert_eq!((turnstile.enter(), turnstile.has_room()), (Err(Barred::Busy), false));
    assert_eq!(turnstile.enter_anyway(), 4);
    assert_eq!(turnstile.view(), View { in_flight: 4, limit: 3, waiting: false, closed: false });
    (0..4).for_each(|_| assert!(!turnstile.leave()));
    assert_eq!(turnstile.view(), View { in_flight: 0, limit: 3, waiting: false, closed: false });
}

#[test]
fn the_desk_hears_of_a_slot_only_where_it_has_to() {
    let turnstile = Turnstile::new(1);
    assert_eq!((turnstile.enter(), turnstile.enter_or_wait()), (Ok(1), None));
    assert!(turnstile.leave(), "somebody waits");
    // And goes first.
    assert_eq!((turnstile.has_room(), turnstile.enter(), turnstile.enter_or_wait()), (true, Err(Barred::Busy), None));
    turnstile.nobody_waits();
    assert_eq!((turnstile.enter(), turnstile.leave()), (Ok(1), false));

    turnstile.nobody_passes_by();
    assert_eq!((turnstile.enter(), turnstile.enter_anyway(), turnstile.leave()), (Err(Barred::Busy), 1, true));
    turnstile.nobody_waits();

    turnstile.close(true);
    assert_eq!((turnstile.enter(), turnstile.enter_anyway(), turnstile.leave()), (Err(Barred::Closed), 1, true));
    turnstile.close(false);
    assert_eq!((turnstile.enter(), turnstile.leave()), (Ok(1), false));
}

#[test]
fn another_limit_changes_nothing_else() {
    let turnstile = Turnstile::new(1);
    turnstile.enter_anyway();
    turnstile.nobody_passes_by();
    turnstile.close(true);
    for limit in [5, 0, MOST] {
        turnstile.set_limit(limit);
        assert_eq!(turnstile.view(), View { in_flight: 1, limit, waiting: true, closed: true });
    }
    turnstile.set_limit(u32::MAX);
    assert_eq!((turnstile.view().limit, Turnstile::new(u32::MAX).view().limit), (MOST, MOST));
}
