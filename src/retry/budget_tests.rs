use std::sync::Arc;

use proptest::prelude::*;

use super::budget::{Budget, TENANTS};
use crate::{
    call::Caller,
    metrics::{Level, RETRY_BUDGET, Subject},
};

#[test]
fn one_tenant_has_at_most_half() {
    let budget = Budget::of(100);
    let (greedy, other) = (Caller::of_tenant("greedy"), Caller::of_tenant("other"));
    let taken = std::iter::from_fn(|| budget.withdraw(&greedy, 5)).count();
    assert_eq!((taken, budget.tokens()), (10, 50));
    assert!(budget.withdraw(&other, 14).is_some());
}

#[test]
fn a_success_earns_for_the_bucket_and_for_its_own_tenant() {
    let budget = Budget::of(20);
    let (a, b) = (Caller::of_tenant("a"), Caller::of_tenant("b"));
    budget.withdraw(&a, 5).unwrap();
    budget.withdraw(&a, 5).unwrap();
    for _ in 0..9 {
        budget.earn(b.tenant_digest());
    }
    assert_eq!(budget.tokens(), 19);
    assert!(budget.withdraw(&a, 5).is_none(), "b's successes do not restore a's half");
    budget.withdraw(&b, 5).unwrap();
    for _ in 0..5 {
        budget.earn(a.tenant_digest());
    }
    assert!(budget.withdraw(&a, 5).is_some());
}

/// Else whoever failed once and never came back would have every later success take the lock, and take up room.
#[test]
fn a_full_bucket_remembers_nobody() {
    let budget = Budget::of(100_000);
    let (gone, good) = (|n: usize| Caller::of_tenant(n.to_string()), Caller::of_tenant("good"));
    let paid: Vec<_> = (0..TENANTS).map(|n| budget.withdraw(&gone(n), 5).unwrap()).collect();
    while budget.tokens() < budget.capacity() {
        assert!(budget.earn(good.tenant_digest()));
    }
    assert!(!budget.earn(good.tenant_digest()), "nothing is missing");
    // There is a share for everybody again.
    assert!(budget.withdraw(&gone(TENANTS), 49_000).is_some());
    assert!(budget.withdraw(&gone(TENANTS + 1), 2_000).is_some());
    // What comes back late is not given to others.
    budget.refund(paid[0]);
    assert!(budget.withdraw(&gone(TENANTS), 2_000).is_none());
}

#[test]
fn a_budget_that_could_pay_for_nothing_is_refused() {
    let refused = Budget::try_new(9).unwrap_err();
    assert_eq!(refused.to_string(), "a budget has 9 tokens, but must have at least 10: half of it has to pay for one retry");
    let budget = Budget::try_new(10).unwrap();
    assert_eq!(budget.set_capacity(9), Err(refused));
    assert_eq!(budget.capacity(), 10);
    assert!(budget.withdraw(&Caller::of_tenant("a"), 5).is_some());
}

/// A bucket is made small in a bad hour, and must not be full again for that when it is made large.
#[test]
fn what_is_missing_from_the_bucket_stays_missing_while_it_is_small() {
    let budget = Budget::of(100);
    let callers = ["a", "b"].map(Caller::of_tenant);
    callers.iter().for_each(|caller| assert!((0..10).all(|_| budget.withdraw(caller, 5).is_some())));
    let resized = |capacity| {
        budget.set_capacity(capacity).unwrap();
        budget.tokens()
    };
    assert_eq!([resized(10), resized(100), resized(130)], [0, 0, 30]);
    resized(50);
    assert!((0..50).all(|_| budget.earn(callers[0].tenant_digest()) && budget.tokens() == 0));
    assert!(budget.earn(callers[0].tenant_digest()));
    assert_eq!([budget.tokens(), resized(100)], [1, 51]);
}

#[test]
fn a_success_earns_where_something_is_missing() {
    let (budget, caller) = (Budget::of(20), Caller::of_tenant("a"));
    let earn = || budget.earn(caller.tenant_digest());
    assert!(!earn());
    let paid = budget.withdraw(&caller, 5).unwrap();
    assert!(earn());
    budget.refund(paid);
    assert_eq!((budget.tokens(), earn()), (20, false));
}

#[test]
fn tenants_beyond_the_bound_share_one_half() {
    let budget = Budget::of(100_000);
    let caller = |n: usize| Caller::of_tenant(n.to_string());
    assert!((0..TENANTS).all(|n| budget.withdraw(&caller(n), 5).is_some()));
    assert!(budget.withdraw(&caller(TENANTS), 49_000).is_some());
    assert!(budget.withdraw(&caller(TENANTS + 1), 2_000).is_none(), "the two together have spent a half");
    assert!(budget.withdraw(&caller(0), 2_000).is_some());
}

#[derive(Debug, Clone)]
enum Step {
    Withdraw(usize, u32),
    Refund,
    Earn(usize),
    Resize(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..3_usize, prop_oneof![Just(5_u32), Just(14)]).prop_map(|(tenant, cost)| Step::Withdraw(tenant, cost)),
        Just(Step::Refund),
        (0..3_usize).prop_map(Step::Earn),
        (Budget::LEAST..120_u32).prop_map(Step::Resize),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Against plain arithmetic: failed retries never cost more than was there and was earned, and what is refunded or
    /// earned comes back.
    #[test]
    fn follows_the_plain_reference(steps in steps()) {
        let budget = Budget::of(60);
        let callers: Vec<Caller> = ["a", "b", "c"].into_iter().map(Caller::of_tenant).collect();
        let (mut capacity, mut missing, mut used) = (60_u32, 0_u32, [0_u32; 3]);
        let mut paid = Vec::new();
        for step in steps {
            match step {
                Step::Withdraw(tenant, cost) => {
                    let affordable = missing + cost <= capacity && used[tenant] + cost <= capacity / 2;
                    let withdrawal = budget.withdraw(&callers[tenant], cost);
                    prop_assert_eq!(withdrawal.is_some(), affordable);
                    if let Some(withdrawal) = withdrawal {
                        missing += cost;
                        used[tenant] += cost;
                        paid.push((tenant, cost, withdrawal));
                    }
                }
                Step::Refund => {
                    if let Some((tenant, cost, withdrawal)) = paid.pop() {
                        budget.refund(withdrawal);
                        missing = missing.saturating_sub(cost);
                        used[tenant] = used[tenant].saturating_sub(cost);
                        used = if missing == 0 { [0; 3] } else { used };
                    }
                }
                Step::Earn(tenant) => {
                    budget.earn(callers[tenant].tenant_digest());
                    missing = missing.saturating_sub(1);
                    used[tenant] = used[tenant].saturating_sub(1);
                    used = if missing == 0 { [0; 3] } else { used };
                }
                Step::Resize(to) => {
                    budget.set_capacity(to).unwrap();
                    capacity = to;
                    prop_assert_eq!(budget.capacity(), capacity);
                }
            }
            prop_assert_eq!(budget.tokens(), capacity.saturating_sub(missing));
        }
    }
}

#[test]
fn a_gauge_that_nobody_holds_takes_no_room() {
    let budget = Budget::of(100);
    let shown = |upstream| budget.shown(upstream, || Level::new(RETRY_BUDGET, &Subject::whole(upstream), []));
    let held = shown("held");
    (0..3).for_each(|_| drop(shown("let go")));
    assert!(Arc::ptr_eq(&held, &shown("held")));
    assert_eq!(budget.shown_by(), 2);
}

#[test]
fn the_least_budget_pays_for_one_retry_of_what_was_not_executed() {
    assert!(Budget::try_new(9).is_err());
    assert!(Budget::of(10).withdraw(&Caller::of_tenant("a"), 5).is_some());
}
