//! The way of records from calls to the thread that writes them.
//!
//! Plain and bounded: calls put in and never wait; one writer takes out, in the order of arrival, and says when what it took is
//! settled. A place counts as taken until then, so whatever the writer holds is within the bound too.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Why a record did not get in, or did not get out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    QueueFull,
    WriteFailed,
    WriterGone,
}

impl Lost {
    pub(super) const ALL: [Self; 3] = [Self::QueueFull, Self::WriteFailed, Self::WriterGone];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::WriteFailed => "write_failed",
            Self::WriterGone => "writer_gone",
        }
    }
}

/// A record with its number: without gaps over all records, also those that were lost.
pub(super) type Numbered<T> = (u64, T);

#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Rung for a writer that sleeps.
    bell: Condvar,
    /// How much has been settled of all that was accepted.
    settled: watch::Sender<u64>,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<Numbered<T>>,
    /// Taken by the writer, and not settled.
    writing: usize,
    /// Places of calls that have been let in and have not ended.
    reserved: usize,
    /// The number of the next record.
    next: u64,
    /// Records, and orders to reopen, that were ever accepted.
    accepted: u64,
    reopen: bool,
    /// Whether the last write failed.
    failing: bool,
    /// Whether the writer sleeps.
    asleep: bool,
    /// Whether nobody is left who could put something in.
    closed: bool,
    /// Whether the writer is gone.
    ended: bool,
}

impl<T> State<T> {
    fn has_room(&self, capacity: usize) -> bool {
        self.waiting.len() + self.writing + self.reserved < capacity
    }
}

/// What the writer is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// Reopen first.
    pub(super) reopen: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            // At once, so that no call pays for its growth.
            waiting: VecDeque::with_capacity(capacity),
            writing: 0,
            reserved: 0,
            next: 0,
            accepted: 0,
            reopen: false,
            failing: false,
            asleep: false,
            closed: false,
            ended: false,
        };
        Self { state: Mutex::new(state), bell: Condvar::new(), settled: watch::Sender::new(0), capacity }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps a place for the record of a call that is about to be made. `false`: there is none, or no record would get out.
    pub(super) fn reserve(&self) -> bool {
        let mut state = self.lock();
        let granted = !state.ended && !state.failing && state.has_room(self.capacity);
        state.reserved += usize::from(granted);
        granted
    }

    /// Puts a record in; `reserved`: into the place that was kept for it.
    pub(super) fn push(&self, record: T, reserved: bool) -> Result<(), (T, Lost)> {
        let mut state = self.lock();
        state.reserved -= usize::from(reserved);
        let number = state.next;
        state.next += 1;
        if state.ended {
            return Err((record, Lost::WriterGone));
        }
        if !state.has_room(self.capacity) {
            return Err((record, Lost::QueueFull));
        }
        state.waiting.push_back((number, record));
        state.accepted += 1;
        self.wake(state);
        Ok(())
    }

    /// Has the writer reopen what it writes to, once it has written what came before.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        if !state.ended && !state.reopen {
            state.reopen = true;
            state.accepted += 1;
            self.wake(state);
        }
    }

    /// Nobody is left who could put something in: the writer may go when it is done.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(state);
    }

    /// Rings only where somebody sleeps: a bell is a system call.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.bell.notify_one();
        }
    }

    /// For the writer: waits for something to do, and takes at most `most` records. `None`: there will be nothing more.
    pub(super) fn take(&self, batch: &mut Vec<Numbered<T>>, most: usize) -> Option<Orders> {
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() || state.reopen {
                let taken = state.waiting.len().min(most);
                batch.extend(state.waiting.drain(..taken));
                state.writing = taken;
                return Some(Orders { reopen: std::mem::take(&mut state.reopen) });
            }
            if state.closed {
                return None;
            }
            state.asleep = true;
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the writer: what it took last is settled, and whether writing works is known. `None`: nothing was written.
    pub(super) fn settle(&self, orders: &Orders, works: Option<bool>) {
        let mut state = self.lock();
        let done = std::mem::take(&mut state.writing) as u64 + u64::from(orders.reopen);
        state.failing = works.map_or(state.failing, |works| !works);
        drop(state);
        self.settled.send_modify(|settled| *settled += done);
    }

    /// For the writer: it goes, and nothing gets in any more. What is left comes back.
    pub(super) fn end(&self) -> VecDeque<Numbered<T>> {
        let mut state = self.lock();
        state.ended = true;
        state.writing = 0;
        std::mem::take(&mut state.waiting)
    }

    /// For the writer, at the very end: all that was ever accepted is accounted for.
    pub(super) fn settle_all(&self) {
        let accepted = self.lock().accepted;
        self.settled.send_modify(|settled| *settled = accepted);
    }

    /// Waits until all that has been accepted so far is settled.
    pub(super) async fn drained(&self) {
        let accepted = self.lock().accepted;
        let mut settled = self.settled.subscribe();
        // The sender lives as long as `self`: this cannot fail.
        let _settled = settled.wait_for(|settled| *settled >= accepted).await;
    }

    /// How many places are taken: by records on their way, and by calls that have one kept.
    pub(super) fn taken(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.writing + state.reserved
    }

    pub(super) fn is_failing(&self) -> bool {
        let state = self.lock();
        state.failing || state.ended
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
