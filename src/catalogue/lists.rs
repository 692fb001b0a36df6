//! What has been listed under one method, and to whom.

use std::{collections::HashMap, sync::Arc};

use super::{Scope, scopes::Scopes};
use crate::call::{Annotations, Digest, Target};

/// One entry for each name, whoever it was listed to; and what each scope was told of it. A copy shares with the one that it was
/// made from what neither changes.
#[derive(Clone, Default)]
pub(super) struct Lists {
    names: Arc<HashMap<Arc<str>, Entry>>,
    scopes: Scopes,
}

#[derive(Clone)]
struct Entry {
    target: Arc<Target>,
    /// Where each scope keeps its word on it.
    place: usize,
    /// Whether all callers see it: it is declared, or was in a public list.
    open: bool,
    /// Whether the operator has named it.
    declared: bool,
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

    /// Makes the entry of a name. Nobody sees it yet.
    pub(super) fn add(&mut self, name: &str, target: Target) {
        let entry = Entry { target: Arc::new(target), place: self.names.len(), open: false, declared: false };
        Arc::make_mut(&mut self.names).insert(name.into(), entry);
    }

    /// The entry of a name that the operator has named.
    pub(super) fn declared(&self, name: &str) -> Option<&Arc<Target>> {
        self.names.get(name).filter(|entry| entry.declared).map(|entry| &entry.target)
    }

    /// The operator names it: from now on all callers see it.
    pub(super) fn declare(&mut self, name: &str) -> Option<Arc<Target>> {
        let entry = Arc::make_mut(&mut self.names).get_mut(name)?;
        (entry.open, entry.declared) = (true, true);
        Some(entry.target.clone())
    }

    /// Takes down what a scope was told of a name that has an entry.
    pub(super) fn tell(&mut self, scope: Scope, name: &str, said: Annotations) {
        let Some(entry) = self.names.get(name) else { return };
        let (place, target) = (entry.place, entry.target.clone());
        if scope == Scope::Public && !entry.open {
            Arc::make_mut(&mut self.names).entry(name.into()).and_modify(|entry| entry.open = true);
        }
        self.scopes.tell(scope, place, said);
        // Where it is what all agree on already, it changes nothing.
        if target.annotations() != said {
            target.annotate(self.scopes.words(place).reduce(Annotations::agreed).unwrap_or_default());
        }
    }

    fn word(&self, scope: Scope, entry: &Entry) -> Option<Annotations> {
        self.scopes.word(scope, entry.place)
    }
}
