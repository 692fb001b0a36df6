//! A layer that refuses says so by its own error, calls nobody, and does so through every service that it made.

use std::time::Duration;

use buttress::{
    call::{Admission, Verdict},
    error::{Clock, Reason, Rejected, TimedOut, find},
};

use super::{Checked, ensure};
use crate::{
    drive::{Driven, Served, Subject, call},
    stage::{Act, Outcome, Stage},
};

/// What leaves a layer nothing to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// One call has been let in.
    Call,
    /// Two calls have failed.
    Failures,
    /// A call is under way, and this one must not wait.
    Slot,
    /// A call is under way, and this one waits as long as it can.
    Patience,
    /// A call is under way, and another waits.
    Queue,
    /// The call's time has run out before it came.
    Time,
    /// The inner service is not ready as long as the call lasts.
    Readiness,
}

/// With `spent` used up through one service of a layer, it is missing in that service and in another of the same layer.
pub async fn refuses<L: Subject>(make: impl Fn() -> L, name: &str, spent: Spent, reason: Reason) -> Checked {
    for through_another in [false, true] {
        let (stage, layer) = (Stage::new(), make());
        let mut service = layer.layer(stage.probe());
        let held = spend(spent, &stage, &mut service).await?;
        if through_another {
            service = layer.layer(stage.probe());
        }
        let calls = stage.calls();
        let outcome = refused_call(spent, &stage, &mut service).await;
        let rejected = outcome.as_ref().err().and_then(|error| find::<Rejected>(&**error));
        let by = rejected.map(|rejected| (rejected.layer(), rejected.reason()));
        ensure!(by == Some((name, reason)), "{spent:?}, through another service: {through_another}: ends in {outcome:?}");
        ensure!(Verdict::of(&outcome) == Verdict::LocalReject, "{spent:?}: the verdict is {:?}", Verdict::of(&outcome));
        ensure!(stage.calls() == calls, "{spent:?}: refused, and yet the inner service was called");
        ensure!(stage.reserved() == 0, "{spent:?}: refused, and yet the inner service is kept ready");
        drop(held);
    }
    Ok(())
}

/// Uses it up; what is returned goes on using it.
async fn spend<S: Served>(spent: Spent, stage: &Stage, service: &mut S) -> Result<Vec<Driven>, super::Violation> {
    let mut held = Vec::new();
    match spent {
        Spent::Call => {
            call(service, stage.request()).await?;
        }
        Spent::Failures => {
            stage.script([Act::Fail, Act::Fail]);
            for _ in 0..2 {
                let failed = call(service, stage.request()).await;
                ensure!(Verdict::of(&failed) == Verdict::AMBIGUOUS, "a call that fails ends in {failed:?}");
            }
        }
        Spent::Slot | Spent::Patience | Spent::Queue => {
            stage.script([Act::Hang]);
            held.extend((0..if spent == Spent::Queue { 2 } else { 1 }).map(|_| Driven::new(service.clone(), stage.request())));
        }
        Spent::Readiness => stage.shut(),
        Spent::Time => {}
    }
    for call in &mut held {
        ensure!(call.poll().is_pending(), "a call does not wait where it was to");
    }
    Ok(held)
}

async fn refused_call<S: Served>(spent: Spent, stage: &Stage, service: &mut S) -> Outcome {
    let mut request = stage.request();
    match spent {
        Spent::Slot => request.head.admission = Admission::NoWait,
        Spent::Time => request.head.deadline.hard = Some(request.head.arrived),
        _ => {}
    }
    call(service, request).await
}

/// Time that runs out while the handler works is no refusal: nobody knows what was done. The handler's future is gone.
pub async fn gives_up_on_what_hangs(layer: impl Subject, after: Duration) -> Checked {
    let stage = Stage::new();
    let mut service = layer.layer(stage.probe());
    stage.script([Act::Hang]);
    let outcome = call(&mut service, stage.request()).await;
    let timed_out = outcome.as_ref().err().and_then(|error| error.downcast_ref::<TimedOut>());
    ensure!(timed_out == Some(&TimedOut::new(Clock::Attempt, after)), "ends in {outcome:?}");
    let verdict = Verdict::of(&outcome);
    ensure!(verdict == Verdict::Ambiguous { retry_after: None, overload: true }, "the verdict is {verdict:?}");
    ensure!((stage.calls(), stage.running()) == (1, 0), "the handler still works");
    Ok(())
}
