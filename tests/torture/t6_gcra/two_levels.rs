//! A limit of each tenant's under one that all share, with calls under way that may turn out never to have been sent.

use std::{collections::HashMap, sync::Arc};

use buttress::{call::Caller, error::Scope, quota::QuotaLayer};
use fastrand::Rng;

use super::{
    checker::{Findings, Limit},
    limiters::{Ours, Said, UnderWay, quota, tools},
    plain::{DEAREST, cost, gap, in_chunks, limit},
};

/// Wrong is a wait that is not exact to the nanosecond for the limit that named it.
pub fn run(sequences: u64) -> Findings {
    let tools = Arc::from(tools(DEAREST));
    let callers: Vec<Caller> = ["a", "b", "c", "d"].map(Caller::of_tenant).into();
    in_chunks(sequences, |rng, findings| {
        let tenants = rng.usize(1..=callers.len());
        let own = limit(rng);
        let shared = Limit { period_ns: (own.period_ns / rng.u64(1..4)).max(1), burst: rng.u32(1..DEAREST) };
        let layer = QuotaLayer::new().per_tenant(quota(own)).overall(quota(shared));
        let mut run = Sequence { ours: Ours::new(&layer, &tools), sent: HashMap::new(), under_way: Vec::new(), next: 0 };
        let mut at = 0;
        for _ in 0..rng.usize(4..60) {
            at += gap(rng, own);
            run.end_some(rng);
            let (tenant, cost) = (rng.usize(0..tenants), cost(rng, own));
            findings.calls += 1;
            if let Some((wait, scope)) = run.call(at, tenant, &callers[tenant], cost)
                && rng.u8(0..4) == 0
            {
                findings.calls += 2;
                at += wait - 1;
                findings.wrong += usize::from(run.call(at, tenant, &callers[tenant], cost) != Some((1, scope)));
                at += 1;
                let again = run.call(at, tenant, &callers[tenant], cost);
                findings.wrong += usize::from(again.is_some_and(|(_, by)| by == scope));
            }
        }
        run.under_way.drain(..).for_each(|(_, call)| call.end(false));
        let of = |tenant: Option<usize>| {
            let sent = run.sent.values().filter(move |sent| tenant.is_none_or(|tenant| sent.0 == tenant));
            sent.map(|&(_, at, cost)| (at, cost)).collect::<Vec<_>>()
        };
        (0..tenants).for_each(|tenant| findings.check(own, of(Some(tenant))));
        findings.check(shared, of(None));
    })
}

struct Sequence {
    ours: Ours,
    /// What was sent: whose, when, and at what cost, by number.
    sent: HashMap<usize, (usize, u64, u32)>,
    under_way: Vec<(usize, UnderWay)>,
    next: usize,
}

impl Sequence {
    /// Says by whom the call was refused for how long, if waiting would help.
    fn call(&mut self, at: u64, tenant: usize, caller: &Caller, cost: u32) -> Option<(u64, Option<Scope>)> {
        match self.ours.call(at, caller, cost) {
            Ok(call) => {
                self.sent.insert(self.next, (tenant, at, cost));
                self.under_way.push((self.next, call));
                self.next += 1;
                None
            }
            Err((Said::Early(wait), scope)) => Some((wait, scope)),
            Err(_) => None,
        }
    }

    /// Some calls end, in any order; a third of those was never sent.
    fn end_some(&mut self, rng: &mut Rng) {
        while !self.under_way.is_empty() && rng.bool() {
            let (number, call) = self.under_way.swap_remove(rng.usize(0..self.under_way.len()));
            let shed = rng.u8(0..3) == 0;
            call.end(shed);
            if shed {
                self.sent.remove(&number);
            }
        }
    }
}
