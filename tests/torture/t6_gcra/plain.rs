//! One limit, asked again and again: ours beside governor, and other limiters alone.

use std::sync::Arc;

use buttress::{call::Caller, quota::QuotaLayer};
use fastrand::Rng;

use super::{
    checker::{Findings, Limit},
    limiters::{Governor, Limiter, Ours, Said, quota, tools},
};
use crate::world;

pub const DEAREST: u32 = 13;
const CHUNKS: u64 = 64;

/// Runs this many sequences on all cores, from as many seeds.
pub fn in_chunks(sequences: u64, sequence: impl Fn(&mut Rng, &mut Findings) + Sync) -> Findings {
    Findings::merge(world::seeds(CHUNKS, |seed| {
        let mut rng = Rng::with_seed(seed);
        let mut findings = Findings::default();
        for _ in 0..sequences.div_ceil(CHUNKS) {
            sequence(&mut rng, &mut findings);
            findings.sequences += 1;
        }
        findings
    }))
}

/// From a nanosecond to a third of a second a call.
pub fn limit(rng: &mut Rng) -> Limit {
    let period_ns = match rng.u8(0..3) {
        0 => rng.u64(1..5),
        1 => rng.u64(1..1_000),
        _ => 333_333_333,
    };
    Limit { period_ns, burst: rng.u32(1..DEAREST) }
}

/// The time to the next call: none, less than a period, or an idle phase of up to two bursts.
pub fn gap(rng: &mut Rng, limit: Limit) -> u64 {
    match rng.u8(0..10) {
        0..3 => 0,
        3..9 => rng.u64(0..=limit.period_ns),
        _ => rng.u64(0..=2 * limit.period_ns * u64::from(limit.burst)),
    }
}

/// Mostly one; now and then up to more than the limit ever admits.
pub fn cost(rng: &mut Rng, limit: Limit) -> u32 {
    if rng.bool() { 1 } else { rng.u32(1..=limit.burst + 1).min(DEAREST) }
}

/// Wrong is an answer other than governor's, and a wait that is not exact to the nanosecond.
pub fn beside_governor(sequences: u64) -> Findings {
    let tools = Arc::from(tools(DEAREST));
    in_chunks(sequences, |rng, findings| {
        let limit = limit(rng);
        let mut ours = Ours::new(&QuotaLayer::new().overall(quota(limit)), &tools);
        let mut governor = Governor::new(limit);
        let caller = Caller::default();
        let (mut at, mut sent) = (0, Vec::new());
        let mut ask = |at, cost, sent: &mut Vec<_>| {
            findings.calls += 1;
            let said = match ours.call(at, &caller, cost) {
                Ok(call) => {
                    call.end(false);
                    sent.push((at, cost));
                    Said::Admitted
                }
                Err((said, _)) => said,
            };
            findings.wrong += usize::from(said != governor.ask(at, cost));
            said
        };
        let mut inexact = 0;
        for _ in 0..rng.usize(4..40) {
            at += gap(rng, limit);
            let cost = cost(rng, limit);
            if let Said::Early(wait) = ask(at, cost, &mut sent)
                && rng.u8(0..4) == 0
            {
                at += wait - 1;
                inexact += usize::from(ask(at, cost, &mut sent) != Said::Early(1));
                at += 1;
                inexact += usize::from(ask(at, cost, &mut sent) != Said::Admitted);
            }
        }
        findings.wrong += inexact;
        findings.check(limit, sent);
    })
}

/// A limiter alone, which takes calls back if it can.
pub fn run<L: Limiter>(sequences: u64, make: impl Fn(Limit) -> L + Sync) -> Findings {
    in_chunks(sequences, |rng, findings| {
        let limit = limit(rng);
        let mut limiter = make(limit);
        let (mut at, mut sent) = (0, Vec::new());
        for _ in 0..rng.usize(4..40) {
            at += gap(rng, limit);
            let cost = cost(rng, limit);
            findings.calls += 1;
            if limiter.ask(at, cost) == Said::Admitted {
                sent.push((at, cost));
            }
            if rng.u8(0..6) == 0 {
                let ago = rng.usize(0..3);
                if limiter.take_back(ago) {
                    sent.remove(sent.len() - 1 - ago);
                }
            }
        }
        findings.check(limit, sent);
    })
}
