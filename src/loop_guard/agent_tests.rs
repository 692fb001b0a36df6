use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{call::Digest, loop_guard::policy::Settings};

const SECOND: Duration = Duration::from_secs(1);

fn failure(text: &str) -> News {
    News::Outcome(Outcome::Failure(Digest::of(text.as_bytes())))
}

fn success(text: &str) -> News {
    News::Outcome(Outcome::Success(Digest::of(text.as_bytes())))
}

/// An agent that calls `keys` in turn, a step apart, each call ending in `news` at once. When calls were let through, in seconds.
async fn let_through(policy: Policy, keys: &[u128], step: Duration, calls: u32, news: impl Fn(u128, u32) -> News) -> Vec<u64> {
    let (began, mut agent) = (Instant::now(), Agent::default());
    let mut at = Vec::new();
    for (n, key) in (0..calls).zip(keys.iter().cycle()) {
        let ticket = match agent.admit(Some(Key(*key)), false, &policy, Instant::now()) {
            Admit::Pass => Some(None),
            Admit::Trial(ticket) => Some(Some(ticket)),
            Admit::Retry | Admit::Loop(_) | Admit::Budget(_) => None,
        };
        if let Some(ticket) = ticket {
            at.push(began.elapsed().as_secs());
            agent.settle(Key(*key), ticket, news(*key, n), &policy, Instant::now());
        }
        tokio::time::advance(step).await;
    }
    at
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_stuck_is_spaced_then_blocked_then_tried() {
    let at = let_through(Policy::default(), &[1], SECOND, 1000, |_, _| failure("no such city")).await;
    assert_eq!(at, [0, 1, 2, 4, 8, 308, 608, 908]);
}

#[tokio::test(start_paused = true)]
async fn two_failing_calls_in_turn_are_one_loop() {
    let failing = |key, _| failure(if key == 1 { "no such file" } else { "no such directory" });
    let at = let_through(Policy::default(), &[1, 2], SECOND, 300, failing).await;
    assert_eq!(at.len(), 5, "{at:?}");
    let apart = Policy::try_new(Settings { ping_pong: false, ..Settings::default() }).unwrap();
    assert_eq!(let_through(apart, &[1, 2], SECOND, 300, failing).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn polling_passes_whether_the_status_changes_or_not() {
    for result in [|_, _| success("running"), |_, n: u32| success(&n.to_string())] {
        assert_eq!(let_through(Policy::default(), &[1], SECOND, 1000, result).await.len(), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_differ_are_not_spaced_and_blocked_after_ten() {
    let differing = |_, n: u32| failure(&n.to_string());
    let at = let_through(Policy::default(), &[1], SECOND, 1000, differing).await;
    assert_eq!(at, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 309, 609, 909]);
    let ever = Policy::try_new(Settings { any_failures_to_block: 0, ..Settings::default() }).unwrap();
    assert_eq!(let_through(ever, &[1], SECOND, 1000, differing).await.len(), 1000);
    // Nine in vain, and then it works.
    let at_last = |_, n: u32| if n % 10 == 9 { News::Moved } else { failure(&n.to_string()) };
    assert_eq!(let_through(Policy::default(), &[1], SECOND, 1000, at_last).await.len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_client_s_own_attempts_go_with_the_one_that_counts_and_are_few() {
    let (policy, mut agent, key) = (Policy::default(), Agent::default(), Key(1));
    let mut admit = |retry, news| {
        let admit = agent.admit(Some(key), retry, &policy, Instant::now());
        match admit {
            Admit::Pass => drop(agent.settle(key, None, news, &policy, Instant::now())),
            Admit::Trial(ticket) => drop(agent.settle(key, Some(ticket), news, &policy, Instant::now())),
            Admit::Retry => drop(agent.settle(key, None, news.of_retry(), &policy, Instant::now())),
            Admit::Loop(_) | Admit::Budget(_) => {}
        }
        admit
    };
    let same = || failure("same");
    // The first that is heard of counts, also where the client's first attempt was lost on its way.
    assert_eq!([true, false].map(|retry| admit(retry, same())), [Admit::Pass; 2]);
    assert_eq!([true; 6].map(|retry| admit(retry, same())), [Admit::Retry; 6]);
    // They have not put off the next call.
    assert_eq!(admit(false, same()), Admit::Loop(SECOND));
    tokio::time::advance(SECOND).await;
    assert!(matches!(admit(false, same()), Admit::Trial(_)));
    assert_eq!(admit(true, failure("other")), Admit::Retry);
    assert_eq!(admit(false, same()), Admit::Loop(2 * SECOND));
    assert_eq!(admit(true, same()), Admit::Retry);
    assert_eq!(admit(true, same()), Admit::Loop(2 * SECOND), "a mark can be forged");
    tokio::time::advance(2 * SECOND).await;
    assert!(matches!(admit(true, News::Moved), Admit::Trial(_)));
    assert_eq!(admit(false, same()), Admit::Pass, "it went well");
    let unbelieving = Policy::try_new(Settings { client_retries: 0, ..Settings::default() }).unwrap();
    agent.settle(key, None, same(), &unbelieving, Instant::now());
    assert_eq!(agent.admit(Some(key), true, &unbelieving, Instant::now()), Admit::Loop(SECOND));
}

#[tokio::test(start_paused = true)]
async fn same_successes_are_spaced_where_that_is_asked_for() {
    let policy = Policy::try_new(Settings { identical_successes: 20, ..Settings::default() }).unwrap();
    let at = let_through(policy, &[1], SECOND / 10, 100, |_, _| success("done")).await;
    // Twenty in two seconds, and then one a second.
    assert_eq!(at.len(), 20 + 8, "{at:?}");
    assert_eq!(let_through(policy, &[1], SECOND, 100, |_, _| success("done")).await.len(), 100);
    assert_eq!(let_through(policy, &[1], SECOND / 10, 100, |_, n| success(&n.to_string())).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn another_outcome_begins_a_new_count() {
    let (policy, mut agent, key) = (Policy::default(), Agent::default(), Key(1));
    for other in [failure("another"), success("done"), News::Moved] {
        for _ in 0..5 {
            agent.settle(key, None, failure("the same"), &policy, Instant::now());
        }
        assert_eq!(agent.admit(Some(key), false, &policy, Instant::now()), Admit::Loop(300 * SECOND));
        tokio::time::advance(300 * SECOND).await;
        let Admit::Trial(ticket) = agent.admit(Some(key), false, &policy, Instant::now()) else { panic!("no trial") };
        assert_eq!(agent.admit(Some(key), false, &policy, Instant::now()), Admit::Loop(300 * SECOND));
        agent.settle(key, Some(ticket), other, &policy, Instant::now());
        assert_eq!(agent.admit(Some(key), false, &policy, Instant::now()), Admit::Pass);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_says_nothing_makes_room_for_the_next() {
    let (policy, mut agent, key) = (Policy::default(), Agent::default(), Key(1));
    let failed = |agent: &mut Agent, ticket| agent.settle(key, ticket, failure("same"), &policy, Instant::now());
    assert_eq!([0; 5].map(|_| failed(&mut agent, None)), [None, None, None, None, Some(Found::Repetition)]);
    tokio::time::advance(300 * SECOND).await;
    let Admit::Trial(left) = agent.admit(Some(key), false, &policy, Instant::now()) else { panic!("no trial") };
    agent.release(key, left);
    let Admit::Trial(refused) = agent.admit(Some(key), false, &policy, Instant::now()) else { panic!("no trial") };
    agent.settle(key, Some(refused), News::Nothing, &policy, Instant::now());
    let Admit::Trial(fails) = agent.admit(Some(key), false, &policy, Instant::now()) else { panic!("no trial") };
    // One that has been given up has no say any more.
    agent.release(key, left);
    assert_eq!(agent.admit(Some(key), false, &policy, Instant::now()), Admit::Loop(300 * SECOND));
    assert_eq!(failed(&mut agent, Some(fails)), None);
    assert_eq!(agent.admit(Some(key), false, &policy, Instant::now()), Admit::Loop(300 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_for_all_calls_together() {
    let budget = Some(governor::Quota::per_second(std::num::NonZeroU32::new(2).unwrap()));
    let policy = Policy::try_new(Settings { budget, ..Settings::default() }).unwrap();
    let mut agent = Agent::default();
    let mut admit = |key| agent.admit(key, false, &policy, Instant::now());
    assert_eq!([Some(Key(1)), None, Some(Key(2))].map(&mut admit), [Admit::Pass, Admit::Pass, Admit::Budget(SECOND / 2)]);
    tokio::time::advance(SECOND / 2).await;
    assert_eq!([None, None].map(&mut admit), [Admit::Pass, Admit::Budget(SECOND / 2)]);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted() {
    let budget = Some(governor::Quota::per_second(std::num::NonZeroU32::new(2).unwrap()));
    let policy = Policy::try_new(Settings { budget, ..Settings::default() }).unwrap();
    let (mut agent, key) = (Agent::default(), Key(1));
    assert_eq!(agent.refused(), 0);
    for (calls, refused) in [(2, 0), (3, 3)] {
        for _ in 0..calls {
            agent.admit(Some(key), false, &policy, Instant::now());
        }
        assert_eq!(agent.refused(), refused, "the budget is for two");
    }
    for _ in 0..5 {
        agent.settle(key, None, failure("same"), &policy, Instant::now());
    }
    agent.admit(Some(key), false, &policy, Instant::now());
    assert_eq!(agent.refused(), 4);
    assert_eq!(Found::ALL.map(Found::as_str), ["repetition", "ping_pong"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_shows_as_blocked_only_while_it_is() {
    let (policy, mut agent) = (Policy::default(), Agent::default());
    let shown = |agent: &Agent| agent.runs(&policy, Instant::now()).collect::<Vec<_>>();
    assert_eq!(shown(&agent), []);
    for (failures, blocked) in [(1, false), (2, false), (3, false), (4, false), (5, true), (6, true)] {
        agent.settle(Key(1), None, failure("same"), &policy, Instant::now());
        assert_eq!(shown(&agent), [(failures, blocked)], "in the others it is spaced at most");
    }
    tokio::time::advance(300 * SECOND).await;
    assert_eq!(shown(&agent), [(6, false)], "it may be tried");
    tokio::time::advance(300 * SECOND).await;
    assert_eq!(shown(&agent), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_has_a_bound_and_an_end() {
    let (policy, mut agent) = (Policy::default(), Agent::default());
    for key in 0..1000 {
        agent.settle(Key(key), None, failure("same"), &policy, Instant::now());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(agent.runs(&policy, Instant::now()).count(), CALLS);
    assert!(agent.runs.iter().all(|run| run.key.0 >= 1000 - CALLS as u128));
    assert!(!agent.is_idle(&policy, Instant::now()));
    tokio::time::advance(600 * SECOND).await;
    assert!(agent.is_idle(&policy, Instant::now()));
    assert_eq!(agent.admit(Some(Key(999)), false, &policy, Instant::now()), Admit::Pass);
}

/// The guard as its documentation says it, over the whole history and without a thought for cost.
#[derive(Default)]
struct Reference {
    runs: BTreeMap<u128, Run2>,
    failures: Vec<(u128, u8)>,
    trials: BTreeMap<u128, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Run2 {
    outcome: Outcome2,
    length: u32,
    failures: u32,
    at: Instant,
    retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome2 {
    Failed(u8),
    Succeeded(u8),
}

impl Reference {
    /// `None`: it passes, and others may; `Some(0)`: it passes alone.
    fn wait(&mut self, key: u128, successes: u32, now: Instant) -> Option<Duration> {
        self.forget(key, now);
        let Run2 { outcome, length, failures, at, .. } = *self.runs.get(&key)?;
        let gap = match outcome {
            Outcome2::Failed(_) if failures >= 10 => 300 * SECOND,
            Outcome2::Failed(_) => [0, 0, 1, 2, 4, 300][length.min(5) as usize] * SECOND,
            Outcome2::Succeeded(_) if successes > 0 && length >= successes => SECOND,
            Outcome2::Succeeded(_) => return None,
        };
        if gap.is_zero() {
            return None;
        }
        if self.trials.contains_key(&key) {
            return Some(gap);
        }
        Some(gap.saturating_sub(now - at))
    }

    /// Whether another attempt of the client's goes with the last call that was counted.
    fn retry(&mut self, key: u128, now: Instant) -> bool {
        self.forget(key, now);
        let Some(run) = self.runs.get_mut(&key).filter(|run| run.retries < 8) else { return false };
        run.retries += 1;
        true
    }

    fn forget(&mut self, key: u128, now: Instant) {
        if !self.trials.contains_key(&key) && self.runs.get(&key).is_some_and(|run| now - run.at >= 600 * SECOND) {
            self.runs.remove(&key);
        }
    }

    fn settle(&mut self, key: u128, outcome: Option<Outcome2>, now: Instant) {
        let Some(outcome) = outcome else {
            self.failures.clear();
            self.runs.remove(&key);
            // Where there is no run, none of the calls under way is its trial.
            self.trials.remove(&key);
            return;
        };
        self.forget(key, now);
        let before = self.runs.get(&key);
        let length = 1 + before.filter(|run| run.outcome == outcome).map_or(0, |run| run.length);
        let retries = before.map_or(0, |run| run.retries);
        let failures = match outcome {
            Outcome2::Failed(_) => 1 + before.map_or(0, |run| run.failures),
            Outcome2::Succeeded(_) => 0,
        };
        self.runs.insert(key, Run2 { outcome, length, failures, at: now, retries });
        let Outcome2::Failed(how) = outcome else {
            self.failures.clear();
            return;
        };
        self.failures.push((key, how));
        // The latest failures that are of two kinds, from where the first of them has come again.
        let kinds = |from: usize| self.failures[from..].iter().collect::<std::collections::BTreeSet<_>>();
        let from = (0..self.failures.len()).find(|from| kinds(*from).len() <= 2).unwrap_or_default();
        let latest = &self.failures[from..];
        let paired = (2..latest.len()).find(|n| latest[*n] == latest[n - 2] && latest[*n] != latest[n - 1]);
        if let Some(paired) = paired {
            let length = 3 + (latest.len() - 1 - paired) as u32;
            for (key, _) in kinds(from).into_iter().copied().collect::<Vec<_>>() {
                if let Some(run) = self.runs.get_mut(&key) {
                    (run.length, run.at) = (run.length.max(length), now);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// With or without a mark that it is not its client's first attempt.
    Call(u128, bool),
    /// Ends one of the calls under way: 0 to 2 a failure, 3 and 4 a success, 5 moves, 6 says nothing, 7 is dropped.
    End(prop::sample::Index, u8),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u128, prop::bool::weighted(0.2)).prop_map(|(key, retry)| Step::Call(key, retry)),
        4 => (any::<prop::sample::Index>(), prop_oneof![8 => 0..3_u8, 1 => 3..8_u8]).prop_map(|(which, how)| Step::End(which, how)),
        1 => (0..5_000_u32).prop_map(Step::Wait),
        1 => prop_oneof![Just(299_000_u32), Just(300_000), Just(600_000)].prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_agent_does_what_the_documentation_says(steps in prop::collection::vec(step(), 1..120), counts_successes: bool) {
        let identical_successes = if counts_successes { 3 } else { 0 };
        let policy = Policy::try_new(Settings { identical_successes, ..Settings::default() }).unwrap();
        let (mut agent, mut reference) = (Agent::default(), Reference::default());
        let mut now = Instant::now();
        let mut under_way: Vec<(usize, u128, Option<Ticket>, bool)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms.into()),
                Step::Call(key, marked) => {
                    let admit = agent.admit(Some(Key(key)), marked, &policy, now);
                    if marked && reference.retry(key, now) {
                        prop_assert_eq!(admit, Admit::Retry);
                        under_way.push((n, key, None, true));
                        continue;
                    }
                    match (admit, reference.wait(key, identical_successes, now)) {
                        (Admit::Pass, None) => under_way.push((n, key, None, false)),
                        (Admit::Trial(ticket), Some(Duration::ZERO)) => {
                            reference.trials.insert(key, n);
                            under_way.push((n, key, Some(ticket), false));
                        }
                        (Admit::Loop(wait), Some(due)) if !due.is_zero() => prop_assert_eq!(wait, due),
                        (admit, due) => prop_assert!(false, "{:?}, and should wait {:?}", admit, due),
                    }
                }
                Step::End(..) if under_way.is_empty() => {}
                Step::End(which, how) => {
                    let (call, key, ticket, retry) = under_way.swap_remove(which.index(under_way.len()));
                    if reference.trials.get(&key) == Some(&call) {
                        reference.trials.remove(&key);
                    }
                    let news = match how {
                        0..=2 => failure(&how.to_string()),
                        3..=4 if counts_successes => success(&how.to_string()),
                        3..=5 => News::Moved,
                        _ => News::Nothing,
                    };
                    let news = if retry { news.of_retry() } else { news };
                    match (news, ticket) {
                        (News::Nothing, Some(ticket)) if how == 7 => agent.release(Key(key), ticket),
                        _ => drop(agent.settle(Key(key), ticket, news, &policy, now)),
                    }
                    match news {
                        News::Nothing => {}
                        News::Moved => reference.settle(key, None, now),
                        News::Outcome(Outcome::Failure(_)) => reference.settle(key, Some(Outcome2::Failed(how)), now),
                        News::Outcome(Outcome::Success(_)) => reference.settle(key, Some(Outcome2::Succeeded(how)), now),
                    }
                }
            }
        }
    }
}
