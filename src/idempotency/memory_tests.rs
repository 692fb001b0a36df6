use std::{collections::BTreeMap, time::Duration};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::{
    call::{Caller, Head, Method, Response},
    catalogue::Catalogue,
    error::BoxError,
    testing::tool,
};

const HOUR: Duration = Duration::from_secs(3600);

fn head(tenant: u8) -> Head {
    let mut head = Head::new(tool("t"));
    head.caller = Caller::of_tenant(tenant.to_string());
    head
}

fn claim(store: &InMemory, head: &Head, key: u8, arguments: u8, repeatable: bool, now: Instant) -> Result<Claim, BoxError> {
    let (key, asked) = (key.to_string(), Digest::of(&[arguments]));
    let keyed = Keyed { head, key: &key, asked, repeatable, now };
    store.claim(&keyed).now_or_never().expect("at once")
}

fn kept(bytes: usize) -> Kept {
    Kept::of(&Response::new("x".repeat(bytes)))
}

#[test]
fn settings_that_make_no_sense_are_refused_by_their_values() {
    let told = |settings| InMemory::try_new(settings).unwrap_err().to_string();
    let sane = Settings::default();
    assert!(InMemory::try_new(sane).is_ok());
    assert_eq!(told(Settings { keys: 1, ..sane }), "keys is 1, but must be at least 2");
    assert_eq!(told(Settings { bytes: 7, ..sane }), "bytes is 7, but must be at least keys, which is 65536");
    assert_eq!(told(Settings { keep_for: Duration::ZERO, ..sane }), "keep_for is 0ns, but must be above 0");
}

#[tokio::test(start_paused = true)]
async fn one_tenant_cannot_take_it_all() {
    let store = InMemory::try_new(Settings { keys: 8, ..Settings::default() }).unwrap();
    let [greedy, modest, third] = [1, 2, 3].map(head);
    let now = Instant::now();
    let mut leases = vec![claim(&store, &modest, 3, 0, false, now).unwrap()];
    leases.extend((0..4).map(|key| claim(&store, &greedy, key, 0, false, now).unwrap()));
    assert!(claim(&store, &greedy, 4, 0, false, now).unwrap_err().is::<Full>());
    leases.extend((0..3).map(|key| claim(&store, &modest, key, 0, false, now).unwrap()));
    assert!(claim(&store, &third, 0, 0, false, now).unwrap_err().is::<Full>());
    assert_eq!((store.keys(), store.running()), (8, 8));
    // Lost calls are known as long as any, and then make room.
    drop(leases);
    assert_eq!((store.keys(), store.running()), (8, 0));
    assert!(claim(&store, &third, 0, 0, false, now).is_err());
    assert!(claim(&store, &third, 0, 0, false, now + 24 * HOUR).is_ok());
    assert_eq!((store.keys(), store.bytes()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_alone_has_more_than_half_and_who_comes_next_finds_room() {
    let weight = kept(100).weight();
    let store = InMemory::try_new(Settings { keys: 8, bytes: 8 * weight, ..Settings::default() }).unwrap();
    let ([first, second], now) = ([1, 2].map(head), Instant::now());
    for key in 0..7 {
        let Ok(Claim::Run(lease)) = claim(&store, &first, key, 0, false, now) else { panic!("no lease") };
        lease.end(End::Done(kept(100)), now).now_or_never().unwrap().unwrap();
        assert!(matches!(claim(&store, &first, key, 0, false, now), Ok(Claim::Done(_))), "{key}");
    }
    assert!(claim(&store, &first, 7, 0, false, now).unwrap_err().is::<Full>());
    let Ok(Claim::Run(other)) = claim(&store, &second, 0, 0, false, now) else { panic!("no lease") };
    other.end(End::Nothing, now).now_or_never().unwrap().unwrap();
    // Others may be set while calls run.
    let more = Settings { keys: 16, ..store.settings() };
    assert!(store.set(Settings { keys: 1, ..more }).is_err());
    store.set(more).unwrap();
    assert!(claim(&store, &first, 7, 0, false, now).is_ok());
}

#[test]
fn the_gauge_shows_what_is_held_and_nothing_once_the_store_is_gone() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let held = || {
        let all = snapshotter.snapshot().into_vec();
        let ours = all.into_iter().find(|(key, ..)| key.key().name() == IDEMPOTENCY_KEYS.name);
        ours.map(|(.., value)| value)
    };
    let of = |held: f64| Some(metrics_util::debugging::DebugValue::Gauge(held.into()));
    metrics::with_local_recorder(&recorder, || {
        let (store, head, now) = (InMemory::default(), head(1), Instant::now());
        let claims = [1, 2].map(|key| claim(&store, &head, key, 0, false, now).unwrap());
        assert_eq!(held(), of(2.0));
        let [Claim::Run(one), Claim::Run(other)] = claims else { panic!("no leases") };
        one.end(End::Nothing, now).now_or_never().unwrap().unwrap();
        drop(other);
        assert_eq!(held(), of(-1.0), "the recorder starts anew from each snapshot");
        drop(store);
        assert_eq!(held(), of(-1.0));
    });
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_finds_no_room_is_unknown_from_then_on() {
    let store = InMemory::try_new(Settings { keys: 8, bytes: 10_000, ..Settings::default() }).unwrap();
    let (head, now) = (head(1), Instant::now());
    let answered = |key, bytes| {
        let Ok(Claim::Run(lease)) = claim(&store, &head, key, 0, false, now) else { panic!("no lease") };
        lease.end(End::Done(kept(bytes)), now).now_or_never().unwrap().unwrap();
        claim(&store, &head, key, 0, false, now).unwrap()
    };
    assert!(matches!(answered(1, 3000), Claim::Done(_)));
    assert!(matches!(answered(2, 3000), Claim::Done(_)));
    // More than a tenant may have, even alone.
    assert!(matches!(answered(3, 3000), Claim::Unknown));
    assert!((6000..8000).contains(&store.bytes()));
    assert_eq!(store.keys(), 3);
}

#[tokio::test(start_paused = true)]
async fn answers_may_take_all_the_room_there_is_and_each_tenants_half_of_it() {
    let weight = kept(100).weight();
    // Room for four answers; or for one byte less.
    for (bytes, known) in
        [(4 * weight, [true, true, false, true, true, false]), (4 * weight - 1, [true, false, false, true, false, true])]
    {
        let settings = Settings { keys: 32, bytes, ..Settings::default() };
        let store = InMemory::try_new(settings).unwrap();
        assert_eq!(store.settings(), settings);
        let now = Instant::now();
        // Nobody is alone.
        let _others = [4, 5].map(|tenant| claim(&store, &head(tenant), 0, 0, false, now));
        let heads = [1, 1, 1, 2, 2, 3].map(head);
        let done = [0, 1, 2, 3, 4, 5].map(|key| {
            let head = &heads[usize::from(key)];
            let Ok(Claim::Run(lease)) = claim(&store, head, key, 0, false, now) else { panic!("no lease") };
            lease.end(End::Done(kept(100)), now).now_or_never().unwrap().unwrap();
            matches!(claim(&store, head, key, 0, false, now), Ok(Claim::Done(_)))
        });
        assert_eq!((done, store.bytes()), (known, weight * known.iter().filter(|known| **known).count()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_ever_is_never_forgotten() {
    let store = InMemory::try_new(Settings { keep_for: Duration::MAX, ..Settings::default() }).unwrap();
    let head = head(1);
    drop(claim(&store, &head, 1, 0, false, Instant::now()));
    for year in 1..30 {
        assert!(matches!(claim(&store, &head, 1, 0, false, Instant::now()), Ok(Claim::Unknown)), "{year}");
        tokio::time::advance(365 * 24 * HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_two_keys_are_one() {
    let of = |upstream: &str, method: Method, caller: Caller, key: &str| {
        let mut head = Head::new(Catalogue::new(upstream).resolve(&method, Some("t"), None));
        head.caller = caller;
        Keyed { head: &head, key, asked: Digest::of(b""), repeatable: false, now: Instant::now() }.scope()
    };
    let pays = |caller, key| of("up", Method::ToolsCall, caller, key);
    let acme = || Caller::of_tenant("acme");
    let scopes = [
        pays(acme(), "k"),
        pays(acme(), "kk"),
        pays(Caller::of_tenant("other"), "k"),
        pays(acme().principal("k"), ""),
        pays(acme().principal("p"), "k"),
        pays(acme().principal("pk"), ""),
        pays(acme().access_token(b"p"), "k"),
        of("u", Method::ToolsCall, acme(), "pk"),
        of("up2", Method::ToolsCall, acme(), "k"),
        of("up", Method::PromptsGet, acme(), "k"),
    ];
    for (n, one) in scopes.iter().enumerate() {
        assert!(scopes[..n].iter().all(|other| other != one), "{n}");
    }
    // A principal stays the same when its token is renewed.
    assert_eq!(pays(acme().principal("p").access_token(b"1"), "k"), pays(acme().principal("p").access_token(b"2"), "k"));
}

/// What is known of a key, as the table in the documentation says it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plain {
    Running(Rest, usize),
    Rest(Rest, Instant),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rest {
    Fresh,
    Paused,
    Done(usize),
    Unknown,
}

const KEYS: usize = 8;
const BYTES: usize = 2000;
const WAITING: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Claim {
        tenant: u8,
        key: u8,
        arguments: u8,
        repeatable: bool,
    },
    /// Nothing, paused, done, unknown, dropped.
    End(prop::sample::Index, u8),
    StopWaiting,
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let claim = (0..3_u8, 0..8_u8, prop_oneof![6 => Just(0_u8), 1 => Just(1)], any::<bool>());
    prop_oneof![
        6 => claim.prop_map(|(tenant, key, arguments, repeatable)| Step::Claim { tenant, key, arguments, repeatable }),
        5 => (any::<prop::sample::Index>(), 0..5_u8).prop_map(|(which, how)| Step::End(which, how)),
        1 => Just(Step::StopWaiting),
        1 => prop_oneof![Just(1_u32), Just(23), Just(24)].prop_map(Step::Pass),
    ]
}

type Name = (u8, u8);

#[derive(Default)]
struct Reference(BTreeMap<Name, (u8, Plain)>);

impl Reference {
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (_, plain)| !matches!(plain, Plain::Rest(_, until) if *until <= now));
    }

    fn bytes(&self, tenant: Option<u8>) -> usize {
        let of = |(name, (_, plain)): (&Name, &(u8, Plain))| match plain {
            Plain::Rest(Rest::Done(weight), _) if tenant.is_none_or(|tenant| tenant == name.0) => *weight,
            _ => 0,
        };
        self.0.iter().map(of).sum()
    }

    fn keys(&self, tenant: u8) -> usize {
        self.0.keys().filter(|name| name.0 == tenant).count()
    }

    /// What a tenant may have.
    fn part(&self, all: usize, tenant: u8) -> usize {
        if self.keys(tenant) == self.0.len() { all - all / 8 } else { all / 2 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_documentation_says(steps in prop::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let settings = Settings { keys: KEYS, bytes: BYTES, waiting: WAITING, ..Settings::default() };
            let store = InMemory::try_new(settings).unwrap();
            let heads = [0, 1, 2].map(head);
            let mut reference = Reference::default();
            let mut leases: Vec<(Name, Box<dyn Lease>)> = Vec::new();
            let mut waiting: Vec<(Name, Wait)> = Vec::new();
            for step in steps {
                let now = Instant::now();
                match step {
                    Step::Pass(hours) => tokio::time::advance(hours * HOUR).await,
                    Step::StopWaiting => {
                        for (name, _) in waiting.drain(..) {
                            if let Some((_, Plain::Running(_, waiting))) = reference.0.get_mut(&name) {
                                *waiting -= 1;
                            }
                        }
                    }
                    Step::Claim { tenant, key, arguments, repeatable } => {
                        reference.forget(now);
                        let name = (tenant, key);
                        let claimed = claim(&store, &heads[usize::from(tenant)], key, arguments, repeatable, now);
                        match (claimed, reference.0.get_mut(&name)) {
                            (Err(full), None) => {
                                prop_assert!(full.is::<Full>());
                                prop_assert!(reference.0.len() == KEYS || reference.keys(tenant) >= reference.part(KEYS, tenant));
                            }
                            (Ok(Claim::Run(lease)), None) => {
                                prop_assert!(reference.0.len() < KEYS && reference.keys(tenant) < reference.part(KEYS, tenant));
                                reference.0.insert(name, (arguments, Plain::Running(Rest::Fresh, 0)));
                                leases.push((name, lease));
                            }
                            (Ok(Claim::Conflict), Some((first, _))) => prop_assert_ne!(*first, arguments),
                            (_, Some((first, _))) if *first != arguments => prop_assert!(false, "no conflict"),
                            (Ok(Claim::Running(Some(wait))), Some((_, Plain::Running(_, waiters)))) => {
                                prop_assert!(*waiters < WAITING);
                                *waiters += 1;
                                waiting.push((name, wait));
                            }
                            (Ok(Claim::Running(None)), Some((_, Plain::Running(_, waiters)))) => prop_assert_eq!(*waiters, WAITING),
                            (Ok(Claim::Done(kept)), Some((_, Plain::Rest(Rest::Done(weight), _)))) => {
                                prop_assert_eq!(kept.weight(), *weight);
                            }
                            (Ok(Claim::Unknown), Some((_, Plain::Rest(Rest::Unknown, _)))) => prop_assert!(!repeatable),
                            (Ok(Claim::Run(lease)), Some((_, plain))) => {
                                let Plain::Rest(before, _) = *plain else {
                                    prop_assert!(false, "two at once");
                                    return Ok(());
                                };
                                prop_assert!(before == Rest::Paused || (before == Rest::Unknown && repeatable), "{:?}", before);
                                *plain = Plain::Running(before, 0);
                                leases.push((name, lease));
                            }
                            (claimed, known) => prop_assert!(false, "{:?} of {:?}", claimed, known),
                        }
                    }
                    Step::End(..) if leases.is_empty() => {}
                    Step::End(which, how) => {
                        let (name, lease) = leases.swap_remove(which.index(leases.len()));
                        let weight = kept(300).weight();
                        let fits = reference.bytes(None) + weight <= BYTES && reference.bytes(Some(name.0)) + weight <= reference.part(BYTES, name.0);
                        let Some((_, Plain::Running(before, waiters))) = reference.0.get(&name).copied() else {
                            prop_assert!(false, "a lease of no call");
                            return Ok(());
                        };
                        let (end, rest) = match how {
                            0 => (Some(End::Nothing), before),
                            1 => (Some(End::Paused), Rest::Paused),
                            2 if fits => (Some(End::Done(kept(300))), Rest::Done(weight)),
                            2 => (Some(End::Done(kept(300))), Rest::Unknown),
                            3 => (Some(End::Unknown), Rest::Unknown),
                            _ => (None, Rest::Unknown),
                        };
                        match end {
                            Some(end) => prop_assert!(lease.end(end, now).now_or_never().is_some()),
                            None => drop(lease),
                        }
                        match rest {
                            Rest::Fresh => drop(reference.0.remove(&name)),
                            rest => reference.0.get_mut(&name).unwrap().1 = Plain::Rest(rest, now + 24 * HOUR),
                        }
                        // All who waited hear of it, and nobody else does.
                        let mut heard = 0;
                        waiting.retain_mut(|(of, wait)| {
                            let ended = wait.now_or_never().is_some();
                            heard += usize::from(ended);
                            assert_eq!(ended, *of == name);
                            !ended
                        });
                        prop_assert_eq!(heard, waiters);
                    }
                }
                let now = Instant::now();
                let lasting = |plain: &Plain| !matches!(plain, Plain::Rest(_, until) if *until <= now);
                prop_assert!(reference.0.values().filter(|(_, plain)| lasting(plain)).count() <= store.keys());
                prop_assert_eq!(store.running(), leases.len());
                prop_assert!(store.keys() <= KEYS && store.bytes() <= BYTES);
            }
            Ok(())
        })?;
    }
}
