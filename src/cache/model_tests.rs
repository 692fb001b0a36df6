//! No foreign byte: two tenants and more, answers of random scopes and lives, an upstream that fails, random times. Whatever is
//! served was said by the upstream to this very caller, or to somebody as public, in answer to this very question; and it is
//! no older than it may be.

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tower::{Layer, Service, service_fn};

use super::CacheLayer;
use crate::{
    call::{CacheScope, CallResult, Caller, Freshness, Method, Request, Response, Served},
    catalogue::Catalogue,
    error::{BoxError, Transport},
};

#[derive(Debug, Clone)]
struct Said {
    number: usize,
    freshness: Freshness,
}

impl CallResult for Said {
    fn freshness(&self) -> Freshness {
        self.freshness
    }
}

/// What the reference knows of an answer.
#[derive(Debug, Clone, Copy)]
struct Origin {
    caller: usize,
    question: u64,
    generation: u64,
    at: Instant,
    freshness: Freshness,
}

#[derive(Debug, Clone)]
enum Step {
    Ask { caller: usize, question: u64, answers: bool, freshness: Freshness },
    Pass(u64),
    Change,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let freshness = (prop_oneof![Just(0_u64), Just(10), Just(30), Just(500)], any::<bool>()).prop_map(|(seconds, public)| {
        let scope = if public { CacheScope::Public } else { CacheScope::Private };
        Freshness { ttl: Duration::from_secs(seconds), scope }
    });
    let ask = (0..CALLERS, 0..2_u64, prop::bool::weighted(0.7), freshness)
        .prop_map(|(caller, question, answers, freshness)| Step::Ask { caller, question, answers, freshness });
    let step = prop_oneof![8 => ask, 3 => (1..40_u64).prop_map(Step::Pass), 1 => Just(Step::Change)];
    prop::collection::vec(step, 0..120)
}

/// Two tenants with one token between them, two tokens of one tenant, two principals of one token, and two without a token.
const CALLERS: usize = 6;

fn caller(number: usize) -> Caller {
    match number {
        0 => Caller::of_tenant("a").access_token(b"1"),
        1 => Caller::of_tenant("b").access_token(b"1"),
        2 => Caller::of_tenant("a").access_token(b"2"),
        3 => Caller::of_tenant("a").access_token(b"1").principal("p"),
        4 => Caller::of_tenant("a"),
        _ => Caller::of_tenant("b"),
    }
}

const LONGEST: Duration = Duration::from_secs(60);
const STALE: Duration = Duration::from_secs(20);
const IF_ERROR: Duration = Duration::from_secs(100);

async fn run(steps: Vec<Step>, revalidates: bool) -> Result<(), TestCaseError> {
    let next = Arc::new(Mutex::new((true, Freshness::default())));
    let origins = Arc::new(Mutex::new(HashMap::<usize, Origin>::new()));
    let generation = Arc::new(Mutex::new(0_u64));
    let handler = {
        let (next, origins, generation) = (next.clone(), origins.clone(), generation.clone());
        service_fn(move |request: Request<u64>| {
            let (answers, freshness) = *next.lock().unwrap();
            let mut origins = origins.lock().unwrap();
            let caller = (0..CALLERS).find(|number| {
                let (one, other) = (caller(*number), &request.head.caller);
                let names = |caller: &Caller| (caller.tenant().to_owned(), caller.principal_name().map(str::to_owned));
                names(&one) == names(other) && one.authorisation() == other.authorisation()
            });
            let number = origins.len();
            let generation = *generation.lock().unwrap();
            let origin = Origin { caller: caller.unwrap(), question: request.params, generation, at: Instant::now(), freshness };
            let outcome: Result<_, BoxError> = match answers {
                true => {
                    origins.insert(number, origin);
                    Ok(Response::new(Said { number, freshness }))
                }
                false => Err(Transport::not_sent("refused").into()),
            };
            async move { outcome }
        })
    };
    let grace = if revalidates { STALE } else { Duration::ZERO };
    let layer = CacheLayer::new(NonZeroU64::new(1 << 20).unwrap()).longest(LONGEST).stale_if_error(IF_ERROR);
    let layer = layer.stale_while_revalidate(grace);
    let mut service = layer.layer(handler);
    let target = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    for step in steps {
        match step {
            Step::Pass(seconds) => advance(Duration::from_secs(seconds)).await,
            Step::Change => {
                *generation.lock().unwrap() += 1;
                layer.invalidate(&target);
            }
            Step::Ask { caller: who, question, answers, freshness } => {
                *next.lock().unwrap() = (answers, freshness);
                let mut request = Request::new(target.clone(), question);
                request.head.caller = caller(who);
                let asked = origins.lock().unwrap().len();
                let outcome = service.call(request).await;
                let Ok(response) = outcome else {
                    prop_assert!(!answers);
                    continue;
                };
                let number = response.result.unwrap().number;
                let origin = origins.lock().unwrap()[&number];
                let age = origin.at.elapsed();
                prop_assert_eq!(origin.question, question);
                let public = origin.freshness.scope == CacheScope::Public;
                prop_assert!(public || origin.caller == who, "{:?} served to {}", origin, who);
                prop_assert!(public || who < 4 || response.served == Served::Attempt, "kept although nobody knows whose it is");
                let ttl = origin.freshness.ttl.min(LONGEST);
                match response.served {
                    Served::Attempt => prop_assert_eq!(number, asked),
                    Served::Cache { stale: false, age: told } => {
                        prop_assert_eq!(told, age);
                        prop_assert!(age < ttl && origin.generation == *generation.lock().unwrap());
                    }
                    Served::Cache { stale: true, age: told } => {
                        prop_assert_eq!(told, age);
                        let revalidated = !ttl.is_zero() && age < ttl + grace && origin.generation == *generation.lock().unwrap();
                        let for_an_error = !answers && age < ttl + IF_ERROR;
                        prop_assert!(revalidated || for_an_error, "{:?} after {:?}", origin, age);
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        // Whatever was fetched in the background is there.
        tokio::task::yield_now().await;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn nobody_is_served_what_was_said_to_another(steps in steps(), revalidates in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps, revalidates))?;
    }
}
