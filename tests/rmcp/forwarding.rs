//! A method that a new rmcp adds to `ServerHandler` has a default, so the wrapper still compiles without it, and its calls
//! would pass the handler by. These tests read both sources and compare.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

/// The methods that rmcp's `ServerHandler` declares, from the macro that declares them.
pub fn declared(rmcp: &str) -> BTreeSet<String> {
    let (_, rest) = rmcp.split_once("macro_rules! server_handler_methods").expect("rmcp declares its methods in another way now");
    let (body, _) = rest.split_once("\n}\n").expect("the macro ends");
    body.lines().filter_map(name_of_fn).collect()
}

/// The methods that our wrapper implements: written out, or listed in its `forward!`.
fn forwarded(ours: &str) -> BTreeSet<String> {
    let (_, body) = ours.split_once("ServerHandler for Server<H> {").expect("the wrapper is written in another way now");
    let listed = |line: &str| {
        let (name, rest) = line.trim().split_once('(')?;
        (rest.contains(") -> ") && rest.ends_with(':') && is_name(name)).then(|| name.to_owned())
    };
    body.lines().filter_map(|line| name_of_fn(line).or_else(|| listed(line))).collect()
}

fn name_of_fn(line: &str) -> Option<String> {
    let line = line.trim_start();
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = line.strip_prefix("fn ")?.split_once(['(', '<'])?;
    is_name(name).then(|| name.to_owned())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The methods that rmcp has and the wrapper has not.
fn missing(rmcp: &str, ours: &str) -> Vec<String> {
    let (declared, forwarded) = (declared(rmcp), forwarded(ours));
    assert!(declared.len() >= 32 && declared.contains("call_tool"), "read only {declared:?} from rmcp");
    declared.difference(&forwarded).cloned().collect()
}

/// rmcp's version and its `handler/server.rs`, as Cargo.lock pins them.
pub fn rmcp_source() -> (String, String) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let rmcp: Vec<_> = packages.iter().filter(|package| package["name"] == "rmcp").collect();
    let [rmcp] = rmcp[..] else { panic!("{} packages are called rmcp", rmcp.len()) };
    let text = |key: &str| rmcp[key].as_str().expect("a string").to_owned();
    let source = PathBuf::from(text("manifest_path")).with_file_name("src/handler/server.rs");
    let source = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    (text("version"), source)
}

fn wrapper_source() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/adapters/rmcp/server.rs")).expect("our own source")
}

#[test]
fn the_wrapper_forwards_every_method() {
    let (version, rmcp) = rmcp_source();
    let missing = missing(&rmcp, &wrapper_source());
    assert!(
        missing.is_empty(),
        "rmcp {version} has ServerHandler methods that buttress::rmcp::Server does not forward: {missing:?}.\n\
         A wrapped server answers them with rmcp's default, whatever its handler says. For each: add it to `forward!` in \
         src/adapters/rmcp/server.rs (or write it out there), to `Method` if it is a request of its own, and to \
         tests/rmcp/rich and tests/rmcp/script.rs."
    );
}

#[test]
fn a_method_that_is_not_forwarded_is_found() {
    let ((_, rmcp), ours) = (rmcp_source(), wrapper_source());
    let planted = rmcp.replacen("        fn ping(", "        fn brand_new<T>(&self, t: T) {}\n        fn ping(", 1);
    assert_eq!(missing(&planted, &ours), ["brand_new"]);
    // Both ways to forward count, and each only while it is there.
    assert_eq!(missing(&rmcp, &ours.replace("get_skill(", "got_skill(")), ["get_skill"]);
    assert_eq!(missing(&rmcp, &ours.replace("fn on_progress(", "fn on_regress(")), ["on_progress"]);
}
