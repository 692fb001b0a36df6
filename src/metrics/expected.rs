//! What is there before it happens.

use metrics::SharedString;

use super::{Metric, PANICS, REJECTIONS, TIMEOUTS, labels::labels_of};
use crate::{
    call::Target,
    error::{Clock, Reason},
};

/// Who refuses calls in a stack as it is by default, or for want of what its callers know: these rows of [`REJECTIONS`] are there
/// before the first refusal.
const REFUSALS: [(&str, Reason); 6] = [
    ("deadline", Reason::Deadline),
    ("quota", Reason::Quota),
    ("breaker", Reason::BreakerOpen),
    ("breaker", Reason::UpstreamOpen),
    ("concurrency", Reason::QueueFull),
    ("concurrency", Reason::Shed),
];

/// Makes the counters of what may befall any call of `target`, at zero: to a query, a counter that appears with its first event
/// has never grown. Only those that are few, and whose first event matters; the layers count in the same series.
pub(crate) fn expect(target: &Target) {
    let series = |metric: Metric, values: [&'static str; 2]| {
        let values = values.into_iter().filter(|value| !value.is_empty()).map(SharedString::const_str);
        drop(metric.counter(labels_of(target).into_iter().chain(values)));
    };
    REFUSALS.iter().for_each(|(layer, reason)| series(REJECTIONS, [layer, reason.as_str()]));
    Clock::ALL.iter().for_each(|clock| series(TIMEOUTS, [clock.as_str(), ""]));
    series(PANICS, ["", ""]);
}
