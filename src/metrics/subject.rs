//! Whose series they are, and what becomes of them where there are too many.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, Gauge, Histogram, Key, SharedString};

use super::{
    Kind, Metric,
    labels::{labels_of, overflowing, shared_labels_of, upstream_label},
};
use crate::call::{Method, Target, Upstream};

/// How many lines a histogram has: fourteen bounds, infinity, the sum and the count.
const HISTOGRAM: usize = 17;

/// A target, as the labels of its series name it.
///
/// Each series costs its upstream what it takes in a scrape. What the upstream cannot pay for is recorded in the series that all
/// its nameless targets share: those are few, and cost nothing.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Who pays. `None`: nobody has to.
    upstream: Option<Arc<Upstream>>,
    own: [SharedString; 5],
    shared: [SharedString; 5],
    /// Whether no other target has these labels.
    alone: bool,
    /// Whether the upstream keeps room for it.
    kept: bool,
    /// Whether there is room for what may never be needed, and not only for what has happened.
    detailed: bool,
}

impl Subject {
    pub(crate) fn of(target: &Target) -> Arc<Self> {
        let ledger = target.server().ledger();
        let kept = *target.method() == Method::ToolsCall && target.name().is_some_and(|name| ledger.keeps_room_for(name));
        Arc::new(Self {
            own: labels_of(target),
            shared: shared_labels_of(target),
            alone: overflowing(target).is_none(),
            kept,
            detailed: kept || target.name().is_none() || ledger.is_roomy(),
            upstream: Some(target.server().clone()),
        })
    }

    /// The upstream that the operator calls this, as a whole.
    pub(crate) fn whole(upstream: &str) -> Arc<Self> {
        let none = || SharedString::const_str("");
        let own = [upstream_label(upstream), none(), none(), none(), none()];
        Arc::new(Self { upstream: None, shared: own.clone(), own, alone: true, kept: true, detailed: true })
    }

    /// The labels of the upstream and the method, and what says the most of the target beside them: the tool's or prompt's name,
    /// or the resource template. Empty where nothing does.
    pub(crate) fn labels(&self) -> [&str; 3] {
        let [upstream, method, names @ ..] = &self.own;
        [upstream, method, names.iter().find(|name| !name.is_empty()).map_or("", |name| name)]
    }

    pub(super) const fn is_detailed(&self) -> bool {
        self.detailed
    }

    pub(crate) fn counter(&self, metric: Metric, last: &[&'static str]) -> Counter {
        metric.register_counter(&self.key(metric, last).0)
    }

    /// Also whether it is the target's own.
    pub(crate) fn histogram(&self, metric: Metric, last: &[&'static str]) -> (Histogram, bool) {
        let (key, own) = self.key(metric, last);
        (metric.register_histogram(&key), own)
    }

    /// The series that it shares with the upstream's nameless targets.
    pub(super) fn shared_histogram(&self, metric: Metric, last: &[&'static str]) -> Histogram {
        metric.register_histogram(&metric.key(Self::values(&self.shared, last)))
    }

    /// The key of a series that ends in these labels, and whether no other target has it.
    fn key(&self, metric: Metric, last: &[&'static str]) -> (Key, bool) {
        let key = metric.key(Self::values(&self.own, last));
        match &self.upstream {
            Some(upstream) if self.own != self.shared && !upstream.ledger().affords(&key, cost(metric, &key), self.kept) => {
                (metric.key(Self::values(&self.shared, last)), false)
            }
            _ => (key, self.alone),
        }
    }

    fn values(labels: &[SharedString; 5], last: &[&'static str]) -> impl Iterator<Item = SharedString> {
        labels.iter().cloned().chain(last.iter().map(|label| SharedString::const_str(label)))
    }
}

/// How many bytes of a scrape a series takes, a little more than less: names and values with what stands around them.
fn cost(metric: Metric, key: &Key) -> usize {
    let labels: usize = key.labels().map(|label| label.key().len() + label.value().len() + r#"="","#.len()).sum();
    let line = metric.name.len() + labels + "{} 1234567890\n".len();
    match metric.kind {
        Kind::Counter | Kind::Gauge => line,
        Kind::Histogram => HISTOGRAM * (line + r#"_bucketle="0.05","#.len()),
    }
}

/// The counters of one target in one metric, by its last labels. They are there from the start where there is room for that: to a
/// query, a counter that appears with its first event has never grown. Elsewhere each is made when it first counts.
#[derive(Debug)]
pub(crate) struct Counters<const LABELS: usize, const N: usize> {
    metric: Metric,
    subject: Arc<Subject>,
    labels: [[&'static str; LABELS]; N],
    made: [OnceLock<Counter>; N],
}

impl<const LABELS: usize, const N: usize> Counters<LABELS, N> {
    pub(crate) fn new(metric: Metric, subject: &Arc<Subject>, labels: [[&'static str; LABELS]; N]) -> Self {
        let counters = Self { metric, subject: subject.clone(), labels, made: std::array::from_fn(|_| OnceLock::new()) };
        if subject.is_detailed() {
            (0..N).for_each(|place| {
                counters.at(place);
            });
        }
        counters
    }

    /// Counts an event under the labels that came in this place.
    pub(crate) fn count(&self, place: usize) {
        self.at(place).increment(1);
    }

    fn at(&self, place: usize) -> &Counter {
        self.made[place].get_or_init(|| self.subject.counter(self.metric, &self.labels[place]))
    }
}

/// A gauge of one target. Where several share the series, nameless targets as well as two stacks in front of one catalogue, it
/// shows the sum of theirs. It is made when it is first other than zero, or from the start where there is room for that.
#[derive(Debug)]
pub(crate) struct Level<const LABELS: usize = 0> {
    metric: Metric,
    subject: Arc<Subject>,
    labels: [&'static str; LABELS],
    made: OnceLock<Gauge>,
    /// What this one was set to, as bits.
    set: AtomicU64,
}

impl<const LABELS: usize> Level<LABELS> {
    pub(crate) fn new(metric: Metric, subject: &Arc<Subject>, labels: [&'static str; LABELS]) -> Self {
        let level =
            Self { metric, subject: subject.clone(), labels, made: OnceLock::new(), set: AtomicU64::new(0.0_f64.to_bits()) };
        if subject.is_detailed() {
            level.made();
        }
        level
    }

    /// What each has changed adds up, in whatever order they come.
    pub(crate) fn set(&self, value: f64) {
        if value == 0.0 && self.made.get().is_none() {
            return;
        }
        self.made().increment(value - f64::from_bits(self.set.swap(value.to_bits(), Ordering::Relaxed)));
    }

    #[inline]
    pub(crate) fn increment(&self) {
        self.made().increment(1.0);
    }

    #[inline]
    pub(crate) fn decrement(&self) {
        self.made().decrement(1.0);
    }

    #[inline]
    fn made(&self) -> &Gauge {
        self.made.get_or_init(|| self.metric.register_gauge(&self.subject.key(self.metric, &self.labels).0))
    }
}

/// The sum is of those that there are: the cell of a call that came second to make it goes again at once, and a stack may go
/// before others.
impl<const LABELS: usize> Drop for Level<LABELS> {
    fn drop(&mut self) {
        if let Some(gauge) = self.made.get() {
            gauge.decrement(f64::from_bits(*self.set.get_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::{
        catalogue::Catalogue,
        metrics::{CONCURRENCY_LIMIT, QUEUE_DURATION, TIMEOUTS},
    };

    /// What this series says.
    fn gauge(recorder: &DebuggingRecorder, tool: &str) -> f64 {
        let series = recorder.snapshotter().snapshot().into_vec();
        let of = series.iter().find(|(key, ..)| key.key().labels().any(|label| label.value() == tool));
        match of.unwrap() {
            (.., DebugValue::Gauge(value)) => value.into_inner(),
            other => panic!("{other:?}"),
        }
    }

    fn levels(catalogue: Catalogue) -> [Level; 2] {
        let catalogue = catalogue.tool("one", Default::default()).tool("two", Default::default());
        ["one", "two"].map(|tool| {
            let target = catalogue.resolve(&Method::ToolsCall, Some(tool), None);
            Level::new(CONCURRENCY_LIMIT, &Subject::of(&target), [])
        })
    }

    #[test]
    fn who_shares_a_gauge_adds_to_it_whatever_the_order() {
        let recorder = DebuggingRecorder::new();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let levels = levels(Catalogue::new("up").scrape_budget(0));
        levels.iter().for_each(|level| level.set(1.0));
        std::thread::scope(|scope| {
            for level in levels.iter().cycle().take(4) {
                scope.spawn(|| (0..10_000).for_each(|n| level.set(f64::from(n % 97))));
            }
        });
        levels[0].set(3.0);
        levels[1].set(40.0);
        assert_eq!(gauge(&recorder, "_OTHER"), 43.0);
    }

    #[test]
    fn who_leaves_a_shared_gauge_takes_what_is_its_own() {
        let recorder = DebuggingRecorder::new();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let [one, two] = levels(Catalogue::new("up").scrape_budget(0));
        one.set(3.0);
        two.set(40.0);
        drop(two);
        assert_eq!(gauge(&recorder, "_OTHER"), 3.0);
    }

    #[test]
    fn two_stacks_before_one_catalogue_add_up_and_overwrite_nothing() {
        for (one_goes, shown) in [(false, 104.0), (true, 64.0)] {
            let recorder = DebuggingRecorder::new();
            let _installed = metrics::set_default_local_recorder(&recorder);
            let target = Catalogue::new("up").tool("one", Default::default()).resolve(&Method::ToolsCall, Some("one"), None);
            let [first, second] = [(); 2].map(|()| Level::new(CONCURRENCY_LIMIT, &Subject::of(&target), []));
            first.set(64.0);
            second.set(64.0);
            first.set(40.0);
            second.set(64.0);
            let _kept = (!one_goes).then_some(first);
            assert_eq!(gauge(&recorder, "one"), shown);
        }
    }

    fn subject(catalogue: &Catalogue, method: &Method, name: Option<&str>) -> Arc<Subject> {
        Subject::of(&catalogue.resolve(method, name, None))
    }

    #[test]
    fn a_subject_is_called_by_what_says_the_most_of_it() {
        let catalogue =
            Catalogue::new("up").tool("one", Default::default()).resource_template("file:///{path}", Default::default()).unwrap();
        assert_eq!(subject(&catalogue, &Method::ToolsCall, Some("one")).labels(), ["up", "tools/call", "one"]);
        let read = subject(&catalogue, &Method::ResourcesRead, Some("file:///a"));
        assert_eq!(read.labels(), ["up", "resources/read", "file:///{path}"]);
        assert_eq!(subject(&catalogue, &Method::ToolsList, None).labels(), ["up", "tools/list", ""]);
    }

    /// Where there is no room for all names: the first of those that the operator names have it, and who has no name.
    #[test]
    fn what_may_never_be_needed_is_told_of_whom_there_is_room_for() {
        let catalogue = |budget| {
            let names = ["a", "b", "c", "d", "e"].into_iter();
            names.fold(Catalogue::new("up").scrape_budget(budget), |catalogue, name| catalogue.tool(name, Default::default()))
        };
        let told = |catalogue: &Catalogue| {
            let tools = ["a", "b"].map(|tool| subject(catalogue, &Method::ToolsCall, Some(tool)).is_detailed());
            (tools, subject(catalogue, &Method::ToolsList, None).is_detailed())
        };
        assert_eq!(told(&catalogue(0)), ([false, false], true));
        assert_eq!(told(&catalogue(100_000)), ([true, false], true));
        assert_eq!(told(&catalogue(1_000_000)), ([true, true], true));
    }

    #[test]
    fn a_series_costs_what_it_takes_in_a_scrape() {
        let target = Catalogue::new("up").tool("one", Default::default()).resolve(&Method::ToolsCall, Some("one"), None);
        let rendered = |metric: Metric, suffix: &str, last: &str| {
            let labels: String =
                metric.key(labels_of(&target)).labels().map(|label| format!("{}=\"{}\",", label.key(), label.value())).collect();
            format!("{}{suffix}{{{labels}{last}}} 1234567890\n", metric.name).len()
        };
        let costs = |metric: Metric| cost(metric, &metric.key(labels_of(&target)));
        assert_eq!(costs(CONCURRENCY_LIMIT), rendered(CONCURRENCY_LIMIT, "", ""));
        assert_eq!(costs(QUEUE_DURATION), 17 * rendered(QUEUE_DURATION, "_bucket", "le=\"0.05\","));
    }

    /// What these series say.
    fn counters(recorder: &DebuggingRecorder) -> Vec<u64> {
        let series = recorder.snapshotter().snapshot().into_vec().into_iter();
        let mut counted: Vec<_> =
            series.filter_map(|(.., value)| if let DebugValue::Counter(count) = value { Some(count) } else { None }).collect();
        counted.sort_unstable();
        counted
    }

    #[test]
    fn counters_are_there_from_the_start_where_there_is_room_and_else_once_they_count() {
        for (budget, at_first, then) in [(1_000_000, vec![0, 0], vec![0, 3]), (0, vec![], vec![3])] {
            let recorder = DebuggingRecorder::new();
            let _installed = metrics::set_default_local_recorder(&recorder);
            let catalogue = Catalogue::new("up").scrape_budget(budget).tool("one", Default::default());
            let made = Counters::new(TIMEOUTS, &subject(&catalogue, &Method::ToolsCall, Some("one")), [["soft"], ["hard"]]);
            assert_eq!(counters(&recorder), at_first);
            (0..3).for_each(|_| made.count(1));
            assert_eq!(counters(&recorder), then);
        }
    }

    #[test]
    fn a_level_goes_up_and_down_by_one() {
        let recorder = DebuggingRecorder::new();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let [one, _two] = levels(Catalogue::new("up"));
        (0..3).for_each(|_| one.increment());
        one.decrement();
        assert_eq!(gauge(&recorder, "one"), 2.0);
    }
}
