use super::{super::store::Store, *};
use crate::{
    call::{Digest, Request},
    testing::tool,
};

const SECOND: u64 = 1_000_000_000;

fn units(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn per_second(calls: u32) -> Quota {
    Quota::per_second(units(calls))
}

fn head() -> Head {
    Request::new(tool("t"), ()).head
}

/// How many quotas before today's a check knows of.
fn remembered(limits: &Limits, now: u64) -> usize {
    limits.get(Per::TENANT).unwrap().check(&head(), now).unwrap().formers.len()
}

#[tokio::test(start_paused = true)]
async fn a_former_quota_is_remembered_until_its_last_call_is_paid_for() {
    let mut limits = Limits::default();
    limits.set(Per::TENANT, per_second(2), 0);
    limits.set(Per::TENANT, per_second(4), 5 * SECOND);
    // A burst of two, spent at the last moment, is back after a second.
    assert_eq!((remembered(&limits, 6 * SECOND - 1), remembered(&limits, 6 * SECOND)), (1, 0));
    // So it is for the quota after the next: who sets a third one then takes the second along, and not the first.
    for (now, formers) in [(6 * SECOND - 1, 2), (6 * SECOND, 1)] {
        let mut limits = limits.clone();
        limits.set(Per::TENANT, per_second(5), now);
        assert_eq!(limits.get(Per::TENANT).unwrap().formers.len(), formers, "at {now}");
    }
    // Who waits has a place ahead of time.
    limits.set_line(Line { at_most: Duration::from_secs(7), ..limits.line });
    limits.set(Per::TENANT, per_second(5), 9 * SECOND);
    assert_eq!((remembered(&limits, 17 * SECOND - 1), remembered(&limits, 17 * SECOND)), (1, 0));
}

#[test]
fn the_dearest_target_that_there_is_bounds_every_burst() {
    let mut limits = Limits::default();
    let [one, dear, dearest, beyond] = ["one", "dear", "dearest", "beyond"].map(tool);
    let refused = |limits: &mut Limits, burst| limits.try_set(Per::TENANT, per_second(burst), 0).unwrap_err();
    let error = |tool: &str, cost, burst| QuotaError::Burst { tool: tool.to_owned(), cost, scope: Scope::Tenant, burst };
    limits.expect(&one, units(1)).unwrap();
    limits.expect(&dear, units(5)).unwrap();
    assert_eq!(refused(&mut limits, 4), error("dear", 5, 4));
    limits.expect(&dearest, units(9)).unwrap();
    limits.expect(&dear, units(2)).unwrap();
    assert_eq!(refused(&mut limits, 8), error("dearest", 9, 8));
    // One that is gone bounds nothing, and what one cost before does until it is known that it does not.
    drop(dearest);
    assert_eq!(refused(&mut limits, 4), error("dear", 5, 4));
    limits.note(&dear);
    assert_eq!(limits.try_set(Per::TENANT, per_second(1), 0), Ok(()));
    assert_eq!(limits.costs.len(), 0, "what costs 1 and who is gone take no room");
    limits.remove(Per::TENANT);
    for cost in [3, 9] {
        limits.expect(&dear, units(cost)).unwrap();
        assert_eq!(refused(&mut limits, cost - 1), error("dear", cost, cost - 1));
    }
    assert_eq!(limits.try_set(Per::TENANT, per_second(9), 0), Ok(()));
    assert_eq!(limits.expect(&beyond, units(10)), Err(error("beyond", 10, 9)));
    // Which calls such a key counts nobody knows.
    assert_eq!(limits.try_set(Per::key_by(|_| None), per_second(1), 0), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_of_the_limit_that_is_nearest_to_refusing_it() {
    for (tenant, all, nearest) in [(6, 3, Scope::All), (3, 6, Scope::Tenant), (4, 4, Scope::Tenant)] {
        let mut limits = Limits::default();
        limits.set(Per::TENANT, per_second(tenant), 0);
        limits.set(Per::ALL, per_second(all), 0);
        let (store, mut room, mut ticket) = (Store::new(10), [None; MAX_LIMITS], Ticket::default());
        let checks = limits.checks(&head(), 0, None, &mut room);
        assert_eq!(store.admit(0, checks, None, &mut ticket), Ok(None));
        let standing = limits.standing(checks, &ticket, 0).unwrap();
        assert_eq!((standing.scope, standing.remaining), (nearest, tenant.min(all) - 1));
    }
}

#[test]
fn another_key_of_ones_own_is_another_limit_in_the_place_of_the_first() {
    fn of_nobody(_: &Head) -> Option<Digest> {
        None
    }
    fn of_all(head: &Head) -> Option<Digest> {
        head.caller.authorisation().or_else(|| Some(Digest::of(b"all")))
    }
    let mut limits = Limits::default();
    let mut generation = |per| {
        limits.set(per, per_second(1), 0);
        limits.get(per).map(|limit| (limit.generation, limit.formers.len())).unwrap()
    };
    assert_eq!(generation(Per::key_by(of_nobody)), (1, 0));
    assert_eq!(generation(Per::key_by(of_nobody)), (1, 0), "it is as it was");
    assert_eq!(generation(Per::key_by(of_all)), (2, 1));
    assert_eq!(generation(Per::TENANT), (3, 0));
    assert_eq!(generation(Per::TENANT), (3, 0));
}
