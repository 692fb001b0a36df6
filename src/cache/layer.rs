use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tower::Layer;

use super::{
    Cache,
    rules::{Terms, out_of_date},
    store::{Settings, Store},
};
use crate::{call::Target, catalogue::Catalogue};

/// Keeps answers, and gives them again. See the [module](super).
///
/// The layer is its own handle: a clone of it, kept, is what tells the cache that something has changed.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    settings: Settings,
    /// `None`: off.
    store: Arc<Store>,
}

impl CacheLayer {
    /// Keeps answers that take up to about so many bytes together, for at most an hour each; serves them up to five minutes
    /// longer where the upstream fails; does not serve them stale otherwise.
    pub fn new(bytes: NonZeroU64) -> Self {
        Self::with(Settings {
            bytes,
            terms: Terms {
                longest: Duration::from_secs(3600),
                while_revalidate: Duration::ZERO,
                if_error: Duration::from_secs(300),
            },
            single_caller: false,
            refreshes: 64,
        })
    }

    fn with(settings: Settings) -> Self {
        Self { settings, store: Arc::new(Store::new(settings)) }
    }

    /// The same with other settings: and with a store of its own.
    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        change(&mut settings);
        Self::with(settings)
    }

    /// Takes all callers for one, also those without authorisation: right where the transport has one caller only (stdio, in
    /// process), and nowhere else. The layer then has a store of its own, apart from the one it was made of.
    #[must_use]
    pub fn single_caller(self) -> Self {
        self.change(|settings| settings.single_caller = true)
    }

    /// Cuts what a server says of how long its answers are fresh. Default: an hour. The layer then has a store of its own.
    #[must_use]
    pub fn longest(self, ttl: Duration) -> Self {
        self.change(|settings| settings.terms.longest = ttl)
    }

    /// Serves an answer for so long past its time while a new one is fetched: on access, in the background, once for each
    /// answer. Default: not at all. The layer then has a store of its own.
    #[must_use]
    pub fn stale_while_revalidate(self, grace: Duration) -> Self {
        self.change(|settings| settings.terms.while_revalidate = grace)
    }

    /// Serves an answer for so long past its time where a new one cannot be had. Default: five minutes. The layer then has a
    /// store of its own.
    #[must_use]
    pub fn stale_if_error(self, grace: Duration) -> Self {
        self.change(|settings| settings.terms.if_error = grace)
    }

    /// At most so many answers are fetched in the background at once; beyond that they stay stale. Default: 64. The layer
    /// then has a store of its own.
    #[must_use]
    pub fn refreshes(self, most: usize) -> Self {
        self.change(|settings| settings.refreshes = most)
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
