//! What a layer allocates for a call that it lets through.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use tokio::task::unconstrained;

use super::{Checked, Violation, ensure};
use crate::{
    drive::{Served, Subject},
    stage::{Act, Stage},
};

const CALLS: u64 = 10_000;

/// Over the bare handler, the layer allocates `stated` times a call: warmed up, without a recorder, around a handler that is
/// ready at once and around one that pends once.
pub async fn allocates_what_it_states(layer: impl Subject, stated: u64) -> Checked {
    for pends in [0, 1] {
        let stage = Stage::new();
        let bare = allocations(stage.probe(), &stage, pends)?;
        let layered = allocations(layer.layer(stage.probe()), &stage, pends)?;
        let extra = layered.abs_diff(bare);
        ensure!(
            layered >= bare && extra == stated * CALLS,
            "{extra} allocations in {CALLS} calls of a handler that pends {pends} times"
        );
    }
    Ok(())
}

fn allocations<S: Served>(mut service: S, stage: &Stage, pends: u32) -> Result<u64, Violation> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut answered = 0;
    let mut calls = |count| {
        for _ in 0..count {
            stage.then(Act::Pend(pends));
            if service.poll_ready(&mut cx).is_ready() {
                // Tokio's budget for one task would run out, since all calls are made in one.
                let mut call = pin!(unconstrained(service.call(stage.request())));
                let outcome = (0..=pends).map(|_| call.as_mut().poll(&mut cx)).find(Poll::is_ready);
                answered += u64::from(matches!(outcome, Some(Poll::Ready(Ok(_)))));
            }
        }
    };
    calls(100);
    let allocated = allocation_counter::measure(|| calls(CALLS)).count_total;
    ensure!(answered == 100 + CALLS, "only {answered} calls were answered");
    Ok(allocated)
}
