use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Fault, FaultLayer, Lost, Plan, Trouble, TroubleError};
use crate::{
    call::{Method, Request, Target, Verdict},
    catalogue::Catalogue,
    metrics::{FAULTS, Values},
    testing::{Script, tool},
};

const SECOND: Duration = Duration::from_secs(1);

fn always(fault: Fault) -> Trouble {
    Trouble::new([(fault, 1.0)]).unwrap()
}

fn request(target: &Arc<Target>) -> Request<()> {
    Request::new(target.clone(), ())
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_its_verdict_and_its_effect() {
    let after = Some(3 * SECOND);
    let overload = Verdict::Ambiguous { retry_after: None, overload: true };
    for (fault, verdict, effects) in [
        (Fault::Throttled { retry_after: after }, Verdict::Throttled { retry_after: after }, 0),
        (Fault::NotSent, Verdict::NotSent, 0),
        (Fault::Unavailable(Lost::Request), overload, 0),
        (Fault::Unavailable(Lost::Answer), overload, 1),
        (Fault::Reset(Lost::Request), Verdict::AMBIGUOUS, 0),
        (Fault::Reset(Lost::Answer), Verdict::AMBIGUOUS, 1),
        (Fault::TooEarly, Verdict::NotSent, 0),
        (Fault::Unauthorized, Verdict::Denied, 0),
        (Fault::Forbidden, Verdict::Denied, 0),
        (Fault::SessionLost, Verdict::SessionLost, 0),
        (Fault::ToolError(Lost::Request), Verdict::ToolError, 0),
        (Fault::ToolError(Lost::Answer), Verdict::ToolError, 1),
        (Fault::InternalError(Lost::Request), Verdict::AMBIGUOUS, 0),
        (Fault::InternalError(Lost::Answer), Verdict::AMBIGUOUS, 1),
    ] {
        let (layer, script) = (FaultLayer::new(), Script::default());
        layer.handle().inject(Plan::all(always(fault)));
        let outcome = layer.layer(script.clone()).call(request(&tool("t"))).await;
        assert_eq!((Verdict::of(&outcome), script.calls()), (verdict, effects), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_hangs_never_ends_and_what_panics_panics() {
    for (lost, effects) in [(Lost::Request, 0), (Lost::Answer, 1)] {
        let (layer, script) = (FaultLayer::new(), Script::default());
        let mut service = layer.layer(script.clone());
        layer.handle().inject(Plan::all(always(Fault::Hang(lost))));
        let hangs = service.call(request(&tool("t")));
        assert!(tokio::time::timeout(1000 * SECOND, hangs).await.is_err());
        assert_eq!(script.calls(), effects);

        layer.handle().inject(Plan::all(always(Fault::Panic(lost))));
        let panics = std::panic::AssertUnwindSafe(service.call(request(&tool("t"))));
        assert!(panics.catch_unwind().await.is_err());
        assert_eq!(script.calls(), 2 * effects);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_answered_after_its_delay() {
    let layer = FaultLayer::seeded(1);
    layer.handle().inject(Plan::all(Trouble::default().slow(1.0, SECOND, 3 * SECOND).unwrap()));
    let mut service = layer.layer(Script::default());
    let mut delays = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        assert!(service.call(request(&tool("t"))).await.is_ok());
        delays.push(began.elapsed());
    }
    assert!(delays.iter().all(|delay| (SECOND..=3 * SECOND).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay < 2 * SECOND) && delays.iter().any(|delay| *delay > 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn shares_are_kept_and_a_seed_repeats_them() {
    let count = |seed| async move {
        let layer = FaultLayer::seeded(seed);
        let trouble = Trouble::new([(Fault::NotSent, 0.2), (Fault::Reset(Lost::Request), 0.1)]).unwrap();
        layer.handle().inject(Plan::all(trouble));
        let mut service = layer.layer(Script::default());
        let mut verdicts = Vec::new();
        for _ in 0..10_000 {
            verdicts.push(Verdict::of(&service.call(request(&tool("t"))).await).as_str());
        }
        verdicts
    };
    let verdicts = count(5).await;
    let of = |name| verdicts.iter().filter(|verdict| **verdict == name).count();
    assert!((1850..2150).contains(&of("not_sent")) && (900..1100).contains(&of("ambiguous")));
    assert_eq!(of("ok") + of("not_sent") + of("ambiguous"), 10_000);
    assert_eq!(verdicts, count(5).await);
    assert_ne!(verdicts, count(6).await);
}

#[tokio::test(start_paused = true)]
async fn a_plan_holds_where_and_while_it_is_in_force() {
    let layer = FaultLayer::new();
    let (faults, mut service) = (layer.handle(), layer.layer(Script::default()));
    let (one, other) = (tool("one"), tool("other"));
    let initialize = Catalogue::new("up").resolve(&Method::Initialize, None, None);
    let mut verdicts = async || {
        let mut verdicts = Vec::new();
        for target in [&one, &other, &initialize] {
            verdicts.push(Verdict::of(&service.call(request(target)).await));
        }
        verdicts
    };
    assert_eq!((verdicts().await, faults.plan()), (vec![Verdict::Ok; 3], None));
    let plan = Plan::all(always(Fault::NotSent)).target("one", always(Fault::Reset(Lost::Request)));
    faults.inject(plan.clone());
    assert_eq!(verdicts().await, [Verdict::AMBIGUOUS, Verdict::NotSent, Verdict::Ok]);
    assert_eq!(faults.plan(), Some(plan));
    faults.inject(Plan::default().target("other", always(Fault::NotSent)));
    assert_eq!(verdicts().await, [Verdict::Ok, Verdict::NotSent, Verdict::Ok]);
    faults.inject(
        Plan::all(always(Fault::Forbidden)).method(&Method::ToolsCall, always(Fault::NotSent)).target("one", Trouble::default()),
    );
    assert_eq!(verdicts().await, [Verdict::Ok, Verdict::NotSent, Verdict::Ok]);
    faults.clear();
    assert_eq!((verdicts().await, faults.plan()), (vec![Verdict::Ok; 3], None));
    faults.inject(Plan::default().method(&Method::ToolsList, always(Fault::SessionLost)));
    let list = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    let outcome = service.call(request(&list)).await;
    assert_eq!(Verdict::of(&outcome), Verdict::SessionLost);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_their_values() {
    let told = |error: TroubleError| error.to_string();
    let too_much = Trouble::new([(Fault::NotSent, 0.7), (Fault::Reset(Lost::Request), 0.5)]).unwrap_err();
    assert_eq!(told(too_much), "the shares are 1.2 together, but must be at most 1: not_sent 0.7, reset 0.5");
    for share in [-0.1, 1.1, f64::NAN] {
        let error = told(Trouble::new([(Fault::NotSent, share)]).unwrap_err());
        assert_eq!(error, format!("the share of not_sent is {share}, but must be from 0 to 1"));
        assert!(Trouble::default().slow(share, SECOND, SECOND).is_err());
    }
    assert!(Trouble::default().slow(0.5, SECOND, SECOND).is_ok());
    let backwards = told(Trouble::default().slow(0.5, 2 * SECOND, SECOND).unwrap_err());
    assert_eq!(backwards, "the shortest delay is 2s, but must be no longer than the longest, which is 1s");
    // Ten tenths are a whole, whatever binary fractions make of them.
    assert!(Trouble::new([(Fault::NotSent, 0.1); 10]).is_ok());
}

#[test]
fn every_kind_has_its_label() {
    let all = [
        Fault::Throttled { retry_after: None },
        Fault::NotSent,
        Fault::TooEarly,
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::SessionLost,
        Fault::ToolError(Lost::Request),
        Fault::InternalError(Lost::Request),
        Fault::Unavailable(Lost::Request),
        Fault::Reset(Lost::Request),
        Fault::Hang(Lost::Request),
        Fault::Panic(Lost::Request),
    ];
    let labels: Vec<&str> = std::iter::once("slow").chain(all.map(Fault::as_str)).collect();
    assert_eq!(labels, Fault::KINDS);
    assert_eq!(FAULTS.values("fault"), Some(Values::OneOf(labels)));
}
