//! Against a plain reference, under random interleavings: who is answered, by which call, and that nobody is left waiting.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use proptest::prelude::*;
use tower::{Layer, Service, service_fn};

use super::CoalesceLayer;
use crate::{
    call::{Caller, Request, Response, Served, Target},
    error::{BoxError, Transport},
    testing::reading_tool,
};

const TENANTS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    /// A tenant asks one of two questions.
    Ask(usize, u64),
    /// One of those who wait is polled.
    Poll(usize),
    /// One of those who wait leaves.
    Leave(usize),
    /// One of the calls under way gets on: it answers, fails, panics, or is just woken.
    GetOn(usize, Fate),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answers,
    Fails,
    Panics,
    Stirs,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![4 => Just(Fate::Answers), 1 => Just(Fate::Fails), 1 => Just(Fate::Panics), 2 => Just(Fate::Stirs)];
    let step = prop_oneof![
        4 => (0..TENANTS.len(), 0..2_u64).prop_map(|(tenant, question)| Step::Ask(tenant, question)),
        4 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => (any::<usize>(), fate).prop_map(|(call, fate)| Step::GetOn(call, fate)),
    ];
    prop::collection::vec(step, 0..80)
}

/// What is to become of a call at the handler, and who polls it.
type Call = (Option<Fate>, Option<Waker>);

/// What the handler knows of its calls.
#[derive(Default)]
struct Upstream {
    fates: Mutex<BTreeMap<usize, Call>>,
    made: std::sync::atomic::AtomicUsize,
}

/// A call at the handler. Its answer says whose it is.
struct Running {
    upstream: Arc<Upstream>,
    number: usize,
    answer: String,
}

impl Future for Running {
    type Output = Result<Response<String>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let fate = {
            let mut fates = self.upstream.fates.lock().unwrap();
            let (fate, waker) = fates.entry(self.number).or_default();
            *waker = Some(cx.waker().clone());
            *fate
        };
        match fate {
            None | Some(Fate::Stirs) => Poll::Pending,
            Some(Fate::Answers) => Poll::Ready(Ok(Response::new(self.answer.clone()))),
            Some(Fate::Fails) => Poll::Ready(Err(Transport::unknown("reset").into())),
            Some(Fate::Panics) => std::panic::resume_unwind(Box::new("as told")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.upstream.fates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.number);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Answer = Result<Response<String>, BoxError>;

struct Asker {
    tenant: usize,
    question: u64,
    call: Pin<Box<dyn Future<Output = Answer>>>,
    woken: Arc<Woken>,
    polled: bool,
}

impl Asker {
    fn poll(&mut self) -> Poll<Answer> {
        self.polled = true;
        self.woken.0.store(false, Ordering::SeqCst);
        self.call.as_mut().poll(&mut Context::from_waker(&Waker::from(self.woken.clone())))
    }

    /// An answer is to this one's question, from its own tenant's call.
    fn judge(&self, answer: &Answer) -> Result<(), TestCaseError> {
        if let Ok(response) = answer {
            let text = response.result.clone().unwrap_or_default();
            prop_assert_eq!(text, format!("{} {}", TENANTS[self.tenant], self.question));
            prop_assert!(matches!(response.served, Served::Attempt | Served::Shared));
        }
        Ok(())
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let upstream = Arc::<Upstream>::default();
    let handler = {
        let upstream = upstream.clone();
        service_fn(move |call: Request<u64>| {
            let number = upstream.made.fetch_add(1, Ordering::Relaxed);
            upstream.fates.lock().unwrap().insert(number, (None, None));
            let answer = format!("{} {}", call.head.caller.tenant(), call.params);
            Running { upstream: upstream.clone(), number, answer }
        })
    };
    let (layer, target): (_, Arc<Target>) = (CoalesceLayer::new(), reading_tool("t"));
    let mut service = layer.layer(handler);
    let askers: Rc<RefCell<Vec<Asker>>> = Rc::default();

    let get_on = |number: usize, fate: Fate| {
        let waker = {
            let mut fates = upstream.fates.lock().unwrap();
            let Some((known, waker)) = fates.get_mut(&number) else { return };
            *known = Some(fate);
            waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    for step in steps {
        let mut askers = askers.borrow_mut();
        match step {
            Step::Ask(tenant, question) => {
                let mut request = Request::new(target.clone(), question);
                request.head.caller = Caller::of_tenant(TENANTS[tenant]).access_token(b"the same for all");
                let call = Box::pin(service.call(request));
                askers.push(Asker { tenant, question, call, woken: Arc::default(), polled: false });
            }
            Step::Poll(which) if !askers.is_empty() => {
                let which = which % askers.len();
                if let Poll::Ready(answer) = askers[which].poll() {
                    askers.swap_remove(which).judge(&answer)?;
                }
            }
            Step::Leave(which) if !askers.is_empty() => {
                let which = which % askers.len();
                drop(askers.swap_remove(which));
            }
            Step::GetOn(which, fate) => {
                let number = {
                    let fates = upstream.fates.lock().unwrap();
                    fates.keys().nth(which.checked_rem(fates.len()).unwrap_or(0)).copied()
                };
                if let Some(number) = number {
                    get_on(number, fate);
                }
            }
            Step::Poll(_) | Step::Leave(_) => {}
        }
        // Of each question of each tenant one call at most is at the handler, and none that nobody waits for.
        let mut waiting: Vec<(usize, u64)> = askers.iter().map(|asker| (asker.tenant, asker.question)).collect();
        waiting.sort_unstable();
        waiting.dedup();
        prop_assert!(upstream.fates.lock().unwrap().len() <= waiting.len());
        prop_assert!(layer.handle().under_way() <= waiting.len());
    }
    // From here on only those are polled who were woken, or never have been polled: as a runtime does it.
    let mut askers = askers.borrow_mut();
    for _ in 0..1_000 {
        let numbers: Vec<usize> = upstream.fates.lock().unwrap().keys().copied().collect();
        numbers.into_iter().for_each(|number| get_on(number, Fate::Answers));
        let Some(which) = askers.iter().position(|asker| !asker.polled || asker.woken.0.load(Ordering::SeqCst)) else { break };
        if let Poll::Ready(answer) = askers[which].poll() {
            askers.swap_remove(which).judge(&answer)?;
        }
    }
    prop_assert!(askers.is_empty(), "{} sleep for ever", askers.len());
    prop_assert_eq!((upstream.fates.lock().unwrap().len(), layer.handle().under_way()), (0, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn nobody_waits_for_ever_and_nobody_has_anothers_answer(steps in steps()) {
        // Only for the timers that are never armed: no call has a deadline.
        run(steps)?;
    }
}
