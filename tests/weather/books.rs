//! The callers' account: how each call ended, and what each report may claim.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    ask::{Answer, Ask, Target},
    open_meteo::Observation,
};

/// What the caller of a report may claim: how many effects there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It was made: exactly one.
    Made,
    /// It was refused: none.
    Refused,
    /// Nobody can tell: one at most.
    Unknown,
}

#[derive(Debug, Default)]
pub struct Books(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// Calls by target and class of answer.
    answers: BTreeMap<(Target, String), i64>,
    /// Refusals by target and reason.
    refusals: BTreeMap<(Target, String), i64>,
    claims: BTreeMap<String, Claim>,
}

impl Books {
    pub fn count(&self, ask: &Ask, answer: &Answer) {
        let mut pages = self.pages();
        *pages.answers.entry((ask.target, answer.class.clone())).or_default() += 1;
        if answer.is("local_reject") {
            let reason = answer.reason.clone().unwrap();
            *pages.refusals.entry((ask.target, reason)).or_default() += 1;
        }
        if let Some(note) = ask.note.clone() {
            let claim = match &*answer.class {
                "ok" => Claim::Made,
                "tool_error" | "throttled" | "not_sent" | "local_reject" => Claim::Refused,
                _ => Claim::Unknown,
            };
            assert_eq!(pages.claims.insert(note, claim), None, "two reports have the same note");
        }
    }

    /// A call that its client took back.
    pub fn count_cancelled(&self, ask: &Ask) {
        *self.pages().answers.entry((ask.target, "cancelled".to_owned())).or_default() += 1;
    }

    pub fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<_> = self.pages().answers.keys().map(|(target, _)| *target).collect();
        targets.dedup();
        targets
    }

    /// How many calls of `target` ended in one of `classes`.
    pub fn answers(&self, target: Target, classes: &[&str]) -> i64 {
        let pages = self.pages();
        pages.answers.iter().filter(|((of, class), _)| *of == target && classes.contains(&&**class)).map(|(_, count)| count).sum()
    }

    /// How many calls of `target` there were.
    pub fn calls(&self, target: Target) -> i64 {
        self.pages().answers.iter().filter(|((of, _), _)| *of == target).map(|(_, count)| count).sum()
    }

    /// How many calls ended in `class`, whatever was called.
    pub fn all(&self, class: &str) -> i64 {
        self.pages().answers.iter().filter(|((_, of), _)| of == class).map(|(_, count)| count).sum()
    }

    /// How many calls of `target` were refused, by reason.
    pub fn refusals(&self, target: Target) -> BTreeMap<String, i64> {
        let pages = self.pages();
        let refusals = pages.refusals.iter().filter(|((of, _), _)| *of == target);
        refusals.map(|((_, reason), count)| (reason.clone(), *count)).collect()
    }

    /// Holds each report's claim against what the backend has.
    pub fn audit(&self, observations: &[Observation]) {
        let claims = &self.pages().claims;
        let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
        for Observation { note, .. } in observations {
            assert!(claims.contains_key(note), "nobody reported {note:?}");
            *effects.entry(note).or_default() += 1;
        }
        for (note, claim) in claims {
            let found = effects.get(&**note).copied().unwrap_or_default();
            let kept = match claim {
                Claim::Made => found == 1,
                Claim::Refused => found == 0,
                Claim::Unknown => found <= 1,
            };
            assert!(kept, "{note:?} is {claim:?}, and has {found} effects");
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }
}
