//! Samples of the last half minute, so that what is shown is what happens now and not since the process began.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::sample::Sample;

/// With one sample every 5 s, from 25 to 30 s.
const KEPT: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(Instant, Sample)>);

impl Window {
    pub(super) fn push(&mut self, now: Instant, sample: Sample) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, sample));
    }

    /// Where it begins.
    pub(super) fn first(&self) -> Option<&(Instant, Sample)> {
        self.0.front()
    }
}
