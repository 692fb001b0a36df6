//! The world that the layers are put into: arrivals, backends, and what came of the calls.
//!
//! All of it is seeded and runs on tokio's paused clock, so an experiment is exact, repeatable, and takes as long as its
//! computing does. tokio's timers tick in milliseconds: arrivals, completions and deadlines come up to one late. A backend's
//! own sums are exact all the same, so its capacity is what it says.

mod account;
mod arrivals;
mod backend;
mod sizes;
mod station;

pub use account::Account;
pub use arrivals::Load;
pub use backend::{Backend, Work};
pub use sizes::Sizes;
pub use station::{Discipline, Machine};

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use buttress::{
    call::{Method, Target, TargetPolicy},
    catalogue::Catalogue,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Runs a scenario on a runtime of its own, whose clock stands still while anything is left to do.
pub fn run<F: Future>(scenario: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(scenario)
}

/// Runs `scenario` once per seed, on all cores, and gives what came of each in the order of the seeds.
pub fn seeds<T: Send>(seeds: u64, scenario: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let came = scenario(seed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((seed, came));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(seed, _)| seed);
    done.into_iter().map(|(_, came)| came).collect()
}

/// A tool of an upstream of its own, which may be repeated when its outcome is unknown if it is `safe`.
pub fn tool(name: &str, safe: bool) -> Arc<Target> {
    let policy = TargetPolicy::default().idempotent(safe);
    Catalogue::new("upstream").tool(name, policy).resolve(&Method::ToolsCall, Some(name), None)
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// When it was made, from the beginning of the drive.
    pub arrived: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What came of it.
    pub value: T,
}

/// Makes a call at each of these times (counted from now, ascending), without waiting for those before it, and gives what came
/// of each, in the order of their endings. The call is told its own number.
pub async fn drive<F>(arrivals: impl IntoIterator<Item = Duration>, mut call: impl FnMut(usize) -> F) -> Vec<Done<F::Output>>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let began = Instant::now();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    for (number, at) in arrivals.into_iter().enumerate() {
        let at = began + at;
        if at > Instant::now() {
            sleep_until(at).await;
        }
        let calling = call(number);
        running.spawn(async move {
            let arrived = began.elapsed();
            let value = calling.await;
            Done { arrived, ended: began.elapsed(), value }
        });
        // Taken in on the way: a task that has ended keeps its memory until then.
        while let Some(ended) = running.try_join_next() {
            done.push(ended.expect("a call does not panic"));
        }
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended.expect("a call does not panic"));
    }
    done
}

mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A single server that is shared by all: the mean stay is size / (1 - load), whatever the sizes' distribution.
    #[test]
    fn a_shared_server_keeps_calls_as_long_as_theory_says() {
        for sizes in [Sizes::exponential(100 * MS), Sizes::lognormal(100 * MS, 1.0), Sizes::even(100 * MS, 0.2)] {
            let stays = seeds(2, |seed| {
                let mut sizes = sizes.seeded(seed);
                run(async move {
                    let backend = Backend::new(Machine { servers: 1.0, ..Machine::default() }, Discipline::Shared);
                    let arrivals = Load::steady(5.0, Duration::from_secs(3000)).arrivals(seed);
                    let done = drive(arrivals, |_| backend.work(Work::of(sizes.draw()))).await;
                    let stay = |done: &Done<()>| (done.ended - done.arrived).as_secs_f64();
                    Account::of(done.iter().map(stay)).mean()
                })
            });
            let mean = Account::of(stays).mean();
            assert!((0.19..0.21).contains(&mean), "{sizes:?}: {mean}");
        }
    }

    #[test]
    fn who_comes_first_is_served_first() {
        run(async {
            let backend = Backend::new(Machine { servers: 2.0, ..Machine::default() }, Discipline::Queued);
            let done = drive([Duration::ZERO; 5], |number| {
                let work = backend.work(Work::of(10 * MS));
                async move {
                    work.await;
                    number
                }
            });
            let ended: Vec<(usize, Duration)> = done.await.into_iter().map(|done| (done.value, done.ended)).collect();
            assert_eq!(ended, [(0, 10 * MS), (1, 10 * MS), (2, 20 * MS), (3, 20 * MS), (4, 30 * MS)]);
            assert!((backend.done() - 0.05).abs() < 1e-9);
        });
    }

    /// Who leaves gives what it had to the others, unless the backend does not hear of it.
    #[test]
    fn a_call_that_is_dropped_leaves_and_a_zombie_stays() {
        for (zombie, expected) in [(false, 150 * MS), (true, 200 * MS)] {
            run(async {
                let machine = Machine { servers: 1.0, ..Machine::default() };
                let backend = Backend::new(machine, Discipline::Shared);
                let leaves = Work { zombie, ..Work::of(100 * MS) };
                let began = Instant::now();
                let (left, ()) =
                    tokio::join!(tokio::time::timeout(100 * MS, backend.work(leaves)), backend.work(Work::of(100 * MS)));
                assert!(left.is_err());
                assert_eq!((began.elapsed(), backend.at_work()), (expected, 0));
            });
        }
    }

    #[test]
    fn capacity_and_latency_change_while_calls_are_at_work() {
        run(async {
            let whole = Machine { servers: 1.0, ..Machine::default() };
            let backend = Backend::new(whole, Discipline::Shared);
            let began = Instant::now();
            let work = tokio::spawn(backend.work(Work::of(100 * MS)));
            tokio::time::sleep(50 * MS).await;
            backend.change(Machine { servers: 0.1, ..whole });
            tokio::time::sleep(100 * MS).await;
            backend.change(whole);
            work.await.unwrap();
            assert_eq!(began.elapsed(), 190 * MS);

            backend.delay(300 * MS);
            let began = Instant::now();
            backend.work(Work::of(100 * MS)).await;
            assert_eq!(began.elapsed(), 400 * MS);
        });
    }

    /// Every call beyond those that the backend serves at once costs something.
    #[test]
    fn a_crowd_makes_a_backend_slower() {
        run(async {
            let machine = Machine { servers: 1.0, per_excess: 0.05, ..Machine::default() };
            let backend = Backend::new(machine, Discipline::Shared);
            let done = drive([Duration::ZERO; 3], |_| backend.work(Work::of(100 * MS))).await;
            // Three at once, two of them in excess: 300 ms of work at 1 / 1.1 of the speed.
            assert!(done.iter().all(|done| done.ended == 330 * MS), "{done:?}");
        });
    }

    #[test]
    fn a_load_has_steps() {
        let load = Load::steady(100.0, Duration::from_secs(50)).then(1000.0, Duration::from_secs(50));
        let arrivals: Vec<Duration> = load.arrivals(7).collect();
        let early = arrivals.iter().filter(|at| **at < Duration::from_secs(50)).count();
        assert!((4700..5300).contains(&early) && (49_000..51_000).contains(&(arrivals.len() - early)));
        assert!(arrivals.is_sorted());
        assert_eq!(arrivals, load.arrivals(7).collect::<Vec<_>>());
    }
}
