//! Code, reference, dashboards and rules speak of the same metrics, labels and values: what is renamed in one place is
//! missed in the others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod expression;

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use buttress::metrics::{ALL, Kind, Metric, REJECTIONS, Values};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use regex::Regex;
use serde_json::Value;

use expression::read;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files beside the dashboards that end so, and what is in them.
fn files(ending: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let ours = entries.filter(|path| path.extension().is_some_and(|extension| extension == ending));
    ours.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())).collect()
}

/// All texts under this key, wherever they stand.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|member| texts(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// The expressions of a file of rules: what follows an `expr:`, up to the next key.
fn rules(text: &str) -> Vec<String> {
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.split_once(':').is_some_and(|(key, rest)| {
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_') && (rest.is_empty() || rest.starts_with(' '))
        })
    };
    let mut found: Vec<String> = Vec::new();
    let mut within = false;
    for line in text.lines() {
        if let Some(expression) = line.trim_start().trim_start_matches("- ").strip_prefix("expr:") {
            found.push(expression.trim().trim_start_matches(['|', '>', '-']).to_owned());
            within = true;
        } else if is_key(line) {
            within = false;
        } else if within {
            let expression = found.last_mut().unwrap();
            expression.push('\n');
            expression.push_str(line);
        }
    }
    found
}

/// Every expression there is, with the file that it stands in.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, text) in files("json") {
        let (dashboard, mut found) = (serde_json::from_str(&text).unwrap(), Vec::new());
        ["expr", "query", "definition"].iter().for_each(|key| texts(&dashboard, key, &mut found));
        all.extend(found.into_iter().map(|expression| (file.clone(), expression.to_owned())));
    }
    for (file, text) in files("yml").into_iter().chain(files("yaml")) {
        all.extend(rules(&text).into_iter().map(|expression| (file.clone(), expression)));
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

/// Whether a name has our form, and is not a recorded one.
fn is_ours(name: &str) -> bool {
    !name.contains(':') && ["buttress_", "mcp_server_", "mcp_client_", "tokio_runtime_"].iter().any(|ours| name.starts_with(ours))
}

/// The metric of a series: a histogram has three.
fn metric(series: &str) -> Result<(&'static Metric, bool), String> {
    let found = ALL.iter().find_map(|metric| match series.strip_prefix(metric.name)? {
        "" if metric.kind != Kind::Histogram => Some((metric, false)),
        "_bucket" if metric.kind == Kind::Histogram => Some((metric, true)),
        "_count" | "_sum" if metric.kind == Kind::Histogram => Some((metric, false)),
        _ => None,
    });
    found.ok_or_else(|| format!("there is no series {series}"))
}

/// What Prometheus adds.
const TARGET: [&str; 2] = ["job", "instance"];

/// What is wrong with an expression.
fn check(expression: &str) -> Result<(), String> {
    let found = read(expression);
    let (mut labels, mut recorded) = (BTreeSet::from(TARGET), false);
    for selector in &found.selectors {
        recorded |= selector.name.contains(':') || !is_ours(selector.name);
        if !is_ours(selector.name) {
            continue;
        }
        let (metric, buckets) = metric(selector.name)?;
        labels.extend(metric.labels);
        labels.extend(buckets.then_some("le"));
        for (label, operator, value) in &selector.matchers {
            if TARGET.contains(label) || (buckets && *label == "le") {
                continue;
            }
            let values = metric.values(label).ok_or_else(|| format!("{} has no label {label}", metric.name))?;
            let values = match values {
                Values::OneOf(values) => values,
                Values::Layer(layers) => layers.to_vec(),
                _ => continue,
            };
            let said: Vec<&str> = if operator.ends_with('~') { value.split('|').collect() } else { vec![value] };
            for one in said.iter().filter(|one| !one.is_empty() && !one.contains(['$', '.', '*', '+', '[', '('])) {
                if !values.contains(one) {
                    return Err(format!("{} never says {label}={one:?}, but {values:?}", metric.name));
                }
            }
        }
    }
    // Of what is recorded elsewhere we know that it has labels of ours.
    if recorded {
        labels.extend(ALL.iter().flat_map(|metric| metric.labels));
    }
    match found.grouped().into_iter().find(|label| !labels.contains(label)) {
        Some(label) => Err(format!("nothing in it has a label {label}")),
        None => Ok(()),
    }
}

#[test]
fn expressions_speak_of_what_is_in_the_table() {
    let wrong: Vec<_> =
        expressions().into_iter().filter_map(|(file, expression)| Some((file, check(&expression).err()?, expression))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_renamed_is_missed() {
    for right in [
        r#"sum by (layer, reason) (rate(buttress_rejections_total{job=~"$job",reason=~"quota|shed"}[5m]))"#,
        r#"histogram_quantile(0.5, sum by (le) (rate(mcp_server_operation_duration_seconds_bucket{le="5"}[5m])))"#,
        r#"sum by (upstream) (job:anything:rate5m)"#,
    ] {
        assert_eq!(check(right), Ok(()), "{right}");
    }
    for wrong in [
        "rate(buttress_refusals_total[5m])",
        "rate(mcp_server_operation_duration_seconds[5m])",
        "buttress_requests_in_flight_count",
        r#"buttress_rejections_total{why="quota"}"#,
        r#"buttress_rejections_total{reason="quotas"}"#,
        r#"buttress_rejections_total{reason=~"quota|queue_ful"}"#,
        r#"buttress_rejections_total{layer!="deadlines"}"#,
        "sum by (tool) (buttress_rejections_total)",
        "sum by (le) (rate(mcp_server_operation_duration_seconds_count[5m]))",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
}

/// `{{label}}` of legends, and `{{ $labels.label }}` of alerts.
#[test]
fn legends_and_alerts_name_labels_that_there_are() {
    let known: BTreeSet<&str> = ALL.iter().flat_map(|metric| metric.labels).copied().chain(TARGET).chain(["le"]).collect();
    for (file, text) in files("json").into_iter().chain(files("yml")) {
        for name in text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim())) {
            let label = match name.split_once("$labels.") {
                Some((_, rest)) => rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(rest),
                None if name.contains('$') || name.contains(' ') => continue,
                None => name,
            };
            assert!(known.contains(label), "{label} in {file}");
        }
    }
}

/// The files of a folder and of those within it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

fn layers() -> BTreeSet<&'static str> {
    match REJECTIONS.values("layer") {
        Some(Values::Layer(layers)) => layers.iter().copied().collect(),
        _ => BTreeSet::new(),
    }
}

/// Each refusal in the code bears a name that is in the list, and the list has no other.
#[test]
fn whoever_refuses_is_in_the_list() {
    let named = Regex::new(r#"(?:Rejected|Observed)::new\(\s*"(\w+)"|"(\w+)",\s*Reason::|REJECTIONS,\s*&\[\s*"(\w+)""#).unwrap();
    let mut found = BTreeSet::new();
    for path in below(&root().join("src")).into_iter().filter(|path| !path.to_string_lossy().ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for said in named.captures_iter(&code.join("\n")) {
            found.extend(said.iter().skip(1).flatten().map(|name| name.as_str().to_owned()));
        }
    }
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), layers());
}

/// Also where no expression is: in scripts, tests of rules, and documents.
#[test]
fn who_is_said_to_refuse_is_in_the_list() {
    let named = Regex::new(r#"\blayer *(?:=|!=|=~|!~) *\\?"([\w|]+)\\?""#).unwrap();
    let documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "METRICS.md"].map(|file| root().join(file));
    let ours = ["py", "yml", "json", "md", "rs"];
    let is_ours = |path: &PathBuf| path.extension().is_some_and(|extension| ours.iter().any(|ours| extension == *ours));
    let files = ["dashboards", "src"].into_iter().flat_map(|folder| below(&root().join(folder))).chain(documents);
    let mut found = 0;
    for path in files.filter(is_ours) {
        for said in named.captures_iter(&fs::read_to_string(&path).unwrap()) {
            for layer in said[1].split('|') {
                assert!(layers().contains(layer), "{layer} in {}", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}

/// `src/metrics/labels.rs` has to know all.
#[test]
fn there_is_no_label_without_a_word_on_what_it_may_say() {
    for metric in ALL {
        for label in metric.labels {
            assert!(metric.values(label).is_some(), "{label} of {}", metric.name);
        }
    }
}

/// The reference, as the table has it.
fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\nWritten from the table in `src/metrics.rs` by `WRITE=1 cargo test --test metrics`; what they mean together, \
         what they cost and what is there from the start stands in its docs. An empty label is an absent one. The last column names \
         the modules that record a metric, whose docs have more.\n\n| metric | kind | labels | what | by |\n|---|---|---|---|---|\n",
    );
    let recorders = recorders();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let by: Vec<_> =
            recorders.iter().filter(|(_, name)| *name == metric.name).map(|(layer, _)| format!("`{layer}`")).collect();
        writeln!(text, "| `{}` | {kind} | {} | {} | {} |", metric.name, labels.join(", "), metric.help, by.join(", ")).unwrap();
    }
    text.push_str("\n# Labels\n\n| label | of | values |\n|---|---|---|\n");
    let labels: BTreeSet<&str> = ALL.iter().flat_map(|metric| metric.labels).copied().collect();
    for label in labels {
        // Those that say the same are one row.
        let mut rows: Vec<(Values, Vec<String>)> = Vec::new();
        for (metric, values) in ALL.iter().filter_map(|metric| Some((metric, metric.values(label)?))) {
            let name = format!("`{}`", metric.name);
            match rows.iter_mut().find(|(known, _)| *known == values) {
                Some((_, of)) => of.push(name),
                None => rows.push((values, vec![name])),
            }
        }
        let alone = rows.len() == 1;
        for (values, of) in rows {
            let values = match values {
                Values::OneOf(values) => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
                Values::Ours => "what the operator calls it, or this process says of itself, made fit for a label".to_owned(),
                Values::Listed => {
                    "a name of the upstream's own list, of up to 128 of `A-Z a-z 0-9 _ . / -`; any other is `_OTHER`".to_owned()
                }
                Values::ListedTemplate => {
                    "a resource template of the upstream's own list, of up to 128 of a URI's characters and braces; any other is `_OTHER`"
                        .to_owned()
                }
                Values::Layer(layers) => {
                    let layers: Vec<_> = layers.iter().map(|layer| format!("`{layer}`")).collect();
                    format!(
                        "{}: layers by the names of their modules; `connection`: one of an rmcp client's that carries all the calls it can; \
                         `subscriptions`: the cap on `subscriptions/listen`; `load_shed`: any layer that sheds with tower's error. A layer \
                         of your own says what its `Rejected` says",
                        layers.join(", ")
                    )
                }
                other => format!("{other:?}"),
            };
            let of = if alone && of.len() > 3 { "all that have it".to_owned() } else { of.join(", ") };
            writeln!(text, "| `{label}` | {of} | {values} |").unwrap();
        }
    }
    text
}

/// Which module says in its docs that it records which metric.
fn recorders() -> Vec<(String, &'static str)> {
    let table = fs::read_to_string(root().join("src/metrics.rs")).unwrap();
    let named = |id: &str| {
        let rows = table.lines().filter_map(|line| line.trim().strip_prefix(id)?.strip_prefix(" = "));
        let name = rows.filter_map(|row| row.split('"').nth(1)).next()?;
        ALL.iter().find(|metric| metric.name == name).map(|metric| metric.name)
    };
    let mut found = BTreeSet::new();
    for path in below(&root().join("src")).into_iter().filter(|path| path.ends_with("mod.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let docs = text.lines().filter(|line| line.starts_with("//!")).collect::<String>();
        let folder = path.parent().unwrap().strip_prefix(root().join("src")).unwrap();
        let module = folder.to_string_lossy().replace('/', "::");
        let ids = docs.split("(crate::metrics::").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        found.extend(ids.filter_map(named).map(|name| (module.clone(), name)));
    }
    found.into_iter().collect()
}

/// Whatever recorder they are described to, so that the overview has its processes.
#[test]
fn who_is_told_of_the_metrics_is_told_of_the_version() {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, buttress::metrics::describe);
    let said = recorder.snapshotter().snapshot().into_vec();
    let [(key, .., DebugValue::Gauge(value))] = &said[..] else { panic!("{said:?}") };
    let version = key.key().labels().next().map(|label| label.value());
    assert_eq!((key.key().name(), version), ("buttress_build_info", Some(env!("CARGO_PKG_VERSION"))));
    assert_eq!(value.into_inner(), 1.0);
}

#[test]
fn the_reference_says_what_the_table_says() {
    let (path, reference) = (root().join("METRICS.md"), reference());
    if std::env::var_os("WRITE").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = reference.lines().zip(written.lines().chain(std::iter::repeat(""))).find(|(says, is)| says != is);
    assert!(written == reference, "METRICS.md is not what the table says: `WRITE=1 cargo test --test metrics`: {differs:?}");
}
