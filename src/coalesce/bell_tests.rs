use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use super::bell::Bell;

fn listen(bell: &Bell) -> usize {
    let mut place = None;
    bell.listen(&mut place, Waker::noop());
    place.unwrap()
}

#[test]
fn places_are_used_again_and_the_last_are_given_up() {
    let bell = Bell::new();
    let sizes = || bell.places();
    assert_eq!([0; 3].map(|_| listen(&bell)), [0, 1, 2]);
    bell.leave(1);
    assert_eq!((sizes(), listen(&bell)), ((3, 1), 1));
    bell.leave(2);
    assert_eq!(sizes(), (2, 0));
    bell.leave(0);
    assert_eq!((sizes(), listen(&bell), sizes()), ((2, 1), 0, (2, 0)));
}

/// Who is woken and listens again at once is not woken by the same ring: it would never end.
#[test]
fn each_is_woken_once() {
    struct Keen {
        bell: Arc<Bell>,
        woken: AtomicUsize,
    }
    impl Wake for Keen {
        fn wake(self: Arc<Self>) {
            if self.woken.fetch_add(1, Ordering::SeqCst) < 10 {
                self.bell.listen(&mut Some(1), &Waker::from(self.clone()));
            }
        }
    }
    let bell = Arc::new(Bell::new());
    assert_eq!([0; 3].map(|_| listen(&bell)), [0, 1, 2]);
    let keen = Arc::new(Keen { bell: bell.clone(), woken: AtomicUsize::new(0) });
    bell.listen(&mut Some(1), &Waker::from(keen.clone()));
    bell.wake_all();
    assert_eq!(keen.woken.load(Ordering::SeqCst), 1);
    bell.wake_all();
    assert_eq!(keen.woken.load(Ordering::SeqCst), 2);
}
