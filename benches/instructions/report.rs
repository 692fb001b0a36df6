//! The figures beside those that are kept.

use std::{collections::HashMap, fmt::Write, fs, path::Path, process::ExitCode};

/// What one call costs.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub instructions: u64,
    pub allocations: f64,
}

/// All figures of one run.
#[derive(Debug)]
pub struct Report(Vec<(&'static str, Figure)>);

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.md");

/// How much more than is kept is too much.
const TOLERANCE: f64 = 1.03;

const HEAD: &str = "# Instructions and allocations a call

Written by `cargo bench --all-features --bench instructions -- --write`; a figure that grows by more than 3 % fails the checks.
Each case is a call through the layer named around a handler that answers when it is first polled, unless it says `pends`
(found pending once) or `refused`; nobody listens to what is `traced`; `bare` is the handler alone, and is in all others. Counted by callgrind, user space only.

| case | instructions | allocations |
|---|---|---|
";

impl Report {
    pub const fn new(figures: Vec<(&'static str, Figure)>) -> Self {
        Self(figures)
    }

    /// Prints the figures; writes them, or says whether they are no worse than those that are kept.
    pub fn settle(&self, write: bool) -> ExitCode {
        let mut text = HEAD.to_owned();
        for (name, Figure { instructions, allocations }) in &self.0 {
            let _infallible = writeln!(text, "| {name} | {instructions} | {allocations:.3} |");
        }
        println!("{text}");
        if write {
            return match fs::write(KEPT, text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{KEPT}: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        let kept = read(Path::new(KEPT));
        let mut worse = false;
        for (name, now) in &self.0 {
            let Some(before) = kept.get(*name) else {
                eprintln!("{name}: nothing is kept to compare with; run with --write");
                worse = true;
                continue;
            };
            let grown = now.instructions as f64 > before.instructions as f64 * TOLERANCE;
            // A block of samples more or less in a run is no allocation a call.
            if grown || now.allocations > before.allocations + 0.01 {
                eprintln!("{name}: {before:?} is kept, {now:?} was counted");
                worse = true;
            }
        }
        if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn read(path: &Path) -> HashMap<String, Figure> {
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.to_owned();
        Some((name, Figure { instructions: cells.next()?.parse().ok()?, allocations: cells.next()?.parse().ok()? }))
    };
    fs::read_to_string(path).unwrap_or_default().lines().filter_map(row).collect()
}
