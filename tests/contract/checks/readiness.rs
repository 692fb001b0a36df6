//! Who is called has been found ready, what fails to become ready says so, and nobody is kept ready in vain.

use std::{
    num::NonZeroU32,
    task::{Context, Poll, Waker},
};

use buttress::{
    error::find,
    retry::{FullJitter, RetryLayer},
};
use tower::{Layer, Service, ServiceExt};

use super::{Checked, ensure};
use crate::{
    drive::{Served, Subject, call},
    scene::Scene,
    stage::{Act, Broken, Stage},
};

/// No call reaches an inner service that was not found ready: not the second of a row, not through a clone of one that was,
/// not the repeated one, and none that had to wait.
pub async fn calls_only_what_is_ready(layer: impl Subject) -> Checked {
    let stage = Stage::new();
    in_a_row(&stage, layer.layer(stage.probe())).await?;

    let retry = RetryLayer::new(const { NonZeroU32::new(3).unwrap() }).backoff(FullJitter::default().seeded(1));
    let stage = Stage::new();
    in_a_row(&stage, retry.layer(layer.layer(stage.probe()))).await?;

    for scene in Scene::ALL {
        let stage = Stage::new();
        let service = layer.layer(stage.probe());
        scene.prepare(&stage, &service).await?;
        scene.play(&stage, service).finish().await?;
        ensure!(stage.offences().is_empty(), "{scene:?}: {:?}", stage.offences());
    }
    Ok(())
}

async fn in_a_row<S: Served>(stage: &Stage, mut service: S) -> Checked {
    for _ in 0..3 {
        call(&mut service, stage.request()).await?;
    }
    // Found ready twice, and cloned in that state.
    let mut clone = service.ready().await?.ready().await?.clone();
    call(&mut clone, stage.request()).await?;
    service.call(stage.request()).await?;
    // What becomes of these is the layer's affair. The second one is repeated by a retry that still has attempts left.
    for acts in [[Act::Fail, Act::Answer], [Act::Fail, Act::Fail]] {
        stage.script(acts);
        let _outcome = call(&mut service, stage.request()).await;
        stage.script([]);
    }
    ensure!(stage.offences().is_empty(), "in a row: {:?}", stage.offences());
    Ok(())
}

/// An inner service that fails to become ready is heard, wherever its readiness is asked for, and by its own error.
pub async fn passes_readiness_errors_on(layer: impl Subject) -> Checked {
    let stage = Stage::new();
    stage.break_down();
    let mut service = layer.layer(stage.probe());
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    ensure!(matches!(&ready, Poll::Ready(Err(error)) if error.is::<Broken>()), "poll_ready says {ready:?}");

    for scene in Scene::ALL {
        let stage = Stage::new();
        let service = layer.layer(stage.probe());
        scene.prepare(&stage, &service).await?;
        let mut play = scene.play(&stage, service);
        for step in 0..20 {
            let Some(outcome) = play.step().await else {
                if step == 2 {
                    stage.break_down();
                }
                continue;
            };
            match &outcome {
                // It had reached the inner service before that broke, as every call but one has.
                Ok(_) => ensure!(scene != Scene::Shut, "{scene:?}: ends in {outcome:?} although nobody answered"),
                Err(error) if find::<Broken>(&**error).is_some() => {}
                Err(_) => ensure!(scene == Scene::Repeated, "{scene:?}: ends in {outcome:?}"),
            }
        }
    }
    Ok(())
}

/// A call that waits keeps no inner service ready: what that has reserved, others could use meanwhile; and where they wait for
/// each other, nobody ever gets on (`beside_tower::a_queue_does_not_hold_what_it_waits_for`).
//
// Found in `concurrency`, whose service stayed ready while its call was in the queue: src/concurrency/service.rs.
pub async fn keeps_nothing_ready_while_it_waits(layer: impl Subject) -> Checked {
    for scene in Scene::ALL {
        let stage = Stage::new();
        let service = layer.layer(stage.probe());
        scene.prepare(&stage, &service).await?;
        let mut play = scene.play(&stage, service);
        for step in 1..20 {
            if play.step().await.is_some() {
                break;
            }
            ensure!(stage.reserved() == 0, "{scene:?}: keeps an inner service ready after poll {step}");
        }
    }
    Ok(())
}
