//! What a retry owes beyond what every layer does: its budget.

use std::{num::NonZeroU32, sync::Arc};

use buttress::{
    metrics::RETRY_BUDGET,
    retry::{Budget, FullJitter, RetryLayer},
};
use tower::Layer;

use super::{Checked, ensure};
use crate::{drive::call, meter::Meter, scene::Scene, stage::Act, stage::Stage};

/// What one retry costs where the outcome was in doubt.
const COST: u32 = 14;

/// Two attempts a call, paid from `budget`.
fn paid_from(budget: &Arc<Budget>) -> RetryLayer {
    let backoff = FullJitter::default().seeded(1);
    RetryLayer::new(const { NonZeroU32::new(2).unwrap() }).backoff(backoff).budget(budget.clone())
}

/// A retry that one service has paid for is missing in another.
pub async fn shares_its_budget() -> Checked {
    // A tenant has half of it.
    let layer = paid_from(&Arc::new(Budget::try_new(2 * COST)?));
    let stage = Stage::new();
    let [mut first, mut second] = [0, 1].map(|_| layer.layer(stage.probe()));
    stage.script([Act::Fail, Act::Fail]);
    let _lost = call(&mut first, stage.request()).await;
    ensure!(stage.calls() == 2, "a retry that can be paid for is not made: {} calls", stage.calls());
    stage.script([Act::Fail]);
    let lost = call(&mut second, stage.request()).await;
    ensure!(lost.is_err() && stage.calls() == 3, "the second service pays from a budget of its own");
    Ok(())
}

/// A call that is dropped in the backoff before its second attempt has cost the backend nothing, and the budget nothing; once
/// the attempt is made it is paid for. The gauge says what the budget holds.
//
// Found in `retry`, whose tokens were gone with the backoff, so that callers who leave could empty the budget without a single
// retry: src/retry/future.rs.
pub async fn pays_for_attempts_that_are_made() -> Checked {
    // Polled once, the call is in its backoff; a second later the poll makes the attempt.
    for (polls, costs) in [(1, 0), (2, COST)] {
        let meter = Meter::default();
        let _installed = metrics::set_default_local_recorder(&meter);
        let budget = Arc::new(Budget::default());
        let stage = Stage::new();
        let service = paid_from(&budget).layer(stage.probe());
        let full = budget.tokens();
        let mut play = Scene::Repeated.play(&stage, service);
        for _ in 0..polls {
            play.step().await;
        }
        ensure!(stage.calls() == polls, "{} calls after {polls} polls", stage.calls());
        drop(play);
        let left = budget.tokens();
        ensure!(left == full - costs, "dropped after {polls} polls, the call has cost {} tokens, not {costs}", full - left);
        gauge_is(&meter, left)?;
    }
    Ok(())
}

/// What a call earns that succeeds at once is on the gauge too.
pub async fn shows_what_it_earns() -> Checked {
    let meter = Meter::default();
    let _installed = metrics::set_default_local_recorder(&meter);
    let budget = Arc::new(Budget::default());
    let stage = Stage::new();
    let mut service = paid_from(&budget).layer(stage.probe());
    stage.script([Act::Fail, Act::Fail]);
    let _lost = call(&mut service, stage.request()).await;
    gauge_is(&meter, budget.tokens())?;
    for _ in 0..COST {
        call(&mut service, stage.request()).await?;
    }
    gauge_is(&meter, budget.tokens())
}

fn gauge_is(meter: &Meter, tokens: u32) -> Checked {
    let shown: Vec<f64> =
        meter.gauges().into_iter().filter(|(name, _)| name.starts_with(RETRY_BUDGET.name)).map(|(_, value)| value).collect();
    ensure!(shown == [f64::from(tokens)], "the gauge shows {shown:?}, and the budget holds {tokens}");
    Ok(())
}
