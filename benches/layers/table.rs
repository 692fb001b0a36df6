//! The table at the end: medians as criterion has written them, with what they are to be held against.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

/// Median nanoseconds by group and name.
type Medians = BTreeMap<(String, String), f64>;

pub fn print() {
    let medians = read();
    let of = |group: &str, name: &str| medians.get(&(group.to_owned(), name.to_owned())).copied();
    let mut groups: Vec<&str> = medians.keys().map(|(group, _)| &**group).collect();
    groups.dedup();
    for group in groups {
        let bare = of(group, "bare").unwrap_or(0.0);
        println!("\n| {group} | ns | over bare |\n|---|---|---|");
        for ((_, name), ns) in medians.iter().filter(|((of, _), _)| of == group) {
            println!("| {name} | {ns:.0} | {:.0} |", ns - bare);
        }
    }
    println!("\n| ratio | |\n|---|---|");
    for group in ["ready", "pends_once", "works_1us"] {
        let peers = format!("peers_{group}");
        let cost = |group: &str, name: &str| Some(of(group, name)? - of(group, "bare")?);
        for (what, ours, theirs) in [
            ("five layers, of tower-resilience's time", "five_of_ours", "five_of_tower_resilience"),
            ("concurrency, of tower's ConcurrencyLimit", "our_concurrency", "tower_concurrency"),
            ("timeout, of tower's Timeout", "our_timeout", "tower_timeout"),
            ("quota, overall, of tower_governor's layer", "our_quota_overall", "tower_governor"),
            ("quota, of a plain governor check", "our_quota", "governor_keyed"),
        ] {
            if let (Some(ours), Some(theirs)) = (cost(&peers, ours), cost(&peers, theirs)) {
                println!("| {group}: {what} | {:.2} |", ours / theirs);
            }
        }
    }
    for what in ["bare", "stack", "five_of_ours", "five_of_tower_resilience", "tower_concurrency"] {
        let on = |threads: u8| of("two_threads", &format!("{what}_on_{threads}"));
        if let (Some(one), Some(two)) = (on(1), on(2)) {
            println!("| two threads on one tool, of one thread's time: {what} | {:.2} |", two / one);
        }
    }
}

fn read() -> Medians {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let mut medians = Medians::new();
    let groups = fs::read_dir(target.join("criterion")).into_iter().flatten().flatten();
    for group in groups {
        for bench in fs::read_dir(group.path()).into_iter().flatten().flatten() {
            let median = fs::read(bench.path().join("new/estimates.json"))
                .ok()
                .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
                .and_then(|estimates| estimates["median"]["point_estimate"].as_f64());
            if let Some(median) = median {
                let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
                medians.insert((name(&group), name(&bench)), median);
            }
        }
    }
    medians
}
