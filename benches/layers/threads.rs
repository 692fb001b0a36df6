//! One thread that calls a tool, and two: ours, and peers in the same run. What two threads cost each other is a matter of the
//! machine as much as of the layers.

use std::{sync::Barrier, thread, time::Duration};

use buttress::call::{Request, Response};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use tokio::{runtime::Handle, time::Instant};
use tower::{Layer, Service, limit::ConcurrencyLimitLayer};

use crate::{
    handlers::{Act, Handler, call, stack, target},
    peers,
};

/// The time of a call on each thread, while the others call too.
pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two_threads");
    // The request and the handler: already these share the target.
    run(&mut group, "bare", &Handler(Act::PendsOnce));
    run(&mut group, "stack", &stack().service(Handler(Act::PendsOnce)));
    run(&mut group, "five_of_ours", &peers::five_of_ours(Act::PendsOnce));
    if let Some(five) = peers::five_of_tower_resilience(Act::PendsOnce) {
        run(&mut group, "five_of_tower_resilience", &five);
    }
    run(&mut group, "tower_concurrency", &ConcurrencyLimitLayer::new(64).layer(Handler(Act::PendsOnce)));
    group.finish();
}

fn run<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, service: &S)
where
    S: Service<Request<u64>, Response = Response<&'static str>> + Clone + Send,
{
    let (target, runtime) = (target(), Handle::current());
    for threads in [1, 2] {
        group.bench_function(format!("{name}_on_{threads}"), |b| {
            b.iter_custom(|calls| {
                let barrier = Barrier::new(threads);
                let calling = |mut service: S| {
                    let _inside = runtime.enter();
                    barrier.wait();
                    let began = Instant::now();
                    for _ in 0..calls {
                        let _answer = call(&mut service, Request::new(target.clone(), 7));
                    }
                    began.elapsed()
                };
                thread::scope(|scope| {
                    let calling = &calling;
                    let others: Vec<_> = (1..threads)
                        .map(|_| {
                            let service = service.clone();
                            scope.spawn(move || calling(service))
                        })
                        .collect();
                    let own = calling(service.clone());
                    others.into_iter().filter_map(|other| other.join().ok()).fold(own, Duration::max)
                })
            });
        });
    }
}
