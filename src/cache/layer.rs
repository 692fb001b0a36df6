use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tower::Layer;

use super::{Cache, Terms, rules::out_of_date, store::Store};
use crate::{call::Target, catalogue::Catalogue};

/// Keeps answers, and gives them again. See the [module](super).
///
/// The layer is its own handle: a clone of it, kept, is what tells the cache that something has changed, and what changes its
/// [terms](Self::set_terms). Two things stay as they are: how many bytes there are, since the store beneath cannot change them
/// and another in its place would begin empty; and whether there is one caller only, which is a property of the transport.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    store: Arc<Store>,
}

impl CacheLayer {
    /// Keeps answers that take up to about so many bytes together, by the default [`Terms`].
    pub fn new(bytes: NonZeroU64) -> Self {
        Self::with(bytes, false, Terms::default())
    }

    fn with(bytes: NonZeroU64, single_caller: bool, terms: Terms) -> Self {
        Self { store: Arc::new(Store::new(bytes, single_caller, terms)) }
    }

    /// The same by other terms: and with a store of its own.
    fn change(self, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = self.terms();
        change(&mut terms);
        Self::with(self.store.bytes, self.store.single_caller, terms)
    }

    /// Takes all callers for one, also those without authorisation: right where the transport has one caller only (stdio, in
    /// process), and nowhere else. The layer then has a store of its own, apart from the one it was made of.
    #[must_use]
    pub fn single_caller(self) -> Self {
        Self::with(self.store.bytes, true, self.terms())
    }

    /// Cuts what a server says of how long its answers are fresh. Default: an hour. The layer then has a store of its own.
    #[must_use]
    pub fn longest(self, ttl: Duration) -> Self {
        self.change(|terms| terms.longest = ttl)
    }

    /// Serves an answer for so long past its time while a new one is fetched: on access, in the background, once for each
    /// answer. Default: not at all. The layer then has a store of its own.
    #[must_use]
    pub fn stale_while_revalidate(self, grace: Duration) -> Self {
        self.change(|terms| terms.stale_while_revalidate = grace)
    }

    /// Serves an answer for so long past its time where a new one cannot be had. Default: five minutes. The layer then has a
    /// store of its own.
    #[must_use]
    pub fn stale_if_error(self, grace: Duration) -> Self {
        self.change(|terms| terms.stale_if_error = grace)
    }

    /// At most so many answers are fetched in the background at once; beyond that they stay stale. Default: 64. The layer
    /// then has a store of its own.
    #[must_use]
    pub fn refreshes(self, most: usize) -> Self {
        self.change(|terms| terms.refreshes = most)
    }

    /// How long answers are good for, as things stand.
    pub fn terms(&self) -> Terms {
        self.store.terms.get()
    }

    /// Changes that while calls run, from the next answer on that is looked up: of those that are kept already too, as what the
    /// server said of each is kept with it. Nothing is forgotten. One call in the very middle of a change may go by some of the
    /// terms that were and some of those that are.
    pub fn set_terms(&self, terms: Terms) {
        self.store.terms.set(terms);
    }

    /// Says that the answers of `target` have changed: none that is kept is fresh any more, and none that is under way is kept.
    /// They are still better than an error.
    pub fn invalidate(&self, target: &Target) {
        // Where it has no cell, nothing is kept and nothing is under way.
        if let Some(cell) = self.store.known(target) {
            cell.out_of_date();
        }
    }

    /// The same for what a notification of the upstream's declares changed: `notifications/tools/list_changed`,
    /// `notifications/prompts/list_changed`, `notifications/resources/list_changed` (templates too) and
    /// `notifications/resources/updated` (all resources). Of any other, nothing. Says whether it was one of these.
    pub fn notified(&self, catalogue: &Catalogue, notification: &str) -> bool {
        let methods = out_of_date(notification);
        if methods.is_empty() {
            return false;
        }
        methods.iter().for_each(|method| self.invalidate(&catalogue.resolve(method, None, None)));
        let named = catalogue.targets();
        named.iter().filter(|target| methods.contains(target.method())).for_each(|target| self.invalidate(target));
        true
    }

    /// Forgets everything; and no answer to a call that is under way is kept.
    pub fn clear(&self) {
        self.store.clear();
    }

    /// About how many bytes are taken.
    pub fn bytes(&self) -> u64 {
        self.store.size().0
    }

    /// How many answers are kept.
    pub fn entries(&self) -> u64 {
        self.store.size().1
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cache::new(inner, self.store.clone())
    }
}
