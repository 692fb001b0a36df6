//! What is shown of it all: a table, or lines.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use super::{
    series::{Labels, Series},
    tally::{Kind, Row, Rows},
};

/// A moment of the run, ready to be shown.
#[derive(Debug)]
pub struct View {
    agents: usize,
    elapsed: Duration,
    rows: Rows,
    total: Row,
    /// What the server and the stand-in say, under headings.
    facts: Vec<(&'static str, Vec<String>)>,
}

impl View {
    pub fn new(agents: usize, elapsed: Duration, rows: Rows, series: &Series) -> Self {
        let mut total = Row::default();
        rows.iter().for_each(|row| total.merge(row));
        let errors = total.errors.iter().map(|(class, count)| format!("{class} {count}"));
        let answers = [format!("ok {}", total.ok)].into_iter().chain(errors).chain(unanswered(&total)).collect();
        let facts = vec![
            ("answers", answers),
            ("attempts", attempts(series)),
            ("retries", series.by("buttress_retries_total", "outcome")),
            ("refusals", series.by("buttress_rejections_total", "reason")),
            ("breaker", breaker(series)),
            ("stand-in", series.by("weather_stand_in_faults_total", "kind")),
        ];
        Self { agents, elapsed, rows, total, facts }
    }

    fn rate(&self) -> f64 {
        self.total.calls as f64 / self.elapsed.as_secs_f64().max(1.0)
    }

    /// The whole table.
    pub fn table(&self) -> String {
        let (old, new) = (self.agents.div_ceil(2), self.agents / 2);
        let (seconds, rate) = (self.elapsed.as_secs(), self.rate());
        let mut text = format!("\n{old} agents of 2025-11-25, {new} of 2026-07-28 · {seconds} s · {rate:.0} calls a second\n\n");
        let mut row = |name: &str, cells: [&dyn Display; 5]| {
            let [calls, ok, errors, p50, p95] = cells;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:24}{calls:>8}{ok:>8}{errors:>8}{p50:>10}{p95:>10}");
        };
        row("", [&"calls", &"ok", &"errors", &"p50", &"p95"]);
        let named = Kind::ALL.iter().map(|kind| kind.name()).zip(&self.rows);
        for (name, Row { calls, ok, latencies, .. }) in named.chain([("all", &self.total)]) {
            let [p50, p95] = [0.50, 0.95].map(|share| millis(latencies.percentile(share)));
            row(name, [calls, ok, &(calls - ok), &p50, &p95]);
        }
        text.push('\n');
        for (heading, facts) in &self.facts {
            if facts.is_empty() {
                let _ = writeln!(text, "{heading:10}none");
            }
            // Three a line, which fits the narrowest of terminals.
            for (line, facts) in facts.chunks(3).enumerate() {
                let heading = if line == 0 { heading } else { "" };
                let _ = writeln!(text, "{heading:10}{}", facts.join(" · "));
            }
        }
        text
    }

    /// The table in the place of the one before it, which had `drawn` lines.
    pub fn redrawn(&self, drawn: &mut usize) -> String {
        let table = self.table();
        let up = match *drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        };
        *drawn = table.lines().count();
        // Lines that do not fit are cut, for a wrapped one would count as two.
        format!("{up}\x1b[?7l{table}\x1b[?7h")
    }

    /// All in one line.
    pub fn line(&self) -> String {
        let [p50, p95] = [0.50, 0.95].map(|share| millis(self.total.latencies.percentile(share)));
        let mut text = format!("{:>4} s  {} calls, p50 {p50}, p95 {p95}", self.elapsed.as_secs(), self.total.calls);
        for (heading, facts) in self.facts.iter().filter(|(_, facts)| !facts.is_empty()) {
            let _ = write!(text, " | {heading}: {}", facts.join(", "));
        }
        text.push('\n');
        text
    }
}

fn unanswered(total: &Row) -> Option<String> {
    (total.unanswered > 0).then(|| format!("unanswered {}", total.unanswered))
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{} ms", latency.as_millis()))
}

/// How many attempts the calls of tools took.
fn attempts(series: &Series) -> Vec<String> {
    let tools = |labels: Labels<'_>| labels.get("mcp_method_name") == "tools/call";
    let calls = series.sum("mcp_server_operation_duration_seconds_count", tools);
    let attempts = series.sum("mcp_client_operation_duration_seconds_count", tools);
    if calls > 0.0 { vec![format!("{attempts} for {calls} tool calls, {:.2} each", attempts / calls)] } else { Vec::new() }
}

/// Who is not closed, and how often any breaker has changed its mind.
fn breaker(series: &Series) -> Vec<String> {
    let states = series.samples("buttress_circuit_breaker_state");
    let apart = states.filter(|(labels, value)| *value > 0.0 && labels.get("state") != "closed");
    let mut facts: Vec<String> = apart
        .map(|(labels, _)| {
            let name = match (labels.get("gen_ai_tool_name"), labels.get("mcp_method_name")) {
                ("", "") => "all together",
                ("", _) => "other calls",
                (tool, _) => tool,
            };
            format!("{name} {}", labels.get("state"))
        })
        .collect();
    if facts.is_empty() {
        facts.push("closed".to_owned());
    }
    facts.push(format!("transitions {}", series.sum("buttress_circuit_breaker_transitions_total", |_| true)));
    facts
}
