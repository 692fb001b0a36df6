use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use tokio::time::advance;
use tower::{Layer, Service};

use super::{QuotaLayer, QuotaService};
use crate::{
    call::{Caller, Method, Request, Target},
    catalogue::Catalogue,
    error::{Allowance, Reason, Rejected, Scope},
    testing::{Script, tool},
};

fn per_minute(calls: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(calls).unwrap())
}

async fn refused(service: &mut QuotaService<Script>, tenant: &str, target: &Arc<Target>) -> Option<Rejected> {
    let mut request = Request::new(target.clone(), ());
    request.head.caller = Caller::of_tenant(tenant.to_owned());
    service.call(request).await.err()?.downcast_ref().copied()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_limit_and_the_exact_wait() {
    let mut service = QuotaLayer::new().per_tenant(per_minute(2)).layer(Script::default());
    let target = tool("t");
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    let rejected = refused(&mut service, "a", &target).await.unwrap();
    let allowance = Allowance { calls: 2, per: Duration::from_secs(60), scope: Scope::Tenant };
    let wait = Duration::from_secs(30);
    let expected = Rejected::new("quota", Reason::Quota).allowing(allowance).retry_after(Some(wait));
    assert_eq!(rejected, expected);
    advance(wait - Duration::from_millis(1)).await;
    assert!(refused(&mut service, "a", &target).await.is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(refused(&mut service, "a", &target).await, None);
}

/// A tenant over its own limit takes nothing from what all share.
#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_does_not_use_up_the_shared_limit() {
    let layer = QuotaLayer::new().per_tenant(per_minute(2)).overall(per_minute(4));
    let mut service = layer.layer(Script::default());
    let target = tool("t");
    for _ in 0..50 {
        refused(&mut service, "noisy", &target).await;
    }
    for tenant in ["b", "c"] {
        assert_eq!(refused(&mut service, tenant, &target).await, None, "{tenant}");
    }
    assert!(refused(&mut service, "d", &target).await.is_some_and(|rejected| rejected.allowance().unwrap().calls == 4));
    // noisy, b, c, and the one cell that all share: a refused key is not remembered.
    assert_eq!((layer.tracked_keys(), layer.overflows()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn each_scope_has_cells_of_its_own() {
    type With = fn(QuotaLayer, Quota) -> QuotaLayer;
    let scopes: [(With, [bool; 3]); 4] = [
        (QuotaLayer::per_tenant_and_target, [true, true, true]),
        (QuotaLayer::per_tenant, [false, true, true]),
        (QuotaLayer::per_target, [true, false, true]),
        (QuotaLayer::overall, [false, false, false]),
    ];
    let (one, other) = (tool("one"), tool("other"));
    for (scope, admitted) in scopes {
        for (n, (tenant, target)) in [("a", &other), ("b", &one), ("b", &other)].into_iter().enumerate() {
            let mut service = scope(QuotaLayer::new(), per_minute(1)).layer(Script::default());
            assert_eq!(refused(&mut service, "a", &one).await, None);
            assert_eq!(refused(&mut service, tenant, target).await.is_none(), admitted[n], "{n}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lifecycle_methods_pass_and_are_not_counted() {
    let layer = QuotaLayer::new().overall(per_minute(1));
    let mut service = layer.layer(Script::default());
    let initialize = Catalogue::new("up").resolve(&Method::Initialize, None, None);
    for _ in 0..5 {
        assert_eq!(refused(&mut service, "a", &initialize).await, None);
    }
    assert_eq!(refused(&mut service, "a", &tool("t")).await, None);
}
