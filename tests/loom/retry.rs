//! The retry budget, and the flag that spares successes its lock.

use loom::{sync::Arc, thread};

use crate::{call::Caller, model};

#[path = "../../src/retry/budget.rs"]
mod budget;

use budget::Budget;

/// Tokens are never more than there may be, and whoever has seen some missing earns.
#[test]
fn the_bucket_never_overflows_and_a_success_earns_while_something_is_missing() {
    model(3, || {
        let budget = Arc::new(Budget::of(20));
        let repeats = |tenant, succeeds| {
            let budget = budget.clone();
            move || {
                let Some(paid) = budget.withdraw(&Caller(tenant), 5) else { return };
                if succeeds {
                    budget.refund(paid);
                    assert!(budget.tokens() <= 20);
                } else {
                    // Its own five are missing, whatever others do.
                    assert!(budget.earn(tenant), "it is told that nothing is missing");
                }
            }
        };
        let threads = [thread::spawn(repeats(1, true)), thread::spawn(repeats(2, false))];
        repeats(3, true)();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(budget.tokens(), 16);
        for missing in (0..4).rev() {
            assert!(budget.earn(2));
            assert_eq!(budget.tokens(), 20 - missing);
        }
        assert!(!budget.earn(2));
    });
}
