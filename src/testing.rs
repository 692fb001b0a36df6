//! What the layers' own tests share: targets, and a handler that follows a script.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tower::Service;

use crate::{
    call::{Admission, Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    error::BoxError,
};

/// A tool that is not safe to repeat.
pub(crate) fn tool(name: &str) -> Arc<Target> {
    known(name, TargetPolicy::default())
}

/// A tool that is safe to repeat, by the operator's word.
pub(crate) fn safe_tool(name: &str) -> Arc<Target> {
    known(name, TargetPolicy::default().idempotent(true))
}

/// A tool that only reads, by the operator's word.
pub(crate) fn reading_tool(name: &str) -> Arc<Target> {
    known(name, TargetPolicy::default().read_only(true))
}

fn known(name: &str, policy: TargetPolicy) -> Arc<Target> {
    Catalogue::new("up").tool(name, policy).resolve(&Method::ToolsCall, Some(name), None)
}

pub(crate) type Outcome = Result<Response<&'static str>, BoxError>;

/// What the handler does with one attempt.
pub(crate) enum Step {
    Answer(Outcome),
    After(Duration, Outcome),
    Hang,
}

/// A handler that follows a script, and remembers what reached it. Beyond the script it answers "done".
#[derive(Clone, Default)]
pub(crate) struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<(u32, Admission, bool)>>>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps.into_iter().collect())), ..Self::default() }
    }

    /// Number, admission and repeatability of each attempt that reached the handler.
    pub(crate) fn seen(&self) -> Vec<(u32, Admission, bool)> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Service<Request<()>> for Script {
    type Response = Response<&'static str>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let head = &request.head;
        self.seen.lock().unwrap().push((head.attempt, head.admission, head.repeatable));
        let step = self.steps.lock().unwrap().pop_front();
        Box::pin(async move {
            match step {
                None => Ok(Response::new("done")),
                Some(Step::Answer(outcome)) => outcome,
                Some(Step::After(delay, outcome)) => {
                    tokio::time::sleep(delay).await;
                    outcome
                }
                Some(Step::Hang) => std::future::pending().await,
            }
        })
    }
}
