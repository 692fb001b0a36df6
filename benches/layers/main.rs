//! What each layer costs, and the whole stack, beside what its peers cost: `cargo bench --all-features --bench layers`.
//!
//! Everything runs on one thread unless it says otherwise, in one run, with a Prometheus recorder installed. Services are built
//! outside the timed loop, futures are polled by hand, so that no runtime's own cost is in the figures. At the end a table of
//! medians is printed; see `benches/README.md` for how to read it.

mod handlers;
mod ours;
mod peers;
mod table;
mod threads;

use std::time::Duration;

use buttress::admin::Metrics;
use criterion::Criterion;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return };
    let _inside = runtime.enter();
    let metrics = Metrics::install();
    if let Ok(metrics) = &metrics {
        let metrics = metrics.clone();
        runtime.spawn(async move { metrics.upkeep().await });
    }
    // Medians settle soon, and the whole is to be over in minutes.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    ours::admitted(&mut criterion);
    ours::refused(&mut criterion);
    threads::all(&mut criterion);
    peers::admitted(&mut criterion);
    peers::refused(&mut criterion);
    criterion.final_summary();
    table::print();
}
