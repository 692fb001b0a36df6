//! What a scrape says of each target, taken from the scrape itself: so that whoever looks here and whoever looks at Prometheus
//! see the same, and no call is counted twice for it.

use std::collections::BTreeMap;

use super::BUCKETS;
use crate::metrics::{CLIENT_DURATION, IN_FLIGHT, QUOTA_WAITING, REJECTIONS, SERVER_DURATION};

/// One target, as it is named in labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) upstream: String,
    pub(super) method: String,
    /// Empty where the method has no names.
    pub(super) name: String,
}

/// The bounds, and infinity.
pub(super) const PLACES: usize = BUCKETS.len() + 1;

/// One target's figures since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) calls: u64,
    /// `None`: they are not told apart by name.
    pub(super) attempts: Option<u64>,
    /// Calls by `error_type`, those without left out.
    pub(super) errors: BTreeMap<String, u64>,
    /// Calls that were refused, by layer and reason.
    pub(super) refusals: BTreeMap<(String, String), u64>,
    /// How many calls took no longer than each bound, of those that were neither refused nor cancelled: how long these took says
    /// nothing of the target.
    pub(super) within: [u64; PLACES],
    pub(super) quota_waiting: u64,
}

/// All targets' figures at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) targets: BTreeMap<Key, Figures>,
    /// Calls under way, by upstream.
    pub(super) in_flight: BTreeMap<String, u64>,
}

impl Sample {
    /// Reads Prometheus's text format; lines that it has no use for are passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut sample = Self::default();
        for line in text.lines() {
            sample.take(line);
        }
        sample
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once('{')?;
        let known = [SERVER_DURATION.name, CLIENT_DURATION.name, IN_FLIGHT.name, QUOTA_WAITING.name, REJECTIONS.name];
        let metric = known.into_iter().find(|known| name.starts_with(known))?;
        let (labels, value) = labels(rest)?;
        let label = |name: &str| labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value);
        // Gauges are written as fractions.
        let value = value.trim().parse::<f64>().ok()?.max(0.0) as u64;
        let upstream = label("upstream").to_owned();
        if metric == IN_FLIGHT.name {
            self.in_flight.insert(upstream, value);
            return Some(());
        }
        let names = ["gen_ai_tool_name", "gen_ai_prompt_name", "resource_template"].map(label);
        let key = Key { upstream, method: label("mcp_method_name").to_owned(), name: names.concat() };
        let figures = self.targets.entry(key).or_default();
        let error = label("error_type");
        match name.strip_prefix(metric)? {
            "" if metric == QUOTA_WAITING.name => figures.quota_waiting += value,
            "" if metric == REJECTIONS.name && value > 0 => {
                *figures.refusals.entry((label("layer").to_owned(), label("reason").to_owned())).or_default() += value;
            }
            "_count" if metric == CLIENT_DURATION.name => *figures.attempts.get_or_insert(0) += value,
            "_count" if metric == SERVER_DURATION.name => {
                figures.calls += value;
                if !error.is_empty() && value > 0 {
                    *figures.errors.entry(error.to_owned()).or_default() += value;
                }
            }
            "_bucket" if metric == SERVER_DURATION.name && !matches!(error, "rejected" | "cancelled") => {
                let bound = label("le").parse::<f64>().ok()?;
                let place = BUCKETS.iter().position(|known| *known == bound).unwrap_or(BUCKETS.len());
                figures.within[place] += value;
            }
            _ => {}
        }
        Some(())
    }
}

/// The labels of a line, and what follows them.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value));
        }
        let (name, quoted) = rest.trim_start_matches(',').split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in quoted.char_indices() {
            match c {
                'n' if escaped => value.push('\n'),
                _ if escaped => value.push(c),
                '\\' => {}
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => value.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        labels.push((name, value));
        rest = &quoted[end? + 1..];
    }
}

/// What has been added to each count since an earlier moment.
fn added<K: Ord + Clone>(now: &BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let since = |(kind, count): (&K, &u64)| (kind.clone(), count.saturating_sub(earlier.get(kind).copied().unwrap_or(0)));
    now.iter().map(since).collect()
}

impl Figures {
    /// What has been added since an earlier moment.
    pub(super) fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self.clone() };
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            attempts: self.attempts.map(|attempts| attempts.saturating_sub(earlier.attempts.unwrap_or(0))),
            errors: added(&self.errors, &earlier.errors),
            refusals: added(&self.refusals, &earlier.refusals),
            within: std::array::from_fn(|place| self.within[place].saturating_sub(earlier.within[place])),
            quota_waiting: self.quota_waiting,
        }
    }

    /// How many calls did not end well, by `error_type`; those left out that their callers gave up.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().map(|(kind, count)| (&**kind, *count)).filter(|(kind, count)| *kind != "cancelled" && *count > 0)
    }

    /// The time that a share of the calls has not exceeded, as Prometheus reckons it: in proportion within the bucket, and the
    /// last bound for what is beyond it. `None`: there were no calls.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.within[PLACES - 1];
        if all == 0 {
            return None;
        }
        let rank = share * all as f64;
        let place = self.within.iter().position(|count| *count as f64 >= rank)?;
        let Some(bound) = BUCKETS.get(place) else { return BUCKETS.last().copied() };
        let (from, before) = match place {
            0 => (0.0, 0),
            _ => (BUCKETS[place - 1], self.within[place - 1]),
        };
        let inside = self.within[place] - before;
        Some(if inside == 0 { *bound } else { from + (bound - from) * (rank - before as f64) / inside as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(upstream: &str, name: &str) -> Key {
        Key { upstream: upstream.to_owned(), method: "tools/call".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_scrape_is_read_whatever_the_upstream_is_called() {
        let target = r#"upstream="a\"b}\\n,\n",mcp_method_name="tools/call",gen_ai_tool_name="t",gen_ai_prompt_name="""#;
        let text = format!(
            "# HELP mcp_server_operation_duration_seconds Calls.\n\
             mcp_server_operation_duration_seconds_bucket{{{target},error_type=\"\",le=\"0.02\"}} 3\n\
             mcp_server_operation_duration_seconds_bucket{{{target},error_type=\"\",le=\"+Inf\"}} 4\n\
             mcp_server_operation_duration_seconds_bucket{{{target},error_type=\"rejected\",le=\"+Inf\"}} 9\n\
             mcp_server_operation_duration_seconds_count{{{target},error_type=\"\"}} 4\n\
             mcp_server_operation_duration_seconds_count{{{target},error_type=\"rejected\"}} 9\n\
             mcp_server_operation_duration_seconds_count{{{target},error_type=\"cancelled\"}} 2\n\
             mcp_client_operation_duration_seconds_count{{{target},error_type=\"timeout\"}} 7\n\
             mcp_server_operation_duration_seconds_count{{upstream=\"up\",mcp_method_name=\"resources/read\",resource_template=\"a://{{x}}\"}} 3\n\
             buttress_quota_waiting{{{target}}} 2\n\
             buttress_rejections_total{{{target},layer=\"quota\",reason=\"quota\"}} 8\n\
             buttress_rejections_total{{{target},layer=\"breaker\",reason=\"breaker_open\"}} 0\n\
             buttress_requests_in_flight{{upstream=\"a\"}} 5\n\
             tokio_runtime_workers 2\nbroken{{a=\"\n"
        );
        let sample = Sample::read(&text);
        let figures = &sample.targets[&key("a\"b}\\n,\n", "t")];
        assert_eq!(
            (figures.calls, figures.attempts, figures.failed().map(|(_, count)| count).sum::<u64>(), figures.quota_waiting),
            (15, Some(7), 9, 2)
        );
        assert_eq!(figures.refusals, BTreeMap::from([(("quota".to_owned(), "quota".to_owned()), 8)]));
        assert_eq!((figures.within[1], figures.within[PLACES - 1]), (3, 4));
        assert_eq!(sample.in_flight["a"], 5);
        assert_eq!(sample.targets[&Key { method: "resources/read".to_owned(), ..key("up", "a://{x}") }].calls, 3);
        assert_eq!(sample.targets.len(), 2);
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let mut figures = Figures::default();
        assert_eq!(figures.quantile(0.5), None);
        // Ten within 10 ms, ten more within 20 ms, none slower.
        figures.within = [20; PLACES];
        figures.within[0] = 10;
        assert_eq!(figures.quantile(0.5), Some(0.01));
        assert!((figures.quantile(0.95).unwrap() - 0.019).abs() < 1e-9);
        figures.within[PLACES - 1] = 40;
        assert_eq!(figures.quantile(0.95), Some(300.0), "beyond the last bound");
    }

    #[test]
    fn the_difference_of_two_moments_is_what_happened_between_them() {
        let mut now = Figures { calls: 10, attempts: Some(12), ..Figures::default() };
        now.errors.insert("timeout".to_owned(), 4);
        let mut earlier = Figures { calls: 7, attempts: Some(7), ..Figures::default() };
        earlier.errors.insert("timeout".to_owned(), 1);
        let between = now.since(Some(&earlier));
        assert_eq!((between.calls, between.attempts, between.failed().collect::<Vec<_>>()), (3, Some(5), vec![("timeout", 3)]));
        assert_eq!(now.since(None), now);
    }
}
