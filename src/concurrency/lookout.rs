//! A limit may let those who wait in one by one, with slots free all the while. Then nothing ends that would bring anybody back
//! to the desk; so one of those who wait looks again when the next is due.

use std::{future::Future, pin::Pin, sync::Arc, task::Context};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Instant, Sleep, sleep_until},
};

use super::slots::Slots;

/// What each of those who wait has ready. One of them is called; a call that reaches nobody, or somebody who leaves, goes to the
/// next.
#[derive(Debug)]
pub(super) struct Lookout {
    slots: Arc<Slots>,
    calls: Arc<Notify>,
    called: Pin<Box<OwnedNotified>>,
    watch: Option<Watch>,
}

/// The one who was called waits until the next is due. Its end is the look at the desk, whether it is in time or is dropped
/// before: the desk calls another, if it is too early.
#[derive(Debug)]
struct Watch {
    slots: Arc<Slots>,
    at: Instant,
    due: Pin<Box<Sleep>>,
}

impl Lookout {
    pub(super) fn new(slots: Arc<Slots>, calls: Arc<Notify>) -> Self {
        let called = Box::pin(calls.clone().notified_owned());
        Self { slots, calls, called, watch: None }
    }

    /// Never done: who looks out is served as anybody else.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            // Also during a watch: the next may now be due sooner.
            if self.called.as_mut().poll(cx).is_ready() {
                self.called.set(self.calls.clone().notified_owned());
                let at = self.slots.look();
                if at != self.watch.as_ref().map(|watch| watch.at) {
                    self.watch = at.map(|at| Watch::new(self.slots.clone(), at));
                }
                continue;
            }
            let Some(watch) = &mut self.watch else { return };
            if watch.due.as_mut().poll(cx).is_pending() {
                return;
            }
            self.watch = None;
        }
    }
}

impl Watch {
    fn new(slots: Arc<Slots>, at: Instant) -> Self {
        Self { slots, at, due: Box::pin(sleep_until(at)) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.slots.end_look(self.at);
    }
}
