//! The right to fetch an entry anew.

use std::{sync::Arc, time::Duration};

use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use metrics::Gauge;
use tokio::time::Instant;

use crate::model;

#[path = "../../src/cache/entry.rs"]
mod entry;

use entry::{Entry, Era, Held, Refresh};

fn entry() -> Arc<Entry> {
    Arc::new(Entry::new(
        (),
        Instant::now(),
        Duration::ZERO,
        Era { cleared: 0, changed: 0 },
        Held::new(Gauge::noop(), Gauge::noop(), 0),
    ))
}

#[test]
fn an_entry_is_fetched_once_at_a_time_no_more_than_so_many_are_and_each_right_comes_back() {
    const MOST: usize = 1;
    model(3, || {
        let (entries, under_way) = ([entry(), entry()], Arc::new(AtomicUsize::new(0)));
        let busy = Arc::new(AtomicUsize::new(0));
        let fetches = |number: usize| {
            let (entry, under_way, busy) = (entries[number].clone(), under_way.clone(), busy.clone());
            move || {
                if let Some(refresh) = Refresh::of(&entry, &under_way, MOST) {
                    assert!(busy.fetch_add(1, Ordering::Relaxed) < MOST);
                    busy.fetch_sub(1, Ordering::Relaxed);
                    drop(refresh);
                }
            }
        };
        let threads = [thread::spawn(fetches(0)), thread::spawn(fetches(1))];
        fetches(0)();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(under_way.load(Ordering::Relaxed), 0);
        for entry in &entries {
            assert!(Refresh::of(entry, &under_way, MOST).is_some());
        }
    });
}
