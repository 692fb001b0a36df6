//! How to speak to the caller while its call runs.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::error::BoxError;

/// One step of progress (specification, Progress).
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How far; must grow from one notification to the next.
    pub progress: f64,
    /// Out of how much, if known.
    pub total: Option<f64>,
    /// A word for a person.
    pub message: Option<String>,
}

/// What a [`Peer`] sends its notifications through: an adapter has one per call.
pub trait Notify: Send + Sync {
    /// Hands one notification to the transport. Resolves when the transport has taken it, which bounds what is in flight.
    fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>>;
}

/// The caller's ear, for the length of one attempt. Cheap to clone; a handler's own tasks may hold it.
///
/// What a dead attempt says goes nowhere: an attempt's peer is closed when the next one begins and when the call ends.
/// Progress never runs backwards, over all attempts together. The first thing said *commits* the call: it is never
/// repeated after that.
#[derive(Clone)]
pub struct Peer {
    channel: Arc<Channel>,
    attempt: u32,
}

struct Channel {
    notify: Box<dyn Notify>,
    opened: Instant,
    /// The attempt that may speak; `SILENT` between attempts and once the call has ended.
    live: AtomicU32,
    committed: AtomicBool,
    /// Nanoseconds since `opened`, plus one; zero before any progress.
    last_progress: AtomicU64,
    /// The highest progress so far.
    highest: Mutex<Option<f64>>,
}

const SILENT: u32 = u32::MAX;

impl Peer {
    /// The peer of a call's first attempt.
    pub fn new(notify: impl Notify + 'static, opened: Instant) -> Self {
        Self {
            channel: Arc::new(Channel {
                notify: Box::new(notify),
                opened,
                live: AtomicU32::new(0),
                committed: AtomicBool::new(false),
                last_progress: AtomicU64::new(0),
                highest: Mutex::new(None),
            }),
            attempt: 0,
        }
    }

    /// Whether this attempt may still speak.
    pub fn is_open(&self) -> bool {
        self.channel.live.load(Ordering::Acquire) == self.attempt
    }

    /// Tells the caller how far the call has come. Counts as a sign of life and commits the call. Says nothing, and is no
    /// error, where the attempt is over or `progress` has not grown.
    ///
    /// # Errors
    ///
    /// The transport's, if it could not take the notification.
    pub async fn progress(&self, progress: Progress) -> Result<(), BoxError> {
        if !self.advance(progress.progress) {
            return Ok(());
        }
        self.channel.notify.progress(progress).await
    }

    /// Takes a step, if this attempt may speak and the step goes forward. Under the lock, so that no step falls between an
    /// attempt's end and the question whether the call is committed.
    fn advance(&self, progress: f64) -> bool {
        let mut highest = self.channel.highest.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = !progress.is_nan() && highest.is_none_or(|highest| progress > highest);
        if !grown || !self.is_open() {
            return false;
        }
        *highest = Some(progress);
        self.commit();
        let at = u64::try_from(self.channel.opened.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        self.channel.last_progress.store(at + 1, Ordering::Release);
        true
    }

    /// Marks the call committed: something of its outcome has reached the caller (partial content, say).
    pub fn commit(&self) {
        self.channel.committed.store(true, Ordering::Release);
    }

    /// Whether the caller has already seen something of the outcome.
    pub fn is_committed(&self) -> bool {
        self.channel.committed.load(Ordering::Acquire)
    }

    /// When the caller last heard of the call.
    pub fn last_progress(&self) -> Option<Instant> {
        let at = self.channel.last_progress.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.channel.opened + Duration::from_nanos(at))
    }

    /// The next attempt's peer; this one is closed.
    #[must_use]
    pub(crate) fn next_attempt(&self) -> Self {
        let attempt = self.attempt + 1;
        self.channel.live.store(attempt, Ordering::Release);
        Self { channel: self.channel.clone(), attempt }
    }

    /// Ends the attempt under way, or the call: nothing that is said by a peer of it is heard any more.
    pub(crate) fn silence(&self) {
        let _settled = self.channel.highest.lock().unwrap_or_else(PoisonError::into_inner);
        self.channel.live.store(SILENT, Ordering::Release);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("attempt", &self.attempt)
            .field("open", &self.is_open())
            .field("committed", &self.is_committed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<f64>>>);

    impl Notify for Heard {
        fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
            self.0.lock().unwrap().push(progress.progress);
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn step(progress: f64) -> Progress {
        Progress { progress, total: None, message: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_attempt_is_not_heard_and_progress_only_grows() {
        let heard = Heard::default();
        let first = Peer::new(heard.clone(), Instant::now());
        assert_eq!((first.is_committed(), first.last_progress()), (false, None));

        tokio::time::advance(Duration::from_secs(3)).await;
        first.progress(step(2.0)).await.unwrap();
        assert!(first.is_committed());
        assert_eq!(first.last_progress(), Some(Instant::now()));

        let second = first.next_attempt();
        first.progress(step(9.0)).await.unwrap();
        second.progress(step(1.0)).await.unwrap();
        second.progress(step(f64::NAN)).await.unwrap();
        second.progress(step(3.0)).await.unwrap();
        second.silence();
        second.progress(step(4.0)).await.unwrap();
        assert_eq!(*heard.0.lock().unwrap(), [2.0, 3.0]);
    }
}
