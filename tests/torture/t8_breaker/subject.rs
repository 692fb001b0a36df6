//! The breakers that are put to the test, around a handler that does as each call says.

use std::sync::Arc;

use buttress::{
    BoxError,
    breaker::{BreakerLayer, State},
    call::{Request, Response, Target},
    error::{HttpStatus, Transport},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

use super::{Reason, Rejected};
use crate::world::tool;

/// What the handler makes of a call.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    Succeed,
    Fail,
    Throttle,
}

pub type Service = BoxCloneSyncService<Request<Act>, Response<()>, BoxError>;

/// A breaker around a service.
pub struct Subject {
    pub service: Service,
    pub target: Arc<Target>,
    opened: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Subject {
    pub async fn call(&self, act: Act) -> Result<Response<()>, BoxError> {
        self.service.clone().oneshot(Request::new(self.target.clone(), act)).await
    }

    /// Whether it is anything but closed.
    pub fn is_open(&self) -> bool {
        (self.opened)()
    }
}

/// Does as told, at once.
pub fn obedient() -> Service {
    BoxCloneSyncService::new(service_fn(async |request: Request<Act>| match request.params {
        Act::Succeed => Ok(Response::new(())),
        Act::Fail => Err(BoxError::from(Transport::unknown("reset"))),
        Act::Throttle => Err(HttpStatus::new(429).into()),
    }))
}

/// Our own breaker, as it is by default.
pub fn ours(seed: u64) -> Subject {
    around(obedient(), seed)
}

pub fn around(inner: Service, seed: u64) -> Subject {
    let layer = BreakerLayer::default().seeded(seed);
    let target = tool("tool", true);
    let opened = {
        let (handle, target) = (layer.handle(), target.clone());
        move || handle.target(&target).is_some_and(|status| status.state != State::Closed)
    };
    let service = BoxCloneSyncService::new(layer.layer(inner));
    Subject { service, target, opened: Box::new(opened) }
}

/// tower-resilience's breaker, as it is by default but for what is said here.
pub fn resilience(consecutive: Option<usize>) -> Subject {
    resilience_around(obedient(), consecutive)
}

pub fn resilience_around(inner: Service, consecutive: Option<usize>) -> Subject {
    let mut builder = CircuitBreakerLayer::builder();
    if let Some(consecutive) = consecutive {
        builder = builder.consecutive_failures(consecutive);
    }
    let (layer, handle) = builder.build_with_handle().expect("its own defaults");
    let service = layer.layer(inner).map_err(|error| match error {
        CircuitBreakerError::OpenCircuit => BoxError::from(Rejected::new("breaker", Reason::BreakerOpen)),
        CircuitBreakerError::Inner(error) => error,
    });
    let service = BoxCloneSyncService::new(service);
    Subject { service, target: tool("tool", true), opened: Box::new(move || handle.is_open()) }
}

/// The planted defect: refusals look like any other failure.
pub fn opaque(inner: Service) -> Service {
    BoxCloneSyncService::new(inner.map_err(|error| BoxError::from(error.to_string())))
}
