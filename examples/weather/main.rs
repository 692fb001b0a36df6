//! A weather server behind the default stack, over stdio and Streamable HTTP, with a backend that fails as real ones do.
//!
//! `cargo run --release --all-features --example weather -- --drive 8` shows it at work.

mod drive;
mod flags;
mod greeting;
mod open_meteo;
mod server;
mod stand_in;
mod weather;

use std::{
    error::Error,
    future,
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use buttress::admin::{Admin, Metrics};
use clap::Parser;
use tokio::{net::TcpListener, runtime::Runtime, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use drive::Drive;
use flags::{Flags, Unmet};
use open_meteo::OpenMeteo;
use stand_in::{Options, StandIn};
use weather::Weather;

fn main() -> ExitCode {
    let flags = Flags::parse();
    log_to_stderr(&flags);
    let ended = Runtime::new().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(run(flags));
        // Without waiting for the thread that reads stdin: it would wait for another line.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            // What the operator can mend is told apart from what went wrong by itself.
            ExitCode::from(if error.is::<Unmet>() { 2 } else { 1 })
        }
    }
}

/// Serves until told to stop; whether all that was promised was kept.
async fn run(flags: Flags) -> Result<bool, Box<dyn Error>> {
    if flags.drive.is_some() && flags.is_public() {
        return Err(Unmet::driving_the_public().into());
    }
    // First what others may have taken, so that nothing begins that cannot go on.
    let listener = match flags.stdio {
        true => None,
        false => Some(TcpListener::bind(flags.listen).await.map_err(|error| Unmet::address("--listen", flags.listen, &error))?),
    };
    let admin = Admin::bind(flags.admin).await.map_err(|error| Unmet::address("--admin", flags.admin, &error))?;
    // Before the stack and the stand-in: what they count would go nowhere.
    let metrics = Metrics::install()?;

    let stand_in = match flags.api {
        Some(_) => None,
        None => Some(StandIn::start(([127, 0, 0, 1], 0).into(), Options { seed: flags.seed, calm: flags.calm }).await?),
    };
    let backend = stand_in.as_ref().map(StandIn::url);
    let api = OpenMeteo::new(flags.endpoints(backend.clone()))?;
    let server = server::wrap(Weather::new(api.clone()), &admin);
    let mcp = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    greeting::greet(mcp, admin.local_addr(), backend.as_deref());

    let stop = CancellationToken::new();
    tokio::spawn(stop_in_time(flags.time(), stop.clone()));
    let readiness = admin.readiness();
    // Never told to stop, so that the last calls can be seen too.
    tokio::spawn(admin.serve(metrics.clone(), future::pending()));
    tokio::spawn({
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            readiness.set(false);
        }
    });

    let (Some(listener), Some(mcp)) = (listener, mcp) else {
        server::over_stdio(server, stop).await?;
        return Ok(true);
    };
    let Some(agents) = flags.drive else {
        server::http(listener, server, stop).await?;
        return Ok(true);
    };
    // The agents stop first, and the server once they have left.
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server::http(listener, server, closing.clone()));
    let drive = Drive { agents, url: greeting::mcp_url(mcp), seed: flags.seed, api, metrics };
    let kept = drive.run(stop).await?;
    closing.cancel();
    serving.await??;
    Ok(kept)
}

/// Stops at the first ctrl-c, or when `time` is over; exits at the second ctrl-c.
async fn stop_in_time(time: Option<Duration>, stop: CancellationToken) {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = async { sleep(time.unwrap_or_default()).await }, if time.is_some() => {}
    }
    tracing::info!("stopping when the calls in flight have ended; ctrl-c stops at once");
    stop.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        // What a shell reports of a process that ctrl-c has killed.
        std::process::exit(130);
    }
}

/// Logs as `RUST_LOG` says, or what an operator should see; nothing but errors where a table is drawn on the same screen.
fn log_to_stderr(flags: &Flags) {
    let drawn = flags.drive.is_some() && io::stdout().is_terminal();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(if drawn { "error" } else { "info,rmcp=error" }));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
}
