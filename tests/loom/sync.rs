//! What threads meet at, as loom has it, and what loom does not have.

pub use std::sync::{PoisonError, TryLockError};
use std::{
    ops::{Deref, DerefMut},
    task::Waker,
};

pub use loom::sync::atomic;
use loom::{
    future,
    sync::{
        self, LockResult, TryLockResult,
        atomic::{AtomicBool, Ordering},
    },
};

/// loom's mutex, but for one thing: who only tries may be late to hear that it has been given back, as the memory model has it.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    held: AtomicBool,
    inner: sync::Mutex<T>,
}

#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    held: &'a AtomicBool,
    inner: sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), inner: sync::Mutex::new(value) }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(self.held(self.inner.lock().unwrap()))
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.held.load(Ordering::Relaxed) {
            return Err(TryLockError::WouldBlock);
        }
        match self.inner.try_lock() {
            Ok(inner) => Ok(self.held(inner)),
            Err(_) => Err(TryLockError::WouldBlock),
        }
    }

    fn held<'a>(&'a self, inner: sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.held.store(true, Ordering::Relaxed);
        MutexGuard { held: &self.held, inner }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.held.store(false, Ordering::Release);
    }
}

/// loom's, with the signature that others have.
#[derive(Debug)]
pub struct AtomicWaker(future::AtomicWaker);

impl AtomicWaker {
    pub fn new() -> Self {
        Self(future::AtomicWaker::new())
    }

    pub fn register(&self, waker: &Waker) {
        self.0.register_by_ref(waker);
    }

    pub fn wake(&self) {
        self.0.wake();
    }
}

/// The standard library's, with loom looking on.
#[derive(Debug)]
pub struct OnceLock<T> {
    is_set: AtomicBool,
    turn: sync::Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { is_set: AtomicBool::new(false), turn: sync::Mutex::new(()), value: std::sync::OnceLock::new() }
    }

    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _turn = self.turn.lock().unwrap();
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _turn = self.turn.lock().unwrap();
        let value = self.value.get_or_init(init);
        self.is_set.store(true, Ordering::Release);
        value
    }
}
