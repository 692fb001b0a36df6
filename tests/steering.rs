//! The operator's word on a tool or a template, changed while calls run: each layer goes by the new one, and forgets nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use buttress::{
    BoxError, Stack, StackService,
    breaker::State,
    call::{
        Annotations, Caller, Criticality, ErrorObject, Failure, Head, IDEMPOTENCY_KEY, Meta, Method, Request, Response, Target,
        TargetPolicy, Word,
    },
    catalogue::{Catalogue, PolicyError, Scope},
    concurrency::{AdaptiveLimit, Bounds, ConcurrencyLayer, Sample},
    error::Transport,
    quota::{Per, QuotaError, QuotaLayer},
};
use governor::Quota;
use serde_json::json;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

type Service = StackService<(), String>;

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn policy() -> TargetPolicy {
    TargetPolicy::default()
}

fn tool(catalogue: &Catalogue, name: &str) -> Arc<Target> {
    catalogue.resolve(&Method::ToolsCall, Some(name), None)
}

/// A stack in front of a handler that is always cut off, and how many attempts have reached it.
fn in_front_of_one_that_fails(stack: &Stack) -> (Service, Arc<AtomicU32>) {
    let attempts = Arc::<AtomicU32>::default();
    let counted = attempts.clone();
    let service = stack.service(service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err::<Response<String>, _>(BoxError::from(Transport::unknown("reset"))))
    }));
    (service, attempts)
}

/// A stack in front of a handler that takes a second, and how many calls it serves at the moment.
fn in_front_of_one_that_is_slow(stack: &Stack) -> (Service, Arc<AtomicU32>) {
    let running = Arc::<AtomicU32>::default();
    let counted = running.clone();
    let service = stack.service(service_fn(move |_: Request<()>| {
        let counted = counted.clone();
        async move {
            counted.fetch_add(1, Ordering::Relaxed);
            sleep(SECOND).await;
            counted.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, BoxError>(Response::new("done".to_owned()))
        }
    }));
    (service, running)
}

async fn settled() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_safe_is_repeated_from_the_next_call_on() {
    let (service, attempts) = in_front_of_one_that_fails(&Stack::new());
    let catalogue = Catalogue::new("up").tool("t", policy());
    let made = async |word: TargetPolicy| {
        catalogue.set_tool("t", word).unwrap();
        let before = attempts.load(Ordering::Relaxed);
        service.answer(Request::new(tool(&catalogue, "t"), ())).await.unwrap();
        attempts.load(Ordering::Relaxed) - before
    };
    assert_eq!(made(policy()).await, 1);
    assert_eq!(made(policy().idempotent(true)).await, 3);
    assert_eq!(made(policy().honours_idempotency_key()).await, 1, "it has none");
}

/// The call has its entry from before the word, as calls under way have.
#[tokio::test(start_paused = true)]
async fn a_key_that_the_backend_honours_makes_a_call_safe() {
    let (service, attempts) = in_front_of_one_that_fails(&Stack::new());
    let catalogue = Catalogue::new("up").tool("t", policy());
    let mut request = Request::new(tool(&catalogue, "t"), ());
    request.head.meta = Some(Arc::new(Meta::read(json!({ IDEMPOTENCY_KEY: "one" }).as_object().unwrap())));
    catalogue.set_tool("t", policy().honours_idempotency_key()).unwrap();
    service.answer(request).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_open_stays_open() {
    let stack = Stack::new();
    let (service, attempts) = in_front_of_one_that_fails(&stack);
    let catalogue = Catalogue::new("up");
    catalogue.learn(&Method::ToolsCall, Scope::Public, [("t", Annotations::default())]);
    let target = tool(&catalogue, "t");
    for _ in 0..6 {
        service.answer(Request::new(target.clone(), ())).await.unwrap();
    }
    catalogue.set_tool("t", policy().idempotent(true).cost(some(3)).serial()).unwrap();
    assert!(Arc::ptr_eq(&target, &tool(&catalogue, "t")), "what was learned is one entry with what is declared");
    assert_eq!(stack.handles().breaker.target(&tool(&catalogue, "t")).map(|status| status.state), Some(State::Open));
    service.answer(Request::new(tool(&catalogue, "t"), ())).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 6);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_costs_counts_from_the_next_call_on() {
    let stack = Stack::new().quota(QuotaLayer::new().per_tenant(Quota::per_hour(some(10))));
    let (service, _) = in_front_of_one_that_is_slow(&stack);
    let catalogue = Catalogue::new("up").resource_template("a://{x}", policy()).unwrap();
    let read = || catalogue.resolve(&Method::ResourcesRead, Some("a://1"), None);
    let left = || {
        let head = Head::new(read());
        stack.handles().quota.standing(Per::TENANT, &head).unwrap().remaining
    };
    service.answer(Request::new(read(), ())).await.unwrap();
    assert_eq!(left(), 9);
    catalogue.set_resource_template("a://{x}", policy().cost(some(4))).unwrap();
    service.answer(Request::new(read(), ())).await.unwrap();
    assert_eq!(left(), 5);
    catalogue.set_resource_template("a://{x}", policy()).unwrap();
    service.answer(Request::new(read(), ())).await.unwrap();
    assert_eq!(left(), 4);
    let refused = catalogue.set_resource_template("a://{x", policy()).unwrap_err();
    assert!(matches!(refused, PolicyError::Template(_)), "{refused}");
}

#[test]
fn a_cost_and_a_burst_are_held_to_each_other_whichever_changes() {
    let minute = |calls| Quota::per_minute(some(calls));
    let stack = Stack::new().quota(QuotaLayer::new().per_tenant(minute(5)));
    let quota = stack.handles().quota;
    let catalogue = Catalogue::new("up").tool("declared", policy());
    catalogue.learn(&Method::ToolsCall, Scope::Public, [("learned", Annotations::default())]);
    stack.check_for(&catalogue).unwrap();
    for name in ["declared", "learned", "new"] {
        let refused = catalogue.set_tool(name, policy().idempotent(true).cost(some(6))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("a call of {name:?} costs 6, but the burst of the limit per tenant is 5: none would ever pass")
        );
        let PolicyError::Refused(refused) = refused else { panic!("{refused}") };
        assert!(refused.is::<QuotaError>());
    }
    assert!(catalogue.known(&Method::ToolsCall, "new", None).is_none(), "nothing is changed by what is refused");
    assert!(!tool(&catalogue, "declared").is_idempotent());
    // Nor is it noted.
    quota.set(Per::TENANT, minute(2)).unwrap();

    catalogue.set_tool("learned", policy().cost(some(2))).unwrap();
    let refused = quota.set(Per::TENANT, minute(1)).unwrap_err();
    assert!(refused.to_string().starts_with("a call of \"learned\" costs 2, "), "{refused}");
    catalogue.set_tool("learned", policy()).unwrap();
    quota.set(Per::TENANT, minute(1)).unwrap();

    let unchecked = Catalogue::new("up");
    unchecked.set_tool("t", policy().cost(some(6))).unwrap();
}

#[test]
fn a_catalogue_that_is_gone_holds_no_burst_up() {
    let minute = |calls| Quota::per_minute(some(calls));
    let stack = Stack::new().quota(QuotaLayer::new().overall(minute(5)));
    let catalogue = Catalogue::new("up").tool("t", policy().cost(some(5)));
    stack.check_for(&catalogue).unwrap();
    assert!(stack.handles().quota.set(Per::ALL, minute(4)).is_err());
    drop(catalogue);
    stack.handles().quota.set(Per::ALL, minute(4)).unwrap();
}

#[test]
fn how_much_calls_matter_is_asked_anew() {
    let catalogue = Catalogue::new("up").tool("t", policy());
    let head = Head::new(tool(&catalogue, "t"));
    assert_eq!(head.criticality(), Criticality::Critical);
    catalogue.set_tool("t", policy().criticality(Criticality::Sheddable)).unwrap();
    assert_eq!(head.criticality(), Criticality::Sheddable);
    catalogue.set_tool("t", policy().criticality(Criticality::CriticalPlus)).unwrap();
    assert_eq!(head.criticality(), Criticality::Critical, "no more than its caller");
}

/// Who came while the tool mattered less waits behind who came when it mattered again.
#[tokio::test(start_paused = true)]
async fn the_queue_goes_by_how_much_calls_matter_when_they_come() {
    let stack = Stack::new().concurrency(ConcurrencyLayer::new(NonZeroU32::MIN).queue(9));
    let (service, _) = in_front_of_one_that_is_slow(&stack);
    let catalogue = Catalogue::new("up").tool("t", policy());
    let call = |word: TargetPolicy| {
        catalogue.set_tool("t", word).unwrap();
        tokio::spawn(service.answer(Request::new(tool(&catalogue, "t"), ())))
    };
    let running = call(policy());
    settled().await;
    let sheddable = call(policy().criticality(Criticality::Sheddable));
    settled().await;
    let critical = call(policy());
    running.await.unwrap().unwrap();
    critical.await.unwrap().unwrap();
    assert!(!sheddable.is_finished());
    assert_eq!(sheddable.await.unwrap().unwrap().result.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_a_tools_own_error_means_is_judged_anew() {
    let service: Service = Stack::new().service(service_fn(|_: Request<()>| {
        let error = ErrorObject { code: 1001, message: "busy".into(), data: None };
        std::future::ready(Ok::<_, BoxError>(Response::from_error(error)))
    }));
    let catalogue = Catalogue::new("up").tool("t", policy());
    let class = async || {
        let answer = service.answer(Request::new(tool(&catalogue, "t"), ())).await.unwrap();
        answer.facts.map(|facts| facts.class)
    };
    assert_eq!(class().await, None);
    let busy = |failure: &Failure<'_>| (failure.code == Some(1001)).then_some(Word::Throttled { retry_after: None });
    catalogue.set_tool("t", policy().judge_errors(busy)).unwrap();
    assert_eq!(class().await, Some("throttled"));
    catalogue.set_tool("t", policy()).unwrap();
    assert_eq!(class().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_tools_own_limit_holds_at_once_also_for_those_who_wait() {
    let stack = Stack::new().concurrency(ConcurrencyLayer::new(some(3)));
    let (service, running) = in_front_of_one_that_is_slow(&stack);
    let catalogue = Catalogue::new("up").tool("t", policy().serial());
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(service.answer(Request::new(tool(&catalogue, "t"), ())))).collect();
    let status = || stack.handles().concurrency.target(&tool(&catalogue, "t")).unwrap();
    settled().await;
    assert_eq!((running.load(Ordering::Relaxed), status().waiting), (1, 2));
    catalogue.set_tool("t", policy().concurrency(some(2))).unwrap();
    settled().await;
    assert_eq!((running.load(Ordering::Relaxed), status().waiting, status().limit), (2, 1, 2));
    // Taken back, it is the layer's own.
    catalogue.set_tool("t", policy()).unwrap();
    settled().await;
    assert_eq!((running.load(Ordering::Relaxed), status().waiting, status().limit), (3, 0, 3));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().result.unwrap(), "done");
    }
}

#[test]
fn of_a_hand_and_a_word_on_the_limit_the_later_change_holds() {
    let stack = Stack::new();
    let (catalogue, concurrency) = (Catalogue::new("up").tool("t", policy()), stack.handles().concurrency);
    let (target, limit) = (tool(&catalogue, "t"), || concurrency.target(&tool(&catalogue, "t")).unwrap().limit);
    assert_eq!(limit(), 64);
    concurrency.set_limit(&target, some(7));
    catalogue.set_tool("t", policy().idempotent(true)).unwrap();
    assert_eq!(limit(), 7, "a word that says nothing new of it changes nothing");
    catalogue.set_tool("t", policy().serial()).unwrap();
    assert_eq!(limit(), 1);
    concurrency.set_limit(&target, some(9));
    catalogue.set_tool("t", policy().serial().idempotent(true)).unwrap();
    assert_eq!(limit(), 9);
    catalogue.set_tool("t", policy()).unwrap();
    assert_eq!(limit(), 64);
}

#[tokio::test(start_paused = true)]
async fn the_layers_own_limit_is_changed_for_what_it_knows_and_what_comes() {
    let stack = Stack::new().concurrency(ConcurrencyLayer::new(some(1)).queue(9));
    let (service, running) = in_front_of_one_that_is_slow(&stack);
    let catalogue = Catalogue::new("up").tool("a", policy()).tool("said", policy().concurrency(some(5)));
    let concurrency = stack.handles().concurrency;
    let call = |name| tokio::spawn(service.answer(Request::new(tool(&catalogue, name), ())));
    let calls: Vec<_> = ["a", "a", "a", "said"].map(call).into();
    settled().await;
    assert_eq!(running.load(Ordering::Relaxed), 2);
    concurrency.set_limits(some(2));
    concurrency.set_queues(7);
    settled().await;
    assert_eq!(running.load(Ordering::Relaxed), 3, "who waits has what there is now");
    catalogue.set_tool("new", policy()).unwrap();
    let of = |name| {
        let status = concurrency.target(&tool(&catalogue, name)).unwrap();
        (status.limit, status.places)
    };
    assert_eq!(["a", "new", "said"].map(of), [(2, 7), (2, 7), (5, 7)]);
    catalogue.set_tool("said", policy()).unwrap();
    assert_eq!(of("said"), (2, 7), "what is taken back gives way to what holds now");
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().result.unwrap(), "done");
    }

    let stack = Stack::new().concurrency(ConcurrencyLayer::adaptive(Bounds::try_new(2, 4, 64).unwrap()));
    let concurrency = stack.handles().concurrency;
    let adapts = |name| concurrency.target(&tool(&catalogue, name)).unwrap().adapts;
    assert!(adapts("a"));
    concurrency.set_limits(some(3));
    assert_eq!(["a", "new"].map(adapts), [false; 2]);
    let off = Stack::new().concurrency(ConcurrencyLayer::off()).handles().concurrency;
    off.set_limits(some(3));
    assert_eq!(off.target(&tool(&catalogue, "a")), None);
}

/// And hears of calls from then on.
#[tokio::test(start_paused = true)]
async fn a_limit_that_adapts_gives_way_to_a_word_and_comes_back_when_it_is_taken_back() {
    let stack = Stack::new().concurrency(ConcurrencyLayer::adaptive(Bounds::try_new(2, 4, 64).unwrap()));
    let (service, running) = in_front_of_one_that_is_slow(&stack);
    let catalogue = Catalogue::new("up").tool("t", policy());
    let status = || {
        let status = stack.handles().concurrency.target(&tool(&catalogue, "t")).unwrap();
        (status.adapts, status.limit)
    };
    assert_eq!(status(), (true, 4));
    let call = || tokio::spawn(service.answer(Request::new(tool(&catalogue, "t"), ())));
    catalogue.set_tool("t", policy().serial()).unwrap();
    assert_eq!(status(), (false, 1));
    let before: Vec<_> = (0..6).map(|_| call()).collect();
    settled().await;
    assert_eq!(running.load(Ordering::Relaxed), 1);
    catalogue.set_tool("t", policy()).unwrap();
    assert_eq!(status(), (true, 4));
    let after: Vec<_> = (0..60).map(|_| call()).collect();
    for call in before.into_iter().chain(after) {
        assert_eq!(call.await.unwrap().unwrap().result.unwrap(), "done");
    }
    assert_eq!((running.load(Ordering::Relaxed), status().0), (0, true));
}

/// Two at once, the second ten seconds after it could.
#[derive(Debug)]
struct Paced(Instant);

impl AdaptiveLimit for Paced {
    fn limit(&self) -> NonZeroU32 {
        some(2)
    }

    fn may_start(&self, _now: Instant) -> Instant {
        self.0 + 10 * SECOND
    }

    fn sample(&mut self, _sample: &Sample) {}
}

/// Nothing ends that would bring those who wait back to the desk.
#[tokio::test(start_paused = true)]
async fn who_waited_by_a_word_is_let_in_by_the_pace_of_the_limit_that_comes_back() {
    let stack = Stack::new().concurrency(ConcurrencyLayer::adaptive_with(|_| Paced(Instant::now())));
    let running = Arc::<AtomicU32>::default();
    let service: Service = stack.service({
        let running = running.clone();
        service_fn(move |_: Request<()>| {
            running.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<_, BoxError>>()
        })
    });
    let catalogue = Catalogue::new("up").tool("t", policy().serial());
    let _calls = [(); 2].map(|()| tokio::spawn(service.answer(Request::new(tool(&catalogue, "t"), ()))));
    sleep(SECOND).await;
    assert_eq!(running.load(Ordering::Relaxed), 1);
    catalogue.set_tool("t", policy()).unwrap();
    sleep(9 * SECOND).await;
    assert_eq!(running.load(Ordering::Relaxed), 1);
    sleep(2 * SECOND).await;
    assert_eq!(running.load(Ordering::Relaxed), 2);
}

/// Before anybody can be told of it, and after what was said before has been read.
#[tokio::test(start_paused = true)]
async fn what_is_said_while_a_layer_first_meets_a_tool_is_heard() {
    let catalogue = Arc::new(Catalogue::new("up").tool("t", policy()));
    let said = catalogue.clone();
    let stack = Stack::new().concurrency(ConcurrencyLayer::adaptive_with(move |_| {
        said.set_tool("t", policy().serial()).unwrap();
        Paced(Instant::now())
    }));
    let status = stack.handles().concurrency.target(&tool(&catalogue, "t")).unwrap();
    assert_eq!((status.limit, status.adapts), (1, false));
}

/// Of a private list, whose names nobody else finds; and beyond the capacity.
#[test]
fn whoever_a_name_was_listed_to_a_word_makes_it_known_to_all() {
    let catalogue = Catalogue::new("up").capacity(2);
    let mine = Caller::of_tenant("me").principal("me");
    let private = Scope::Private(mine.audience());
    let learn = |names: [&'static str; 2]| {
        catalogue.learn(&Method::ToolsCall, private, names.map(|name| (name, Annotations::default())));
    };
    learn(["a", "b"]);
    let known = |name| catalogue.known(&Method::ToolsCall, name, None).is_some();
    let of_mine = catalogue.known(&Method::ToolsCall, "a", mine.audience()).unwrap();
    assert!(!known("a"));
    catalogue.set_tool("a", policy().idempotent(true)).unwrap();
    assert!(Arc::ptr_eq(&of_mine, &tool(&catalogue, "a")) && of_mine.is_idempotent());
    // What is declared takes no room, so there is some again.
    learn(["c", "d"]);
    let sees = |name| catalogue.known(&Method::ToolsCall, name, mine.audience()).is_some();
    assert_eq!(["a", "b", "c", "d"].map(sees), [true, true, true, false]);
    catalogue.set_tool("d", policy()).unwrap();
    catalogue.set_tool("d", policy().serial()).unwrap();
    assert!(known("d") && !known("c"));
    assert_eq!(tool(&catalogue, "d").policy().concurrency, Some(NonZeroU32::MIN));
    // Taken back, it is no secret again, and takes no room.
    catalogue.set_tool("a", policy()).unwrap();
    assert!(known("a") && !of_mine.is_idempotent());
}

#[test]
fn who_learns_and_who_steers_lose_nothing_of_each_other() {
    const NAMES: usize = 200;
    let names: Vec<String> = (0..NAMES).map(|n| format!("t{n}")).collect();
    let (catalogue, stack, done) = (Catalogue::new("up").trust_annotations(), Stack::new(), AtomicBool::new(false));
    let concurrency = stack.handles().concurrency;
    let last = u32::try_from(NAMES).unwrap();
    thread::scope(|scope| {
        let learns = scope.spawn(|| {
            for name in &names {
                let said = Annotations::default().idempotent(true);
                catalogue.learn(&Method::ToolsCall, Scope::Public, [(&**name, said)]);
            }
        });
        let steer = |from: u32| {
            let (names, catalogue) = (&names, &catalogue);
            move || {
                for name in names.iter().rev() {
                    for limit in from..from + 5 {
                        catalogue.set_tool(name, TargetPolicy::default().read_only(true).concurrency(some(limit))).unwrap();
                    }
                }
            }
        };
        let steers = [scope.spawn(steer(1)), scope.spawn(steer(last))];
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for name in &names {
                    let target = tool(&catalogue, name);
                    assert!(target.name().is_none() || concurrency.target(&target).is_some());
                }
            }
        });
        let ended: Vec<_> = steers.into_iter().chain([learns]).map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(Result::unwrap);
    });
    for name in &names {
        let target = tool(&catalogue, name);
        assert_eq!((target.name(), target.annotations().idempotent, target.is_read_only()), (Some(&**name), Some(true), true));
        let said = target.policy().concurrency.unwrap().get();
        assert!(said == 5 || said == last + 4, "{said}");
        assert_eq!(concurrency.target(&target).unwrap().limit, said, "of two changes the later one holds, in the layer too");
    }
}
