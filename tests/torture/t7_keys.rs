//! T7: many keys, each seen once, and one that never rests. The store stays small, forgets, and never stalls a call.
//!
//! The only experiment in real time: it is about memory and about the processor. Times are the thread's own processor time, so
//! that neighbours on the machine do not count, and the middle one of three, so that what the machine takes away does not.

mod stores;

use std::{collections::VecDeque, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::{
    report::{Figure, Run, Table, count, ratio, share},
    world::Account,
};
use stores::{Governor, Idle, OneLock, Ours, Store};

/// How long a key matters after it was seen.
const LIFE: Duration = Duration::from_secs(12);
/// Calls that are made ready before their checks are timed one by one.
const BATCH: u64 = 64;

/// How many keys come, how many of them matter at a time, and whether they come in real time.
#[derive(Debug, Clone, Copy)]
struct Load {
    keys: u64,
    live: u64,
    paced: bool,
}

/// What a store needed.
struct Needed {
    /// Bytes for each key that mattered, at the end of the batch after which they were the most.
    bytes: f64,
    checks: Account,
    hot: Account,
    /// What is left of its memory after an idle phase, as a share of the most.
    left: f64,
    keys_left: usize,
}

const COLUMNS: [&str; 7] =
    ["median check, us", "p99.99, us", "of the hot key, us", "worst stall, us", "bytes a live key", "memory left", "keys left"];

impl Needed {
    fn bounded(&self, p9999: f64) -> Vec<Figure> {
        let [median, checks, hot, stall] = self.times();
        let [bytes, left, keys] = self.memory();
        vec![
            median,
            checks.at_most(p9999),
            hot.at_most(p9999),
            stall.at_most(1_000.0),
            bytes.at_most(64.0),
            left.at_most(0.1),
            keys,
        ]
    }

    fn free(&self) -> Vec<Figure> {
        self.times().into_iter().chain(self.memory()).collect()
    }

    fn times(&self) -> [Figure; 4] {
        [
            ratio(self.checks.percentile(0.5)),
            ratio(self.checks.percentile(0.9999)),
            ratio(self.hot.percentile(0.9999)),
            ratio(self.checks.worst().max(self.hot.worst())),
        ]
    }

    fn memory(&self) -> [Figure; 3] {
        [ratio(self.bytes), share(self.left), count(self.keys_left)]
    }
}

/// The processor time that this thread has had, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a figure")]
fn used() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// Every key is seen once, and after each of them the hot one is.
///
/// Three stores are asked the same, one after the other, and the middle one of their times is the check's: a sweep or a map that
/// grows comes to all three at the same check, what the machine takes away for a moment does not.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn churn<S: Store>(new: impl Fn() -> S, load: Load) -> Needed {
    let gap = LIFE / u32::try_from(load.live).unwrap_or(u32::MAX);
    let mut stores: [S; 3] = std::array::from_fn(|_| new());
    let began = Instant::now();
    let (mut checks, mut hot) = (Vec::with_capacity(load.keys as usize + 1_000), Vec::with_capacity(load.keys as usize + 1_000));
    let mut calls = Vec::with_capacity(2 * BATCH as usize);
    let mut times: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::with_capacity(2 * BATCH as usize + 1));
    let mut at = Duration::ZERO;
    let (mut bytes, mut most, mut at_most) = (0, 0, 0);
    // When the batches came whose keys still matter.
    let mut live: VecDeque<Duration> = VecDeque::new();
    for batch in 0..load.keys / BATCH {
        let due = gap * u32::try_from(batch * BATCH).unwrap_or(u32::MAX);
        at = if load.paced { wait(began, due) } else { due };
        for (store, times) in stores.iter_mut().zip(&mut times) {
            for key in batch * BATCH..(batch + 1) * BATCH {
                calls.push(store.call(Some(key), at));
                calls.push(store.call(None, at));
            }
            // What the store keeps, and not what the calls are made of.
            let held = allocation_counter::measure(|| timed(store, &mut calls, at, times));
            calls.clear();
            bytes += held.bytes_current;
        }
        for place in 0..times[0].len() {
            // Housekeeping that somebody has to do is somebody's stall: it is the last, and counts as the hot key's.
            let of = if place % 2 == 0 && place < 2 * BATCH as usize { &mut checks } else { &mut hot };
            of.push(middle(times.each_ref().map(|times| times[place])));
        }
        times.iter_mut().for_each(Vec::clear);
        live.push_back(at);
        while live.front().is_some_and(|came| *came + LIFE <= at) {
            live.pop_front();
        }
        if bytes > most {
            (most, at_most) = (bytes, live.len() * BATCH as usize);
        }
    }
    // Nobody comes any more but the hot key, once a second; these seconds need not be waited for.
    for second in 1..=90 {
        let at = at + Duration::from_secs(second);
        for store in &mut stores {
            let mut call = store.call(None, at);
            let held = allocation_counter::measure(|| {
                store.check(&mut call, at);
                store.tidy(at);
            });
            bytes += held.bytes_current;
        }
    }
    Needed {
        bytes: most as f64 / (stores.len() * at_most) as f64,
        checks: Account::of(checks),
        hot: Account::of(hot),
        left: bytes as f64 / most as f64,
        keys_left: stores[0].keys(),
    }
}

/// Checks one call after the other, and whatever has to be done then; says how long each took.
fn timed<S: Store>(store: &mut S, calls: &mut [S::Call], at: Duration, times: &mut Vec<f64>) {
    let mut before = used();
    for call in calls {
        store.check(call, at);
        let now = used();
        times.push(now - before);
        before = now;
    }
    if store.tidy(at) {
        times.push(used() - before);
    }
}

fn middle(mut times: [f64; 3]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[1]
}

/// Sleeps until it is time, and says what time it is.
#[expect(clippy::disallowed_methods, reason = "this experiment is the one in real time, and has a thread of its own")]
fn wait(began: Instant, due: Duration) -> Duration {
    let early = due.saturating_sub(began.elapsed());
    if early > Duration::from_millis(1) {
        std::thread::sleep(early);
    }
    began.elapsed()
}

#[test]
fn short() {
    // As many to a map as in the whole: maps double, and what a key takes depends on how full they are.
    let load = Load { keys: 250_000, live: 62_500, paced: false };
    let mut table = Table::new(Run::Short, "T7", "250,000 keys, 62,500 of them live", &COLUMNS);
    // Unoptimised code is slow, and so few checks have no 99.99th percentile to speak of.
    table.row("quota", churn(|| Ours::new(2 * load.live), load).bounded(1_000.0));
    table.finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let load = Load { keys: 5_000_000, live: 1_000_000, paced: true };
    let mut table = Table::new(Run::Whole, "T7", "5 million keys in a minute, 1 million of them live", &COLUMNS);
    table.row("quota", churn(|| Ours::new(2 * load.live), load).bounded(20.0));
    let load = Load { paced: false, ..load };
    table.row("nothing: the clock alone", churn(|| Idle, load).times());
    table.row("quota, keys as fast as they come", churn(|| Ours::new(2 * load.live), load).bounded(20.0));
    table.row("peer: governor, swept each second", churn(Governor::new, load).free());
    table.finish();
}

/// One map behind one lock, swept as a whole.
#[test]
fn planted() {
    let load = Load { keys: 500_000, live: 200_000, paced: false };
    let mut table = Table::new(Run::Planted, "T7", "one lock, and a sweep of all keys under it", &COLUMNS);
    // As in the short run: what is to be noticed is the sweep, and not that the code is not optimised.
    table.row("full sweep", churn(OneLock::default, load).bounded(1_000.0));
    table.finish();
}
