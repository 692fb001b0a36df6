//! What other crates have for the same purpose, set up as their documentation has it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Request, Response},
};
use fastrand::Rng;
use tower::retry::{
    Policy, RetryLayer,
    budget::{Budget, TpsBudget},
};
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer as ResilienceRetryLayer};

/// What pays for tower's retries.
#[derive(Debug, Clone, Copy)]
pub enum TowerBudget {
    /// Nothing does.
    None,
    /// `TpsBudget` by default: a fifth of the calls, and ten a second.
    Tps,
}

/// A policy for tower's retry: every error is repeated, with our own backoff, as far as the budget goes.
#[derive(Debug, Clone)]
pub struct TowerPolicy {
    left: u32,
    retries: u32,
    budget: Option<Arc<TpsBudget>>,
    /// One for all calls: the policy is cloned for each.
    rng: Arc<Mutex<Rng>>,
}

/// tower's retry.
pub fn tower_retry(attempts: u32, budget: TowerBudget, seed: u64) -> RetryLayer<TowerPolicy> {
    let budget = match budget {
        TowerBudget::None => None,
        TowerBudget::Tps => Some(Arc::default()),
    };
    RetryLayer::new(TowerPolicy { left: attempts - 1, retries: 0, budget, rng: Arc::new(Mutex::new(Rng::with_seed(seed))) })
}

impl<P: Clone> Policy<Request<P>, Response<()>, BoxError> for TowerPolicy {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(&mut self, _: &mut Request<P>, outcome: &mut Result<Response<()>, BoxError>) -> Option<Self::Future> {
        if outcome.is_ok() {
            if let Some(budget) = &self.budget {
                budget.deposit();
            }
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        if self.budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return None;
        }
        let ceiling = Duration::from_millis(50).saturating_mul(1 << self.retries.min(16));
        self.retries += 1;
        let share = self.rng.lock().unwrap_or_else(PoisonError::into_inner).f64();
        Some(Box::pin(tokio::time::sleep(ceiling.mul_f64(share))))
    }

    fn clone_request(&mut self, request: &Request<P>) -> Option<Request<P>> {
        Some(request.clone())
    }
}

/// tower-resilience's retry: exponential from 50 ms, and its AIMD budget by default, or none.
///
/// Its token bucket and its circuit breaker read the system's clock, so they cannot be put on a paused one.
pub fn resilience_retry<P: Send + 'static>(
    attempts: u32,
    budget: bool,
) -> ResilienceRetryLayer<Request<P>, Response<()>, BoxError> {
    let layer = ResilienceRetryLayer::<Request<P>, Response<()>, BoxError>::builder()
        .max_attempts(usize::try_from(attempts).expect("few"))
        .exponential_backoff(Duration::from_millis(50));
    match budget {
        true => layer.budget(RetryBudgetBuilder::new().aimd().build().expect("its own defaults")).build(),
        false => layer.build(),
    }
}
