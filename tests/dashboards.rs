//! Dashboards, rules and alerts speak of every metric that the crate has, and of none that it has not; each alert has its
//! runbook and its tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use buttress::metrics::{ALL, Kind, Metric, Values};
use serde_json::Value;

const OVERVIEW: &str = include_str!("../dashboards/overview.json");
const TOOL: &str = include_str!("../dashboards/tool.json");
const RULES: &str = include_str!("../dashboards/rules.yml");
const ALERTS: &str = include_str!("../dashboards/alerts.yml");
const RUNBOOK: &str = include_str!("../dashboards/README.md");
const TESTS: [&str; 4] = [
    include_str!("../dashboards/tests/availability.yml"),
    include_str!("../dashboards/tests/latency.yml"),
    include_str!("../dashboards/tests/layers.yml"),
    include_str!("../dashboards/tests/process.yml"),
];

/// What some panels show, as promtool sees it.
const PANELS: &str = include_str!("../dashboards/tests/panels.yml");

/// What Prometheus adds to every series, and the bound of a bucket.
const EVERYWHERE: [&str; 3] = ["job", "instance", "le"];

/// All panels but the rows, those of collapsed rows among them.
fn panels(dashboard: &str) -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let (rows, panels): (Vec<Value>, Vec<Value>) =
        dashboard["panels"].as_array().unwrap().iter().cloned().partition(|panel| panel["type"] == "row");
    panels.into_iter().chain(rows.iter().flat_map(|row| row["panels"].as_array().unwrap().clone())).collect()
}

fn shown(dashboard: &str) -> Vec<String> {
    let targets = |panel: &Value| panel["targets"].as_array().unwrap().clone();
    let panels = panels(dashboard);
    let expressions = panels.iter().flat_map(targets).map(|target| target["expr"].as_str().unwrap().to_owned());
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().clone();
    let notes = annotations.iter().map(|note| note["expr"].as_str().unwrap().to_owned());
    expressions.chain(notes).collect()
}

/// The values of one key in a file that we write ourselves, one to a line.
fn lines<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    yaml.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")).collect()
}

/// Every expression that we ship.
fn expressions() -> Vec<String> {
    let rules = [RULES, ALERTS].into_iter().flat_map(|file| lines(file, "expr")).map(str::to_owned);
    [OVERVIEW, TOOL].into_iter().flat_map(shown).chain(rules).collect()
}

/// The names in an expression that have our form, as they stand in the table: without a histogram's suffixes. What a rule of
/// ours records has a colon before or behind.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = words.filter(|word| {
        word.starts_with("buttress_") || word.starts_with("tokio_") || (word.starts_with("mcp_") && word.contains("_seconds"))
    });
    ours.map(|word| word.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum")).collect()
}

/// The labels that an expression selects or groups by.
fn labels(expression: &str) -> BTreeSet<&str> {
    let selectors = expression.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    // Values have no comma in them, but for those of regular expressions, which have none either.
    let selected = selectors.flat_map(|(inside, _)| inside.split(',')).filter_map(|one| one.split(['=', '!']).next());
    let grouped = expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')')).flat_map(|(by, _)| by.split(", "));
    selected.chain(grouped).collect()
}

fn named(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

#[test]
fn every_metric_is_on_the_overview_and_no_other_is_anywhere() {
    let overview = shown(OVERVIEW);
    let shown: BTreeSet<&str> = overview.iter().flat_map(|expression| metrics(expression)).collect();
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known);
    for expression in expressions() {
        for name in metrics(&expression) {
            assert!(named(name).is_some(), "{name} in {expression}");
        }
    }
}

#[test]
fn labels_in_expressions_are_labels_of_the_metric() {
    for expression in expressions() {
        let of: Vec<&Metric> = metrics(&expression).into_iter().filter_map(named).collect();
        if of.is_empty() {
            // Of series that are not ours, or that a rule has recorded.
            continue;
        }
        let known: BTreeSet<&str> = of.iter().flat_map(|metric| metric.labels).copied().chain(EVERYWHERE).collect();
        for label in labels(&expression) {
            assert!(known.contains(label), "{label} in {expression}");
        }
    }
}

#[test]
fn what_the_alerts_read_is_recorded() {
    let recorded: BTreeSet<&str> = lines(RULES, "record").into_iter().collect();
    let read = |expression: &'static str| {
        expression.split([' ', '(', ')']).filter(|word| word.contains(":mcp_") || word.contains(":buttress_"))
    };
    for name in lines(ALERTS, "expr").into_iter().flat_map(read) {
        assert!(recorded.contains(name), "{name}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_tests() {
    let alerts: BTreeSet<&str> = lines(ALERTS, "alert").into_iter().collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let headings: BTreeSet<&str> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, alerts);
    let tested: BTreeSet<&str> = TESTS.iter().flat_map(|file| lines(file, "alertname")).collect();
    assert_eq!(tested, alerts);
    for (alert, url) in lines(ALERTS, "alert").into_iter().zip(lines(ALERTS, "runbook_url")) {
        assert_eq!(url.trim_matches('\''), format!("dashboards/README.md#{}", alert.to_lowercase()));
    }
}

/// Tools of one name on two servers are two, and so are two prompts.
#[test]
fn whoever_tells_tools_apart_tells_servers_and_prompts_apart() {
    for expression in expressions() {
        for (by, _) in expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')')) {
            let all = ["upstream", "mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "resource_template"];
            let named: Vec<bool> = all.iter().map(|label| by.split(", ").any(|one| one == *label)).collect();
            assert!(!named[2] || !named.contains(&false), "{by} in {expression}");
        }
    }
    for dashboard in [OVERVIEW, TOOL] {
        for legend in dashboard.lines().filter(|line| line.contains("{{gen_ai_tool_name}}")) {
            assert!(
                legend.contains("{{upstream}} ") && legend.contains("{{gen_ai_prompt_name}}{{resource_template}}"),
                "{legend}"
            );
        }
    }
    let links: Vec<&str> = OVERVIEW.lines().filter(|line| line.contains("/d/buttress-tool")).collect();
    assert!(!links.is_empty() && links.iter().all(|link| link.contains("var-upstream=${__field.labels.upstream}&")), "{links:?}");
}

#[test]
fn what_is_tested_of_panels_is_what_they_ask() {
    let asked: BTreeSet<String> = [OVERVIEW, TOOL].into_iter().flat_map(shown).map(|expression| filled(&expression)).collect();
    let tested = lines(PANELS, "expr");
    assert!(tested.len() > 5, "{tested:?}");
    for expression in tested {
        assert!(asked.contains(expression.trim_matches('\'')), "{expression}");
    }
}

/// An expression with its dashboard's variables filled in, as the tests of panels have them.
fn filled(expression: &str) -> String {
    ["$job", "$instance", "$upstream", "$tool"]
        .iter()
        .fold(expression.replace("$__rate_interval", "5m"), |filled, variable| filled.replace(variable, ".+"))
}

/// What is right of one process may be wrong of two.
#[test]
fn alerts_are_tested_with_two_processes() {
    for test in TESTS.iter().flat_map(|file| file.split("input_series:").skip(1)) {
        let mut jobs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for series in lines(test, "series") {
            let value = |label: &str| series.split_once(&format!("{label}=\""))?.1.split('"').next();
            jobs.entry(value("job").unwrap()).or_default().extend(value("instance"));
        }
        for (job, instances) in jobs {
            assert!(instances.len() >= 2, "{job} of {test}");
        }
    }
}

/// The title of everything on a dashboard; of a row, what stands before its explanation.
fn titles(dashboard: &str) -> BTreeSet<String> {
    let whole: Value = serde_json::from_str(dashboard).unwrap();
    let rows: Vec<Value> = whole["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "row").cloned().collect();
    let title = |panel: &Value| panel["title"].as_str().unwrap().to_owned();
    let short = |row: &Value| title(row).split(':').next().unwrap().to_owned();
    rows.iter().map(short).chain(rows.iter().map(title)).chain(panels(dashboard).iter().map(title)).collect()
}

#[test]
fn the_runbook_speaks_of_panels_that_there_are() {
    let titles = titles(OVERVIEW);
    let text = RUNBOOK.split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, _) = text.split_once("## What counts as bad").unwrap();
    let bold = first.split("**").skip(1).step_by(2).map(|words| words.trim_end_matches('.').to_owned());
    let plain = text.replace("**", "").replace(" * ", " ");
    let italic: Vec<String> = plain.split('*').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(italic.len() > 30, "{italic:?}");
    for words in bold.chain(italic).filter(|words| !["Look at", "Do"].contains(&&**words)) {
        assert!(titles.contains(&words), "{words}");
    }
    for runbook in text.split("### ").skip(1).filter(|runbook| runbook.contains("*Look at*")) {
        let (_, look) = runbook.split_once("*Look at* ").unwrap();
        assert!(look.starts_with('*') || look.starts_with("the process") || look.starts_with("its "), "{look}");
    }
}

#[test]
fn the_runbook_speaks_of_labels_and_values_that_there_are() {
    let values = |metric: &'static Metric| metric.labels.iter().filter_map(|label| metric.values(label));
    let mut known: BTreeSet<&str> = ALL.iter().flat_map(|metric| metric.labels).copied().collect();
    for value in ALL.iter().flat_map(values) {
        known.extend(if let Values::OneOf(values) = value { values } else { Vec::new() });
    }
    known.extend(ALL.iter().map(|metric| metric.name));
    // Of Prometheus, of alerts, and of the catalogue.
    known.extend(["buttress", "prometheus", "rule_files", "critical", "warning", "info", "scrape_budget"]);
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let spoken: BTreeSet<&str> = RUNBOOK.split('`').skip(1).step_by(2).filter(is_word).collect();
    assert!(spoken.len() > 10, "{spoken:?}");
    assert!(spoken.is_subset(&known), "{:?}", spoken.difference(&known).collect::<Vec<_>>());
}

/// Nobody knows how long no calls took.
#[test]
fn no_data_is_no_duration_and_no_share() {
    for panel in [OVERVIEW, TOOL].into_iter().flat_map(panels) {
        let defaults = &panel["fieldConfig"]["defaults"];
        if defaults["unit"] == "s" || defaults["unit"] == "percentunit" {
            assert_ne!(defaults["noValue"], "0", "{}", panel["title"]);
        }
    }
}

#[test]
fn budgets_are_told_by_their_names_and_by_how_long_they_last() {
    let burns =
        lines(ALERTS, "alert").into_iter().zip(lines(ALERTS, "summary")).filter(|(alert, _)| alert.ends_with("BudgetBurn"));
    for (alert, summary) in burns {
        let budget = if alert.contains("Latency") { "latency" } else { "error" };
        assert!(summary.contains(&format!("the {budget} budget of 30 days lasts ")), "{alert}: {summary}");
    }
}

#[test]
fn panels_have_words_and_units_and_a_place_of_their_own() {
    for dashboard in [OVERVIEW, TOOL] {
        let (mut taken, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels(dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty() && panel["description"].as_str().unwrap().ends_with('.'), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{title}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{title}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{title} overlaps another at {cell:?}");
            }
        }
    }
}

/// What the Prometheus conventions ask of names.
#[test]
fn names_follow_the_conventions() {
    for metric in ALL {
        let good = match metric.kind {
            Kind::Counter => metric.name.ends_with("_total"),
            Kind::Gauge => !metric.name.ends_with("_total"),
            Kind::Histogram => metric.name.ends_with("_duration_seconds"),
        };
        assert!(good && metric.help.ends_with('.'), "{metric:?}");
    }
}
