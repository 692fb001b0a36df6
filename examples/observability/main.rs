//! Prometheus beside a weather server in trouble, so that the dashboards and the alerts have something to show, and traces of its
//! calls.
//!
//! `cargo run --release --example observability --features admin,audit,cache,otlp,rmcp`
//!
//! For two minutes, clients of several tenants call a server whose backend is slow, throttles, hangs, panics and goes away, in
//! turns and on purpose ([`faults`]). Everything stays on this machine, in this process and one child of it: Debian's
//! `prometheus`, with the rules of `dashboards/`. It ends by itself, and leaves its data behind.
//!
//! Spans go over OTLP to a page of this process that shows the last traces ([`traces`]), or to your own collector, where the
//! usual variable names one: `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318`.

mod faults;
mod flags;
mod load;
mod plain;
mod prometheus;
mod server;
mod traces;
mod trail;
mod weather;

use std::{alloc::System, error::Error, fs, future, process::ExitCode};

use buttress::admin::{Admin, Metrics};
use cap::Cap;
use clap::Parser;
use tokio::time::sleep;

use flags::Flags;
use prometheus::Prometheus;
use traces::Traces;

/// Counts, so that one sees what the program holds.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observability: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&flags.directory)?;
    let directory = fs::canonicalize(&flags.directory)?;
    // First: what is counted or shown before it goes nowhere.
    let metrics = Metrics::install()?;
    let traces = Traces::begin(flags.traces).await?;
    let admin = Admin::bind(flags.admin).await?.allocated(|| ALLOCATOR.allocated() as u64);
    let scraped = admin.local_addr();

    let prometheus = Prometheus::start(&directory, flags.prometheus, scraped).await?;
    let (server, handle) = server::wrap(&directory, &admin)?;
    tokio::spawn(admin.serve(metrics, future::pending()));
    println!("Prometheus   {}", prometheus.url());
    println!("  alerts     {}/alerts", prometheus.url());
    println!("admin page   http://{scraped}/");
    println!("metrics      http://{scraped}/metrics");
    println!("traces       {}", traces.at());
    println!("data, audit  {}", directory.display());
    println!("In Grafana: add that Prometheus, and import dashboards/overview.json and dashboards/tool.json.");
    println!("It ends in {} s, or with ctrl-c.", flags.seconds);

    tokio::spawn(faults::come_and_go(handle));
    tokio::select! {
        ended = load::run(server) => ended?,
        () = sleep(flags.time()) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    traces.end().await?;
    prometheus.stop().await?;
    println!("Look again at what it left: {}", prometheus::again(&directory, flags.prometheus));
    Ok(())
}
