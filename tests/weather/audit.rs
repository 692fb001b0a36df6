//! What callers and backend counted, held against what the server's metrics say.

use buttress::metrics::{CLIENT_DURATION, Metric, REJECTIONS, RETRIES, RETRIES_SKIPPED, SERVER_DURATION, TIMEOUTS};
use rmcp::model::{ReadResourceRequestParams, ResourceContents};

use crate::{
    act::{FORECASTS, Stage},
    ask::{FORECAST, PACKING_LIST, REPORT, TOOLS, Target, WEATHER},
    open_meteo::{Endpoints, Observation, OpenMeteo},
    patience::until,
    series::Series,
    weather,
};

const SEARCHES: &str = "/v1/search";
const OBSERVATIONS: &str = "/v1/observations";

/// `error_type` and `rpc_response_status_code`.
type Outcome = (&'static str, &'static str);

/// What a caller knows by `class`, and under which `error_type` and status the server counts it.
const CLASSES: [(&[&str], &[Outcome]); 7] = [
    (&["ok"], &[("", "")]),
    (&["tool_error"], &[("tool_error", "")]),
    // A request that is at fault is no error of the server's.
    (&["-32602"], &[("", "-32602")]),
    (&["throttled"], &[("throttled", "")]),
    (&["not_sent"], &[("not_sent", "")]),
    (&["ambiguous", "outcome_unknown"], &[("ambiguous", ""), ("timeout", ""), ("-32603", "-32603")]),
    (&["local_reject"], &[("rejected", "")]),
];

/// Series of one target, counted by `error_type` and status.
fn count(series: &Series, metric: Metric, target: Target, errors: &[Outcome]) -> i64 {
    let of = |(error, status): &Outcome| {
        let outcome = [("error_type", *error), ("rpc_response_status_code", *status)];
        series.sum(metric, &[target.labels().as_slice(), &outcome].concat())
    };
    errors.iter().map(of).sum()
}

impl Stage {
    /// What holds at any time at which no call is in flight: every call has been counted once, as what its caller saw.
    pub async fn audit_calls(&self) -> Series {
        let series = Series::at_rest(&self.metrics).await;
        let books = &self.crowd.books;
        for target in books.targets() {
            let labels = target.labels();
            assert_eq!(series.sum(SERVER_DURATION, &labels), books.calls(target), "calls of {target:?}");
            let cancelled = series.sum(SERVER_DURATION, &[labels.as_slice(), &[("error_type", "cancelled")]].concat());
            assert_eq!(cancelled, books.answers(target, &["cancelled"]), "{target:?} taken back");
            for (classes, errors) in CLASSES {
                let counted = count(&series, SERVER_DURATION, target, errors);
                assert_eq!(counted, books.answers(target, classes), "{classes:?} of {target:?}");
            }
        }
        for tool in TOOLS {
            let (target, label) = (Target::Tool(tool), ("gen_ai_tool_name", tool));
            for (reason, refused) in books.refusals(target) {
                let counted = series.sum(REJECTIONS, &[label, ("layer", "breaker"), ("reason", &reason)]);
                assert_eq!(counted, refused, "refusals of {tool} for {reason}");
            }

            // A refused call has no attempt, and every other one more than it has retries that came through.
            let attempts = series.sum(CLIENT_DURATION, &target.labels());
            let begun = books.calls(target) - books.answers(target, &["local_reject"]);
            let retries = |outcome| series.sum(RETRIES, &[label, ("outcome", outcome)]);
            assert_eq!(attempts - begun, retries("success") + retries("failure"), "retries of {tool}");
        }
        assert_eq!(series.sum(REJECTIONS, &[]), books.all("local_reject"), "refusals in all, prompts and resources included");
        let unknown = books.answers(Target::Tool(REPORT), &["outcome_unknown"]);
        let skipped = series.sum(RETRIES_SKIPPED, &[("gen_ai_tool_name", REPORT), ("reason", "not_safe")]);
        assert_eq!(skipped, unknown, "reports that were not repeated because that is not safe");
        series
    }

    /// What holds besides as long as the backend was never torn away from a call: each attempt is one that the backend saw,
    /// or one that could not get there; and each fault that the backend dealt is one that an attempt met.
    pub fn audit_attempts(&self, series: &Series) {
        let attempts = |target: Target, error: &str| {
            series.sum(CLIENT_DURATION, &[target.labels().as_slice(), &[("error_type", error)]].concat())
        };
        let all = |target: Target| series.sum(CLIENT_DURATION, &target.labels());
        let found = |target| all(target) - attempts(target, "not_sent") - attempts(target, "tool_error");
        // Callers name unknown cities in other calls, which the backend sees, and forecasts are asked for with arguments that
        // the handler cannot read, which it does not.
        let arrived = |target| found(target) + if target == Target::Tool(FORECAST) { 0 } else { attempts(target, "tool_error") };
        let reads = [Target::Tool(WEATHER), Target::Tool(FORECAST), Target::Prompt(PACKING_LIST)];
        let report = Target::Tool(REPORT);

        let stats = self.backend.stats();
        let requests = |path: &str| i64::try_from(stats.requests[path]).unwrap();
        assert_eq!(requests(SEARCHES), reads.into_iter().chain([report]).map(arrived).sum::<i64>(), "{SEARCHES}");
        assert_eq!(requests(FORECASTS), reads.into_iter().map(found).sum::<i64>(), "{FORECASTS}");
        assert_eq!(requests(OBSERVATIONS), found(report) + arrived(Target::Observations), "{OBSERVATIONS}");

        for (path, targets) in [(FORECASTS, reads.as_slice()), (OBSERVATIONS, &[report])] {
            let faults = |kinds: &[&str]| {
                let dealt = &stats.faults[path];
                kinds.iter().map(|kind| i64::try_from(dealt.get(kind).copied().unwrap_or_default()).unwrap()).sum::<i64>()
            };
            let met = |errors: &[&str]| -> i64 {
                let met = |target: &Target| errors.iter().map(|error| attempts(*target, error)).sum::<i64>();
                targets.iter().map(met).sum()
            };
            assert_eq!(met(&["throttled"]), faults(&["throttled"]), "throttled at {path}");
            assert_eq!(met(&["timeout", "cancelled"]), faults(&["hang"]), "hangs at {path}");
            let failures = ["unavailable", "reset_before", "reset_after", "error_after"];
            assert_eq!(met(&["ambiguous", "-32603"]), faults(&failures), "failures at {path}");
        }
        let timed_out = |tool: &str, clock| series.sum(TIMEOUTS, &[("gen_ai_tool_name", tool), ("kind", clock)]);
        // The first attempt at what may be repeated ends early, and those after it have all the time that is left.
        let early_or_late = timed_out(FORECAST, "attempt") + timed_out(FORECAST, "soft");
        assert_eq!(early_or_late, attempts(Target::Tool(FORECAST), "timeout"), "what may be repeated");
        assert_eq!(timed_out(REPORT, "soft"), attempts(report, "timeout"), "what may not be has all the call's time");
    }

    /// Each report against what the backend holds; and what the resource tells is the same.
    pub async fn audit_reports(&self) {
        let api = OpenMeteo::new(Endpoints::single(self.backend.url())).unwrap();
        let observations = api.observations().await.unwrap();
        let stats = self.backend.stats();
        assert_eq!(observations.len() as u64, stats.effects);
        self.crowd.books.audit(&observations);
        let in_doubt = |(kind, count): (&&str, &u64)| if *kind == "throttled" { 0 } else { *count };
        assert!(stats.faults[OBSERVATIONS].iter().map(in_doubt).sum::<u64>() > 0, "no report was in doubt");

        // Its breaker has just closed, and lets in only some at first.
        let resource = until("the resource", async || {
            self.crowd.clients[0].read_resource(ReadResourceRequestParams::new(weather::OBSERVATIONS)).await.ok()
        })
        .await;
        let [ResourceContents::TextResourceContents { text, .. }] = &*resource.contents else { panic!("{resource:?}") };
        assert_eq!(serde_json::from_str::<Vec<Observation>>(text).unwrap(), observations);
    }

    /// No label but those that the server itself listed.
    pub async fn audit_labels(&self, series: &Series) {
        let client = &self.crowd.clients[0];
        // The breaker above the tools' may still let in only some.
        let listed = until("the list of tools", async || client.list_all_tools().await.ok()).await;
        let mut tools: Vec<_> = listed.into_iter().map(|tool| tool.name.into_owned()).collect();
        tools.extend([String::new(), "_OTHER".to_owned()]);
        assert!(series.values("gen_ai_tool_name").iter().all(|name| tools.iter().any(|tool| tool == name)), "{series:?}");
        assert!(series.values("gen_ai_prompt_name").iter().all(|name| ["", PACKING_LIST].contains(name)), "{series:?}");
        assert_eq!(series.values("upstream"), ["weather"].into());
    }
}
