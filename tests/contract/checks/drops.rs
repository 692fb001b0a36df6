//! A call may be dropped wherever it waits, and leaves nothing behind.

use std::{collections::BTreeMap, time::Duration};

use buttress::metrics::{AUDIT_BACKLOG, RETRY_BUDGET};

use super::{Checked, ensure};
use crate::{
    drive::{Subject, call},
    meter::Meter,
    scene::Scene,
    stage::Stage,
};

/// Every scene is played once to its end, which counts the places where the call waits, and once for each of those: there the
/// call is dropped.
pub async fn leaks_nothing_wherever_it_is_dropped(layer: impl Subject) -> Checked {
    for scene in Scene::ALL {
        let stage = Stage::new();
        let service = layer.layer(stage.probe());
        scene.prepare(&stage, &service).await?;
        let waits = scene.play(&stage, service).finish().await?;
        for polls in 0..=waits {
            dropped_after(polls, scene, &layer).await?;
        }
    }
    Ok(())
}

async fn dropped_after(polls: usize, scene: Scene, layer: &impl Subject) -> Checked {
    let meter = Meter::default();
    let _installed = metrics::set_default_local_recorder(&meter);
    let stage = Stage::new();
    let mut service = layer.layer(stage.probe());
    scene.prepare(&stage, &service).await?;
    let before = levels(&meter);

    let mut play = scene.play(&stage, service.clone());
    for _ in 0..polls {
        play.step().await;
    }
    play.clear();

    let place = format!("{scene:?}, dropped after {polls} polls");
    let left = [("running", stage.running()), ("reserved", stage.reserved()), ("copies", stage.copies())];
    ensure!(left.iter().all(|(_, left)| *left == 0), "{place}: left behind are {left:?}");
    let after = levels(&meter);
    ensure!(before == after, "{place}: gauges were {before:#?} and are {after:#?}");

    if scene == Scene::HalfOpen {
        // Whose probe has proved nothing leaves the next one to others, for as long as it was held.
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let calls = stage.calls();
    let next = call(&mut service, stage.request()).await;
    ensure!(next.is_ok() && stage.calls() == calls + 1, "{place}: the next call ends in {next:?}");
    // And it gets as far as the first one could: into the queue, to a second attempt.
    scene.play(&stage, service).finish().await?;
    Ok(())
}

/// The gauges that tell how much of something is in use. The budget of a retry is an account and no such level: an attempt that
/// was made has been paid for, also if its caller leaves; see `retries`. Nor are the audit records that wait: their writer takes
/// them when it can.
fn levels(meter: &Meter) -> BTreeMap<String, f64> {
    let mut gauges = meter.gauges();
    gauges.retain(|name, _| [RETRY_BUDGET, AUDIT_BACKLOG].iter().all(|other| !name.starts_with(other.name)));
    gauges
}
