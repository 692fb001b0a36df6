use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::FakeRelativeClock, middleware::StateInformationMiddleware};
use tower::{Layer, Service};

use super::{RateLimitLayer, RateLimited};
use crate::{
    call::{Caller, Method, Request},
    catalogue::Catalogue,
    error::{Reason, Rejected},
    gate::Mode,
    testing::{Script, tool},
};

const ONE_A_SECOND: Quota = Quota::per_second(NonZeroU32::MIN);

async fn refused(service: &mut RateLimited<Script>, tenant: &str) -> Option<Rejected> {
    let mut request = Request::new(tool("t"), ());
    request.head.caller = Caller::of_tenant(tenant.to_owned());
    service.call(request).await.err()?.downcast_ref().copied()
}

#[tokio::test]
async fn a_direct_limiter_is_shared_by_all_and_says_when_to_come_back() {
    let clock = FakeRelativeClock::default();
    let limiter = Arc::new(RateLimiter::direct_with_clock(ONE_A_SECOND, clock.clone()));
    let mut service = RateLimitLayer::new(limiter).layer(Script::default());
    assert_eq!(refused(&mut service, "a").await, None);
    clock.advance(Duration::from_millis(400));
    let rejected = refused(&mut service, "b").await.unwrap();
    assert_eq!((rejected.reason(), rejected.delay()), (Reason::RateLimit, Some(Duration::from_millis(600))));
    clock.advance(Duration::from_millis(600));
    assert_eq!(refused(&mut service, "b").await, None);
}

#[tokio::test]
async fn a_keyed_limiter_with_another_middleware_is_asked_by_key() {
    let limiter = RateLimiter::keyed(ONE_A_SECOND).with_middleware::<StateInformationMiddleware>();
    let by_tenant = RateLimitLayer::keyed(Arc::new(limiter), |head| head.caller.tenant().to_owned());
    let mut service = by_tenant.layer(Script::default());
    assert_eq!(refused(&mut service, "a").await, None);
    assert!(refused(&mut service, "a").await.is_some());
    assert_eq!(refused(&mut service, "b").await, None);
}

#[tokio::test]
async fn lifecycle_methods_pass() {
    let limiter = Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN)));
    let mut service = RateLimitLayer::new(limiter).layer(Script::default());
    let initialize = Catalogue::new("up").resolve(&Method::Initialize, None, None);
    for _ in 0..5 {
        assert!(service.call(Request::new(initialize.clone(), ())).await.is_ok());
    }
}

#[tokio::test]
async fn the_limiter_and_what_it_does_may_be_changed_while_in_use() {
    let limiter = || Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN)));
    let layer = RateLimitLayer::new(limiter()).mode(Mode::Observe);
    let (handle, mut service) = (layer.handle(), layer.layer(Script::default()));
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshot = recorder.snapshotter();
    {
        let _recording = metrics::set_default_local_recorder(&recorder);
        for _ in 0..3 {
            assert_eq!(refused(&mut service, "a").await, None);
        }
    }
    let mut counted = snapshot.snapshot().into_vec().into_iter();
    let counted = counted.find(|(key, ..)| key.key().name() == crate::metrics::OBSERVED_REJECTIONS.name);
    assert_eq!(counted.map(|(.., value)| value), Some(metrics_util::debugging::DebugValue::Counter(2)));
    handle.set_mode(Mode::Enforce);
    assert!(refused(&mut service, "a").await.is_some() && handle.mode() == Mode::Enforce);
    handle.set(limiter());
    assert!(refused(&mut service, "a").await.is_none() && refused(&mut service, "a").await.is_some());
    handle.remove();
    assert_eq!(refused(&mut service, "a").await, None);
}
