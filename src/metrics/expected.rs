//! What is there before it happens.

use super::{PANICS, REJECTIONS, Subject, TIMEOUTS};
use crate::error::{Clock, Reason};

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

/// Makes the counters of what may befall any call of `subject`, at zero: to a query, a counter that appears with its first event
/// has never grown. Only those that are few, and whose first event matters; the layers count in the same series. Where an
/// upstream has many names, none: it could not pay for all of them.
pub(crate) fn expect(subject: &Subject) {
    if !subject.is_detailed() {
        return;
    }
    REFUSALS.iter().for_each(|(layer, reason)| drop(subject.counter(REJECTIONS, &[layer, reason.as_str()])));
    Clock::ALL.iter().for_each(|clock| drop(subject.counter(TIMEOUTS, &[clock.as_str()])));
    drop(subject.counter(PANICS, &[]));
}
