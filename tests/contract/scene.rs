//! Where a call may have to wait, and how it gets on.

use std::{task::Poll, time::Duration};

use buttress::BoxError;

use crate::{
    checks::{Violation, ensure},
    drive::{Driven, Served, call},
    stage::{Act, Stage},
};

/// What a call meets. Every layer plays every scene; the names say whom each was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// The handler is found pending this often.
    Pending(u32),
    /// The handler hangs.
    Hanging,
    /// Another call is under way, and holds the only slot of a concurrency limit.
    Queued,
    /// As before; and when the slot is free, the inner service is not ready.
    QueuedThenShut,
    /// The inner service is not ready.
    Shut,
    /// A breaker is half open: the call is the probe.
    HalfOpen,
    /// The first attempt fails; a second one hangs.
    Repeated,
}

/// A call in its scene.
pub struct Play<'a> {
    scene: Scene,
    stage: &'a Stage,
    /// The call that the scene is about. `None`: it has ended.
    call: Option<Driven>,
    /// The call that stands in its way.
    other: Option<Driven>,
    turns: usize,
}

impl Scene {
    pub const ALL: [Self; 10] = [
        Self::Pending(0),
        Self::Pending(1),
        Self::Pending(2),
        Self::Pending(3),
        Self::Hanging,
        Self::Queued,
        Self::QueuedThenShut,
        Self::Shut,
        Self::HalfOpen,
        Self::Repeated,
    ];

    /// Brings about what lasts longer than one call: all handles exist, and a breaker is half open where it is to be.
    pub async fn prepare<S: Served>(self, stage: &Stage, service: &S) -> Result<(), BoxError> {
        let mut service = service.clone();
        call(&mut service, stage.request()).await?;
        if self == Self::HalfOpen {
            stage.script([Act::Fail, Act::Fail]);
            for _ in 0..2 {
                let _lost = call(&mut service, stage.request()).await;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            stage.script([Act::Hang]);
            let mut probe = Driven::new(service, stage.request());
            let _ = probe.poll().is_pending();
        }
        Ok(())
    }

    /// Raises the curtain: the call is made, where nothing stands in its way yet, and has not been polled.
    pub fn play<S: Served>(self, stage: &Stage, service: S) -> Play<'_> {
        let mut other = None;
        match self {
            Self::Pending(times) => stage.script([Act::Pend(times)]),
            Self::Hanging | Self::HalfOpen => stage.script([Act::Hang]),
            Self::Queued | Self::QueuedThenShut => {
                stage.script([Act::Hang, Act::Hang]);
                let holder = other.insert(Driven::new(service.clone(), stage.request()));
                let _ = holder.poll().is_pending();
            }
            Self::Shut => stage.shut(),
            Self::Repeated => stage.script([Act::Fail, Act::Hang]),
        }
        Play { scene: self, stage, call: Some(Driven::new(service, stage.request())), other, turns: 0 }
    }
}

impl Play<'_> {
    /// Polls the call. `Some`: it has ended.
    pub fn poll(&mut self) -> Option<Result<&'static str, BoxError>> {
        let Poll::Ready(outcome) = self.call.as_mut()?.poll() else { return None };
        self.call = None;
        Some(outcome.map(|response| response.result.unwrap_or("refused in words")))
    }

    /// Lets a second pass, and takes one obstacle away.
    pub async fn turn(&mut self) {
        self.turns += 1;
        match self.turns {
            1 if self.scene == Scene::QueuedThenShut => self.stage.shut(),
            2 => self.other = None,
            4 => self.stage.open(),
            6 => self.stage.release(),
            _ => {}
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    /// Polls the call; and if it waits, lets the scene go on.
    pub async fn step(&mut self) -> Option<Result<&'static str, BoxError>> {
        let outcome = self.poll();
        if outcome.is_none() {
            self.turn().await;
        }
        outcome
    }

    /// How often the call's task has been woken.
    pub fn wakes(&self) -> usize {
        self.call.as_ref().map_or(0, Driven::wakes)
    }

    /// Plays the scene to its end; says how often the call was found pending.
    pub async fn finish(&mut self) -> Result<usize, Violation> {
        while self.turns < 20 {
            if let Some(outcome) = self.step().await {
                ensure!(
                    outcome.is_ok() || self.scene == Scene::Repeated,
                    "{:?}: ends in {outcome:?} although nothing failed",
                    self.scene
                );
                return Ok(self.turns);
            }
        }
        Err(Violation(format!("{:?}: the call never ends", self.scene)))
    }

    /// Takes everything away that still stands in anybody's way.
    pub fn clear(self) {
        self.stage.script([]);
        self.stage.open();
        self.stage.release();
    }
}
