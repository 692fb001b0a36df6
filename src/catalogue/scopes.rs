//! What each scope was told.

use std::{collections::HashMap, sync::Arc};

use super::Scope;
use crate::call::Annotations;

/// How many scopes are remembered for each method.
pub(super) const SCOPES: usize = 4096;

/// The parts in which scopes are copied: who learns of one copies a few dozen of them, and not thousands.
const PARTS: usize = 64;

/// The words on all names, by scope.
#[derive(Clone)]
pub(super) struct Scopes {
    parts: [Part; PARTS],
    count: usize,
    /// How many there have ever been.
    born: u64,
}

#[derive(Clone)]
struct Part {
    told: Arc<HashMap<Scope, Told>>,
    /// The first born of its private scopes; `MAX` where it has none.
    oldest: u64,
}

/// What one scope was told.
#[derive(Clone)]
struct Told {
    /// Which scope this is, counted from the first.
    born: u64,
    /// By the name's place. `None`: it was not in this scope's lists.
    words: Arc<Vec<Option<Annotations>>>,
}

impl Told {
    fn of(&self, place: usize) -> Option<Annotations> {
        self.words.get(place).copied().flatten()
    }
}

impl Default for Scopes {
    fn default() -> Self {
        let part = || Part { told: Arc::default(), oldest: u64::MAX };
        Self { parts: std::array::from_fn(|_| part()), count: 0, born: 0 }
    }
}

impl Scopes {
    /// What a scope was told of the name in this place.
    pub(super) fn word(&self, scope: Scope, place: usize) -> Option<Annotations> {
        self.parts[part_of(scope)].told.get(&scope)?.of(place)
    }

    /// What all of them were told of it.
    pub(super) fn words(&self, place: usize) -> impl Iterator<Item = Annotations> {
        self.parts.iter().flat_map(|part| part.told.values()).filter_map(move |told| told.of(place))
    }

    /// Takes down what a scope was told of it.
    pub(super) fn tell(&mut self, scope: Scope, place: usize, said: Annotations) {
        if !self.parts[part_of(scope)].told.contains_key(&scope) {
            self.make_room();
            self.add(scope);
        }
        if let Some(told) = Arc::make_mut(&mut self.parts[part_of(scope)].told).get_mut(&scope) {
            let words = Arc::make_mut(&mut told.words);
            words.resize(words.len().max(place + 1), None);
            words[place] = Some(said);
        }
    }

    fn add(&mut self, scope: Scope) {
        self.born += 1;
        self.count += 1;
        let part = &mut self.parts[part_of(scope)];
        Arc::make_mut(&mut part.told).insert(scope, Told { born: self.born, words: Arc::default() });
        part.settle();
    }

    /// Forgets the oldest private scope, if there are as many as may be. What it was told still counts until the name is listed
    /// otherwise.
    fn make_room(&mut self) {
        let oldest = self.parts.iter_mut().min_by_key(|part| part.oldest);
        if let Some(part) = oldest.filter(|_| self.count >= SCOPES) {
            let of = part.oldest;
            Arc::make_mut(&mut part.told).retain(|scope, told| *scope == Scope::Public || told.born != of);
            self.count -= 1;
            part.settle();
        }
    }
}

impl Part {
    fn settle(&mut self) {
        let private = self.told.iter().filter(|(scope, _)| **scope != Scope::Public);
        self.oldest = private.map(|(_, told)| told.born).min().unwrap_or(u64::MAX);
    }
}

/// Digests are as good as random.
fn part_of(scope: Scope) -> usize {
    match scope {
        Scope::Private(Some(audience)) => usize::try_from(audience.bits() % PARTS as u128).unwrap_or_default(),
        Scope::Public | Scope::Private(None) => 0,
    }
}
