//! What has been listed under one method, and to whom.

use std::{collections::HashMap, sync::Arc};

use super::Scope;
use crate::call::{Annotations, Digest, Target};

/// How many private scopes are remembered for each method.
pub(super) const SCOPES: usize = 4096;

/// One entry for each name, whoever it was listed to; and what each scope was told of it.
#[derive(Clone, Default)]
pub(super) struct Lists {
    names: HashMap<Arc<str>, Entry>,
    scopes: HashMap<Scope, Arc<Told>>,
    /// How many scopes there have ever been.
    born: u64,
}

#[derive(Clone)]
struct Entry {
    target: Arc<Target>,
    /// Where each scope keeps its word on it.
    place: usize,
    /// Whether all callers see it: it is declared, or was in a public list.
    open: bool,
}

/// What one scope was told.
#[derive(Clone)]
struct Told {
    /// Which scope this is, counted from the first.
    born: u64,
    /// By the name's place. `None`: it was not in this scope's lists.
    words: Vec<Option<Annotations>>,
}

impl Told {
    fn of(&self, place: usize) -> Option<Annotations> {
        self.words.get(place).copied().flatten()
    }
}

impl Lists {
    /// The entry of a name, if these callers see it.
    pub(super) fn find(&self, name: &str, audience: Option<Digest>) -> Option<&Arc<Target>> {
        let entry = self.names.get(name)?;
        (entry.open || self.word(Scope::Private(audience), entry).is_some()).then_some(&entry.target)
    }

    /// All entries.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.names.values().map(|entry| &entry.target)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is an entry of this name, whoever sees it.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether there is nothing new in this.
    pub(super) fn knows(&self, scope: Scope, name: &str, said: Annotations) -> bool {
        self.names.get(name).is_some_and(|entry| self.word(scope, entry) == Some(said))
    }

    /// Makes the entry of a name. Nobody sees it yet, unless it is open.
    pub(super) fn add(&mut self, name: &str, target: Target, open: bool) {
        let entry = Entry { target: Arc::new(target), place: self.names.len(), open };
        self.names.insert(name.into(), entry);
    }

    /// Takes down what a scope was told of a name that has an entry.
    pub(super) fn tell(&mut self, scope: Scope, name: &str, said: Annotations) {
        self.make_room(scope);
        let Some(entry) = self.names.get_mut(name) else { return };
        entry.open |= scope == Scope::Public;
        let born = self.born;
        let told = self.scopes.entry(scope).or_insert_with(|| {
            self.born += 1;
            Arc::new(Told { born, words: Vec::new() })
        });
        let words = &mut Arc::make_mut(told).words;
        words.resize(words.len().max(entry.place + 1), None);
        words[entry.place] = Some(said);
        // Where it is what all agree on already, it changes nothing.
        if entry.target.annotations() != said {
            let words = self.scopes.values().filter_map(|told| told.of(entry.place));
            entry.target.annotate(words.reduce(Annotations::agreed).unwrap_or_default());
        }
    }

    /// Forgets the oldest private scope, if this one is new and there are as many as may be. What it was told still counts until the
    /// name is listed otherwise.
    fn make_room(&mut self, scope: Scope) {
        if self.scopes.contains_key(&scope) || self.scopes.len() < SCOPES {
            return;
        }
        let private = self.scopes.iter().filter(|(scope, _)| **scope != Scope::Public);
        if let Some(oldest) = private.min_by_key(|(_, told)| told.born).map(|(scope, _)| *scope) {
            self.scopes.remove(&oldest);
        }
    }

    fn word(&self, scope: Scope, entry: &Entry) -> Option<Annotations> {
        self.scopes.get(&scope)?.of(entry.place)
    }
}
