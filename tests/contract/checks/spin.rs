//! While nothing changes, nobody is woken.

use super::{Checked, ensure};
use crate::{drive::Subject, scene::Scene, stage::Stage};

/// A call that waits sleeps. Between any two events of a scene it is polled a hundred times more than it has to be: a task
/// that were woken by that, even once, would never rest.
pub async fn sleeps_while_it_waits(layer: impl Subject) -> Checked {
    // In the other scenes the handler itself wakes its task.
    for scene in Scene::ALL.into_iter().filter(|scene| !matches!(scene, Scene::Pending(_))) {
        let stage = Stage::new();
        let service = layer.layer(stage.probe());
        scene.prepare(&stage, &service).await?;
        let mut play = scene.play(&stage, service);
        while play.poll().is_none() {
            let before = play.wakes();
            let waits = (0..100).all(|_| play.poll().is_none());
            tokio::task::yield_now().await;
            let wakes = play.wakes() - before;
            ensure!(waits && wakes == 0, "{scene:?}: woken {wakes} times in 100 polls while nothing changed");
            play.turn().await;
        }
    }
    Ok(())
}
