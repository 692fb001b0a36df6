//! What the breaker of an upstream saves when all of it is down, and that it shuts nobody out when only a part is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use buttress::{
    BoxError,
    breaker::{BreakerLayer, Policy, Settings},
    call::{Request, Response, Target},
    error::Transport,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{is_refusal, probes::tools};
use crate::world::run;

/// What a handler answers.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    Well,
    Reset,
    NotSent,
}

type Service = BoxCloneSyncService<Request<Answer>, Response<()>, BoxError>;

fn service(seed: u64, above: bool, reached: &Arc<AtomicUsize>) -> Service {
    let settings = match above {
        true => Settings::default(),
        false => Settings { connect_failures: 0, open_share: 0.0, ..Settings::default() },
    };
    let reached = reached.clone();
    let handler = service_fn(move |request: Request<Answer>| {
        reached.fetch_add(1, Relaxed);
        async move {
            match request.params {
                Answer::Well => Ok(Response::new(())),
                Answer::Reset => Err(BoxError::from(Transport::unknown("reset"))),
                Answer::NotSent => Err(Transport::not_sent("refused").into()),
            }
        }
    });
    let policy = Policy::try_new(settings).expect("they make sense");
    BoxCloneSyncService::new(BreakerLayer::new(policy).seeded(seed).layer(handler))
}

async fn call(service: &Service, target: &Arc<Target>, answer: Answer) -> Result<Response<()>, BoxError> {
    service.clone().oneshot(Request::new(target.clone(), answer)).await
}

/// How many calls of twenty tools, one a second each, reach an upstream that is down, in its first two minutes.
pub fn spent(seed: u64, answer: Answer, above: bool) -> usize {
    run(async {
        let reached = Arc::new(AtomicUsize::new(0));
        let (service, tools) = (service(seed, above, &reached), tools::<20>());
        let all = async |answer| {
            for tool in &tools {
                let _ = call(&service, tool, answer).await;
                advance(Duration::from_millis(50)).await;
            }
        };
        for _ in 0..60 {
            all(Answer::Well).await;
        }
        reached.store(0, Relaxed);
        for _ in 0..120 {
            all(answer).await;
        }
        reached.load(Relaxed)
    })
}

/// How many calls of healthy tools are refused while one tool that fails is hammered, for ten minutes.
pub fn shut_out(seed: u64, answer: Answer) -> usize {
    run(async {
        let (service, tools) = (service(seed, true, &Arc::default()), tools::<4>());
        let mut refused = 0;
        for second in 0..600 {
            for _ in 0..50 {
                let _ = call(&service, &tools[0], answer).await;
                advance(Duration::from_millis(20)).await;
            }
            // Few enough that the failures in between make long runs.
            let outcome = call(&service, &tools[1 + second % 3], Answer::Well).await;
            refused += usize::from(outcome.is_err_and(|error| is_refusal(&error)));
        }
        refused
    })
}
