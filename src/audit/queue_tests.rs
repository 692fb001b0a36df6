//! The queue against a naive account of it.

use proptest::prelude::*;

use super::queue::{Lost, Orders, Queue};

#[derive(Debug, Clone, Copy)]
enum Act {
    Reserve,
    PushReserved,
    Push,
    /// At most so many.
    Take(usize),
    Settle(bool),
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => Just(Act::Reserve),
        2 => Just(Act::PushReserved),
        3 => Just(Act::Push),
        2 => (1_usize..4).prop_map(Act::Take),
        3 => any::<bool>().prop_map(Act::Settle),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Records come out once, in order, and never more of them are on their way than there are places; who has a place kept
    /// gets in; and who waits for what was put in is told when it is settled, and not before.
    #[test]
    fn records_come_out_in_order_and_within_the_bound(acts in acts(), capacity in 1_usize..5) {
        let queue = Queue::new(capacity);
        prop_assert_eq!(queue.capacity(), capacity);
        let (mut next, mut reserved, mut failing, mut reopen) = (0_u64, 0_usize, false, false);
        let (mut inside, mut in_hand, mut batch) = (std::collections::VecDeque::new(), None::<Orders>, Vec::new());
        for act in acts {
            let taken = inside.len() + batch.len() + reserved;
            match act {
                Act::Reserve => {
                    let granted = queue.reserve();
                    prop_assert_eq!(granted, !failing && taken < capacity);
                    reserved += usize::from(granted);
                }
                Act::PushReserved if reserved == 0 => {}
                Act::PushReserved | Act::Push => {
                    let kept = matches!(act, Act::PushReserved);
                    let pushed = queue.push(next, kept);
                    reserved -= usize::from(kept);
                    let room = kept || taken < capacity;
                    prop_assert_eq!(pushed, if room { Ok(()) } else { Err((next, Lost::QueueFull)) });
                    if room {
                        inside.push_back(next);
                    }
                    next += 1;
                }
                Act::Take(most) => {
                    if in_hand.is_none() && (reopen || !inside.is_empty()) {
                        let orders = queue.take(&mut batch, most).unwrap();
                        prop_assert_eq!(orders.reopen, std::mem::take(&mut reopen));
                        in_hand = Some(orders);
                        let expected: Vec<_> = (0..most).map_while(|_| inside.pop_front()).map(|n| (n, n)).collect();
                        prop_assert_eq!(&batch, &expected);
                    }
                }
                Act::Settle(works) => {
                    if let Some(orders) = in_hand.take() {
                        let works = (!batch.is_empty()).then_some(works);
                        queue.settle(&orders, works);
                        failing = works.map_or(failing, |works| !works);
                        batch.clear();
                    }
                }
                Act::Reopen => {
                    queue.reopen();
                    reopen = true;
                }
            }
            let on_their_way = inside.len() + batch.len();
            prop_assert!(on_their_way + reserved <= capacity);
            prop_assert_eq!(queue.taken(), on_their_way + reserved);
            prop_assert_eq!(queue.is_failing(), failing);
            let mut drained = Box::pin(queue.drained());
            let waited_for = drained.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            prop_assert_eq!(waited_for.is_ready(), on_their_way == 0 && !reopen && in_hand.is_none());
        }
    }
}
