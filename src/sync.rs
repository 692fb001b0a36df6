//! What threads meet at, in one place: where a protocol between threads is to be tested in all its interleavings, the test has
//! loom's in stead of these (`tests/loom`).

pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, atomic};

pub(crate) use futures_util::task::AtomicWaker;
