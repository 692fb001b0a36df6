//! Who stands in the line.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::call::Digest;

/// The places in the line that are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Written under the lock only; read without it by whoever finds the line empty, or full.
    taken: AtomicU32,
    /// How many each tenant has. Who has none is not in here: so there are no more than places.
    tenants: Mutex<HashMap<Digest, u32>>,
}

impl Places {
    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Whether there is one for this tenant, where there are so many in all.
    pub(super) fn is_there_one(&self, all: u32, tenant: Digest) -> bool {
        match self.taken() {
            0 => all > 0,
            taken => taken < all && has_room(&self.tenants(), taken, all, tenant),
        }
    }

    /// Takes one, if there is one for this tenant.
    pub(super) fn take(&self, all: u32, tenant: Digest) -> bool {
        let mut tenants = self.tenants();
        let taken = self.taken();
        let takes = has_room(&tenants, taken, all, tenant);
        if takes {
            *tenants.entry(tenant).or_default() += 1;
            self.taken.store(taken + 1, Relaxed);
        }
        takes
    }

    /// Gives one back that was taken.
    pub(super) fn give_back(&self, tenant: Digest) {
        let mut tenants = self.tenants();
        self.taken.store(self.taken() - 1, Relaxed);
        if let Some(own) = tenants.get_mut(&tenant) {
            *own -= 1;
            if *own == 0 {
                tenants.remove(&tenant);
            }
        }
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<Digest, u32>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(tenants: &HashMap<Digest, u32>, taken: u32, all: u32, tenant: Digest) -> bool {
    let own = tenants.get(&tenant).copied().unwrap_or(0);
    taken < all && own < part(all, own == taken)
}

/// What one tenant may have of `all`: half of them where others wait too. Alone it may have more, though not all: nobody is sent
/// away to make room, and who comes next has to find some. One place is anybody's.
fn part(all: u32, alone: bool) -> u32 {
    let part = if alone { all - all.div_ceil(8) } else { all / 2 };
    part.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_tenant_may_have_of_a_line() {
        assert_eq!(
            [1, 2, 3, 8, 9, 64].map(|all| (part(all, true), part(all, false))),
            [(1, 1), (1, 1), (2, 1), (7, 4), (7, 4), (56, 32)]
        );
    }

    #[test]
    fn a_place_is_there_for_whom_it_can_be_taken_by_and_comes_back() {
        let (places, [a, b, c]) = (Places::default(), [b"a", b"b", b"c"].map(|name| Digest::of(name)));
        let take = |tenant| {
            let there = places.is_there_one(4, tenant);
            assert_eq!(places.take(4, tenant), there);
            there
        };
        assert!(!places.is_there_one(0, a));
        assert!([take(a), take(a), take(a), !take(a)] == [true; 4], "alone it leaves one");
        assert!(take(b) && !take(c) && !take(b), "all are taken");
        places.give_back(a);
        assert!(!take(a), "half");
        assert!(take(c));
        [a, a, b, c].into_iter().for_each(|tenant| places.give_back(tenant));
        assert_eq!((places.taken(), places.tenants().len()), (0, 0));
        assert!(!places.take(0, a));
    }
}
