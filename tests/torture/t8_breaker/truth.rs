//! The truth table: what each outcome means to a breaker in each state.

use std::time::Duration;

use buttress::{
    BoxError,
    breaker::{BreakerHandle, BreakerLayer, State},
    call::{Request, Response, Target, Verdict},
    error::{Clock, HttpStatus, Rejected, TimedOut, Transport},
};
use std::sync::Arc;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::Reason;
use crate::world::{run, tool};

/// How a call ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With an answer that was judged so.
    Answer(Verdict),
    Status(u16),
    NotSent,
    Reset,
    /// Its caller had no time.
    Impatience,
    Refused,
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    Success,
    Failure,
    /// A failure to the success rate and to a probe, and nothing to a run.
    Throttled,
    /// Nothing, but it passes a probe.
    Neutral,
    /// Nothing, and it frees a probe.
    Ignored,
}

const TABLE: [(End, Meaning); 24] = [
    (End::Answer(Verdict::Ok), Meaning::Success),
    (End::Answer(Verdict::ToolError), Meaning::Success),
    (End::Answer(Verdict::InputRequired), Meaning::Success),
    (End::Answer(Verdict::Task), Meaning::Success),
    (End::Answer(Verdict::ClientFault), Meaning::Neutral),
    (End::Answer(Verdict::Denied), Meaning::Ignored),
    (End::Answer(Verdict::SessionLost), Meaning::Ignored),
    (End::Answer(Verdict::Throttled { retry_after: None }), Meaning::Throttled),
    (End::Answer(Verdict::NotSent), Meaning::Failure),
    (End::Answer(Verdict::AMBIGUOUS), Meaning::Failure),
    (End::Answer(Verdict::Ambiguous { retry_after: None, overload: true }), Meaning::Failure),
    (End::Answer(Verdict::Hurried), Meaning::Ignored),
    (End::Answer(Verdict::LocalReject), Meaning::Ignored),
    (End::Answer(Verdict::Cancelled), Meaning::Ignored),
    (End::Status(400), Meaning::Neutral),
    (End::Status(401), Meaning::Ignored),
    (End::Status(425), Meaning::Failure),
    (End::Status(429), Meaning::Throttled),
    (End::Status(500), Meaning::Failure),
    (End::Status(503), Meaning::Failure),
    (End::NotSent, Meaning::Failure),
    (End::Reset, Meaning::Failure),
    (End::Impatience, Meaning::Ignored),
    (End::Refused, Meaning::Ignored),
];

type Call = BoxCloneSyncService<Request<End>, Response<()>, BoxError>;

struct Bench {
    service: Call,
    handle: BreakerHandle,
    target: Arc<Target>,
}

impl Bench {
    fn new() -> Self {
        let layer = BreakerLayer::default().seeded(1);
        let service = layer.layer(service_fn(async |request: Request<End>| match request.params {
            End::Answer(verdict) => {
                let mut response = Response::new(());
                response.verdict = Some(verdict);
                Ok(response)
            }
            End::Status(code) => Err(BoxError::from(HttpStatus::new(code))),
            End::NotSent => Err(Transport::not_sent("refused").into()),
            End::Reset => Err(Transport::unknown("reset").into()),
            End::Impatience => Err(TimedOut::new(Clock::Patience, Duration::from_millis(10)).into()),
            End::Refused => Err(Rejected::new("concurrency", Reason::QueueFull).into()),
        }));
        Self { handle: layer.handle(), service: BoxCloneSyncService::new(service), target: tool("tool", true) }
    }

    async fn call(&mut self, end: End) -> State {
        let request = Request::new(self.target.clone(), end);
        let _ = self.service.ready().await.expect("ready").call(request).await;
        self.state()
    }

    async fn calls(&mut self, end: End, times: usize) {
        for _ in 0..times {
            self.call(end).await;
        }
    }

    fn state(&self) -> State {
        self.handle.target(&self.target).map_or(State::Closed, |status| status.state)
    }
}

/// To a run: after five failures, and then one more.
async fn to_a_run(end: End) -> (State, State) {
    let mut bench = Bench::new();
    bench.calls(End::Reset, 5).await;
    (bench.call(end).await, bench.call(End::Reset).await)
}

/// To the success rate: after nine successes and ten throttled calls, and then one more of those when only the last twenty speak.
async fn to_the_rate(end: End) -> (State, State) {
    let mut bench = Bench::new();
    let throttled = End::Status(429);
    bench.call(throttled).await;
    for _ in 0..9 {
        bench.call(throttled).await;
        bench.call(End::Answer(Verdict::Ok)).await;
    }
    let at_once = bench.call(end).await;
    if at_once == State::Closed {
        advance(Duration::from_secs(31)).await;
        return (at_once, bench.call(throttled).await);
    }
    (at_once, at_once)
}

/// To a probe.
async fn to_a_probe(end: End) -> State {
    let mut bench = Bench::new();
    bench.calls(End::Reset, 6).await;
    advance(Duration::from_secs(5)).await;
    bench.call(end).await
}

/// To a breaker that has opened, or half opened, since the call began.
async fn late(end: End) -> [State; 2] {
    let mut bench = Bench::new();
    let mut begin = || bench.service.call(Request::new(bench.target.clone(), end));
    let late = [begin(), begin()];
    bench.calls(End::Reset, 6).await;
    let [first, second] = late;
    let _ = first.await;
    let open = bench.state();
    advance(Duration::from_secs(5)).await;
    let probe = bench.service.call(Request::new(bench.target.clone(), End::Refused));
    let _ = second.await;
    let half_open = bench.state();
    drop(probe);
    [open, half_open]
}

/// How many cells of the table are not as they should be. Each one is printed.
pub fn differences() -> usize {
    use State::{Closed, HalfOpen, Open};
    let mut differences = 0;
    for (end, meaning) in TABLE {
        let (run_is, rate_is, probe_is, late_is) =
            run(async { (to_a_run(end).await, to_the_rate(end).await, to_a_probe(end).await, late(end).await) });
        let to_run = match meaning {
            Meaning::Success => (Closed, Closed),
            Meaning::Failure => (Open, Open),
            Meaning::Throttled | Meaning::Neutral | Meaning::Ignored => (Closed, Open),
        };
        let to_rate = match meaning {
            Meaning::Success => (Closed, Closed),
            Meaning::Failure | Meaning::Throttled => (Open, Open),
            Meaning::Neutral | Meaning::Ignored => (Closed, Open),
        };
        let to_probe = match meaning {
            Meaning::Success | Meaning::Neutral => Closed,
            Meaning::Failure | Meaning::Throttled => Open,
            Meaning::Ignored => HalfOpen,
        };
        let cells = [run_is == to_run, rate_is == to_rate, probe_is == to_probe, late_is == [Open, HalfOpen]];
        for (cell, _) in ["run", "rate", "probe", "late"].iter().zip(cells).filter(|(_, as_it_should)| !as_it_should) {
            println!("T8, {end:?} as {meaning:?}: {cell} differs");
            differences += 1;
        }
    }
    differences
}
