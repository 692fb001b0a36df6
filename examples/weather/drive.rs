//! The load: agents that call the server over HTTP as anybody would, and an account of what became of their calls.

mod agent;
mod answer;
mod ledger;
mod series;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use buttress::admin::Metrics;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, interval_at},
};
use tokio_util::sync::CancellationToken;

use crate::open_meteo::OpenMeteo;
use agent::Agent;
use ledger::Ledger;
use series::Series;
use table::View;
use tally::Tally;

/// Between two tables.
const REDRAW: Duration = Duration::from_secs(1);
/// Between two lines, where nothing can be redrawn.
const LINE: Duration = Duration::from_secs(3);

/// A load that is ready to start.
#[derive(Debug)]
pub struct Drive {
    /// How many.
    pub agents: NonZeroUsize,
    /// Where they find the server.
    pub url: String,
    /// Decides what they ask.
    pub seed: u64,
    /// The backend itself, to be asked in the end what really happened.
    pub api: OpenMeteo,
    /// What the server says of itself.
    pub metrics: Metrics,
}

/// What all agents write to.
#[derive(Debug, Default)]
struct Books {
    tally: Tally,
    ledger: Ledger,
}

impl Drive {
    /// Runs until `stop`, waits for the last answers, and tells whether each report had the effect that its caller was told
    /// of, and each call an answer.
    pub async fn run(self, stop: CancellationToken) -> Result<bool, Box<dyn Error>> {
        let books = Arc::new(Books::default());
        let mut agents = JoinSet::new();
        for number in 1..=self.agents.get() {
            let agent = Agent::connect(number, &self.url, self.seed, books.clone()).await?;
            agents.spawn(agent.work(stop.clone()));
        }

        let started = Instant::now();
        let drawn = io::stdout().is_terminal();
        let mut lines_drawn = 0;
        let pause = if drawn { REDRAW } else { LINE };
        let mut moments = interval_at(started + pause, pause);
        loop {
            tokio::select! {
                _ = moments.tick() => {
                    let view = self.view(&books, started).await?;
                    let shown = if drawn { view.redrawn(&mut lines_drawn) } else { view.line() };
                    show(&shown)?;
                }
                agent = agents.join_next() => match agent {
                    Some(agent) => agent?,
                    None => break,
                },
            }
        }

        let view = self.view(&books, started).await?;
        show(&if drawn { view.redrawn(&mut lines_drawn) } else { view.table() })?;
        let held = self.api.observations().await.map_err(|error| format!("The reports could not be checked: {error}."))?;
        let audit = books.ledger.audit(&held);
        show(&audit.to_string())?;
        let unanswered = books.tally.unanswered();
        if unanswered > 0 {
            show(&format!("BROKEN: {unanswered} calls had no answer\n"))?;
        }
        Ok(audit.is_kept() && unanswered == 0)
    }

    async fn view(&self, books: &Books, started: Instant) -> Result<View, Box<dyn Error>> {
        let metrics = self.metrics.clone();
        // Rendering takes a while where there are many series.
        let series = Series::new(spawn_blocking(move || metrics.render()).await?);
        Ok(View::new(self.agents.get(), started.elapsed(), books.tally.rows(), &series))
    }
}

/// Writes to stdout: unlike `print!` it can fail, as when the reader has left.
fn show(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
