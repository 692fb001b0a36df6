//! Instructions and allocations a call, which do not depend on the machine's mood:
//! `cargo bench --all-features --bench instructions`.
//!
//! Each case is run under callgrind, which counts inside of [`counted_calls`](cases::counted_calls) alone: what is made once, or
//! on the first calls, is not in the figures. They are held against `benches/instructions.md`, and the run fails if one has grown
//! by more than 3 %. `-- --write` writes that file anew. Needs valgrind. Without `--bench`, as `cargo test` runs it, each case is
//! only run for a few calls.

mod cases;
#[path = "../layers/handlers.rs"]
#[expect(dead_code, reason = "shared with the other bench, which uses all of it")]
mod handlers;
mod report;

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use cases::CASES;
use report::{Figure, Report};

const CALLS: u64 = 2_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let [case, calls] = &arguments[..]
        && let (Some(case), Ok(calls)) = (CASES.iter().find(|(name, _)| name == case), calls.parse())
    {
        case.1(calls);
        return ExitCode::SUCCESS;
    }
    if !has("--bench") {
        CASES.iter().for_each(|(_, run)| run(3));
        return ExitCode::SUCCESS;
    }
    let measured: Result<Vec<_>, String> = CASES.iter().map(|(name, run)| Ok((*name, measure(name, *run)?))).collect();
    match measured {
        Ok(figures) => Report::new(figures).settle(has("--write")),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(name: &str, run: fn(u64)) -> Result<Figure, String> {
    let instructions = instructions(name)? / CALLS;
    run(CALLS);
    let allocations = cases::allocations() as f64 / CALLS as f64;
    Ok(Figure { instructions, allocations })
}

/// What a process of its own executes for the calls of a case.
fn instructions(name: &str) -> Result<u64, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let out = env::temp_dir().join(format!("buttress-callgrind-{}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no", "--toggle-collect=*counted_calls*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args([name, &CALLS.to_string()])
        .status()
        .map_err(|error| format!("valgrind cannot be run ({error}): install it"))?;
    let text = fs::read_to_string(&out).unwrap_or_default();
    let _removed = fs::remove_file(&out);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    match total.and_then(|total| total.split(' ').next()?.parse().ok()) {
        Some(total) if status.success() => Ok(total),
        _ => Err(format!("callgrind counted nothing for {name}: {status}")),
    }
}
