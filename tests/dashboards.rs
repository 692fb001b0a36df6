//! The overview speaks of every metric that the crate has, what a panel says can be told apart, and each alert has its runbook
//! and its tests. That none speaks of what there is not, `tests/metrics` sees to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "metrics/expression.rs"]
mod expression;

use std::collections::{BTreeMap, BTreeSet};

use buttress::metrics::{ALL, Kind, Metric, Values};
use serde_json::Value;

use expression::read;

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

/// Our metrics in an expression, as they stand in the table.
fn metrics(expression: &str) -> BTreeSet<&'static str> {
    let series = |name: &str| ["", "_bucket", "_count", "_sum"].iter().find_map(|suffix| named(name.strip_suffix(suffix)?));
    read(expression).selectors.iter().filter_map(|selector| Some(series(selector.name)?.name)).collect()
}

fn named(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

#[test]
fn every_metric_is_on_the_overview() {
    let overview = shown(OVERVIEW);
    let shown: BTreeSet<&str> = overview.iter().flat_map(|expression| metrics(expression)).collect();
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known);
}

#[test]
fn what_the_alerts_read_is_recorded() {
    let recorded: BTreeSet<&str> = lines(RULES, "record").into_iter().collect();
    let named = |expression: &'static str| read(expression).selectors.into_iter().map(|selector| selector.name);
    let asked: BTreeSet<&str> = lines(ALERTS, "expr").into_iter().flat_map(named).filter(|name| name.contains(':')).collect();
    assert!(!asked.is_empty() && asked.is_subset(&recorded), "{asked:?}");
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
        for by in read(&expression).groupings {
            let all = ["upstream", "mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "resource_template"];
            assert!(!by.contains(all[2]) || all.iter().all(|label| by.contains(label)), "{by:?} in {expression}");
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

/// Of one server the retries fail, of another the audit trail: a sum over both tells nobody whose.
#[test]
fn what_the_overview_shows_over_time_says_of_which_server() {
    let has_one =
        |expression: &str| metrics(expression).into_iter().filter_map(named).any(|metric| metric.labels.contains(&"upstream"));
    let drawn = panels(OVERVIEW).into_iter().filter(|panel| panel["type"] == "timeseries" || panel["type"] == "state-timeline");
    let mut lines = 0;
    for target in drawn.flat_map(|panel| panel["targets"].as_array().unwrap().clone()) {
        let (expression, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
        if has_one(expression) {
            lines += 1;
            assert!(read(expression).grouped().contains("upstream") && legend.contains("{{upstream}}"), "{legend}: {expression}");
        }
    }
    assert!(lines > 30, "{lines}");
}

/// Whoever is refused is so at once, and who leaves at once has waited for nothing: among them a slow tool looks quick.
#[test]
fn how_long_calls_take_is_not_told_of_those_that_were_refused_or_left() {
    let is_duration = |name: &str| {
        name == "mcp_server_operation_duration_seconds_bucket" || name == "mcp_client_operation_duration_seconds_bucket"
    };
    let mut asked = 0;
    for expression in
        [OVERVIEW, TOOL].into_iter().flat_map(shown).filter(|expression| expression.starts_with("histogram_quantile("))
    {
        for selector in read(&expression).selectors.iter().filter(|selector| is_duration(selector.name)) {
            asked += 1;
            assert!(selector.matchers.contains(&("error_type", "!~", "rejected|cancelled")), "{expression}");
        }
    }
    assert_eq!(asked, 11);
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
    let chosen = [("$__rate_interval", "5m"), ("${upstream:regex}", "github"), ("${tool:regex}", r"get\.weather")];
    let all = ["$job", "$instance", "$upstream"].map(|variable| (variable, ".+"));
    chosen.into_iter().chain(all).fold(expression.to_owned(), |filled, (variable, value)| filled.replace(variable, value))
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
    known.extend(["buttress", "prometheus", "instance", "critical", "warning", "info", "scrape_budget"]);
    known.extend(["convert_classic_histograms_to_nhcb", "up"]);
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
