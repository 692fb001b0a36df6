//! Layers for which a change of the operator's word is more than another answer to the next call.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Target, TargetPolicy};
use crate::error::BoxError;

/// Who has a say in the operator's word on targets, or something to do when it changes.
pub(crate) trait Follower: Send + Sync {
    /// Whether this can hold of `target`. Asked before it does, by one at a time for each catalogue; whatever becomes of it,
    /// [`follow`](Self::follow) is called then.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn agree(&self, target: &Arc<Target>, policy: &TargetPolicy) -> Result<(), BoxError> {
        let _ = (target, policy);
        Ok(())
    }

    /// Takes up what the operator says of `target` now: to be read from there, since of two changes the later may be told first.
    fn follow(&self, target: &Arc<Target>);
}

/// The followers of one upstream: as many as there are layers that have joined and still live.
#[derive(Default)]
pub(crate) struct Followers(Mutex<Vec<Weak<dyn Follower>>>);

impl Followers {
    /// From now on `follower` hears of each change. What was said until now is to be read after this.
    pub(crate) fn join(&self, follower: Weak<dyn Follower>) {
        let mut followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|known| known.strong_count() > 0);
        if !followers.iter().any(|known| known.ptr_eq(&follower)) {
            followers.push(follower);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Follower>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Layer;

    impl Follower for Layer {
        fn follow(&self, _target: &Arc<Target>) {}
    }

    #[test]
    fn who_joins_again_is_one_and_who_is_gone_is_none() {
        let (followers, one, other) = (Followers::default(), Arc::new(Layer), Arc::new(Layer));
        let join = |layer: &Arc<Layer>| {
            let layer = Arc::downgrade(layer);
            followers.join(layer);
        };
        [&one, &one, &other].into_iter().for_each(join);
        assert_eq!(followers.all().len(), 2);
        drop(one);
        assert_eq!(followers.all().len(), 1);
        join(&other);
        assert_eq!(followers.0.lock().unwrap().len(), 1, "nor does it take room");
    }
}
