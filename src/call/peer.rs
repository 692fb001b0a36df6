//! How to speak to the caller while its call runs.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{task::unconstrained, time::Instant};

use crate::{
    error::BoxError,
    sync::{
        AtomicWaker, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// One step of progress (specification, Progress).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How far; must grow from one notification to the next.
    pub progress: f64,
    /// Out of how much, if known.
    pub total: Option<f64>,
    /// A word for a person.
    pub message: Option<String>,
}

impl Progress {
    /// This far, out of nobody knows how much.
    pub const fn new(progress: f64) -> Self {
        Self { progress, total: None, message: None }
    }

    /// The same, out of so much.
    #[must_use]
    pub const fn total(mut self, total: f64) -> Self {
        self.total = Some(total);
        self
    }

    /// The same, with a word for a person.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// What a [`Peer`] sends its notifications through: an adapter has one per call.
///
/// It is asked for one at a time, and polled under the lock of the peer: it must not turn to the peer itself.
pub trait Notify: Send + Sync {
    /// Hands one notification to the transport. Resolves when the transport has taken it, which bounds what is in flight.
    /// Dropped before that, it should not be sent: the attempt is over.
    fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>>;
}

/// The caller's ear, for the length of one attempt. Cheap to clone; a handler's own tasks may hold it.
///
/// What a dead attempt says goes nowhere: an attempt's peer is closed when the next one begins and when the call ends. Progress
/// never runs backwards, over all attempts together, and none is handed on once the attempt is over. The first thing said
/// *commits* the call: it is never repeated after that.
#[derive(Clone)]
pub struct Peer {
    channel: Arc<Channel>,
    attempt: u32,
}

struct Channel {
    /// `None`: the caller asked to hear nothing.
    notify: Option<Box<dyn Notify>>,
    /// The attempt that may speak; `SILENT` between attempts and once the call has ended.
    live: AtomicU32,
    committed: AtomicBool,
    signs: Mutex<Signs>,
    /// Held by the step that is on its way to the transport.
    telling: tokio::sync::Mutex<()>,
    /// Who waits for the end of what is asked: the call's timer.
    answered: AtomicWaker,
}

/// The signs of life of one call.
#[derive(Default)]
struct Signs {
    /// The highest progress so far.
    highest: Option<f64>,
    /// When the caller last heard of the call, and how long the clocks had stood still by then.
    last_progress: Option<(Instant, Duration)>,
    /// How many questions to a person are open.
    asking: u32,
    /// Since when there has been one.
    since: Option<Instant>,
    /// How long the clocks have stood still, up to the last answer.
    stood_still: Duration,
}

const SILENT: u32 = u32::MAX;

impl Peer {
    /// The peer of a call's first attempt, for a caller that asked to hear of its progress.
    pub fn new(notify: impl Notify + 'static) -> Self {
        Self::with(Some(Box::new(notify)))
    }

    /// The peer of a caller that asked to hear nothing: the call's progress still counts as a sign of life for nobody, but its
    /// clocks stand still while a person is [asked](Self::ask).
    pub fn unheard() -> Self {
        Self::with(None)
    }

    fn with(notify: Option<Box<dyn Notify>>) -> Self {
        Self {
            channel: Arc::new(Channel {
                notify,
                live: AtomicU32::new(0),
                committed: AtomicBool::new(false),
                signs: Mutex::default(),
                telling: tokio::sync::Mutex::default(),
                answered: AtomicWaker::new(),
            }),
            attempt: 0,
        }
    }

    /// Whether this attempt may still speak.
    pub fn is_open(&self) -> bool {
        self.channel.live.load(Ordering::Acquire) == self.attempt
    }

    /// Tells the caller how far the call has come. Counts as a sign of life and commits the call. Says nothing, and is no
    /// error, where the attempt is over or `progress` has not grown. Steps that are told at once wait for each other, and leave
    /// in the order in which they were taken.
    ///
    /// # Errors
    ///
    /// The transport's, if it could not take the notification.
    pub async fn progress(&self, progress: Progress) -> Result<(), BoxError> {
        let Some(notify) = &self.channel.notify else { return Ok(()) };
        // Adapters that have no time to wait ask once: where nobody tells anything, the runtime must not put them off.
        let _turn = unconstrained(self.channel.telling.lock()).await;
        let (mut step, mut telling) = (Some(progress), None);
        poll_fn(|cx| {
            // Under the lock, so that no step falls between an attempt's end and the question whether the call is committed, and
            // none leaves after that end.
            let mut signs = self.signs();
            if !self.is_open() {
                return Poll::Ready(Ok(()));
            }
            if let Some(step) = step.take_if(|step| signs.advance(step.progress)) {
                self.channel.commit();
                telling = Some(notify.progress(step));
            }
            telling.as_mut().map_or(Poll::Ready(Ok(())), |telling| telling.as_mut().poll(cx))
        })
        .await
    }

    /// Says that a person is being asked (elicitation), or the caller's own model (sampling): until the guard is dropped, all
    /// clocks of the call but the hard one stand still. Commits the call: to repeat it would be to ask again.
    ///
    /// The guard of an attempt that is over stops nothing and commits nothing.
    pub fn ask(&self) -> Asking {
        let mut signs = self.signs();
        if !self.is_open() {
            return Asking { peer: None };
        }
        self.channel.commit();
        signs.asking += 1;
        signs.since.get_or_insert_with(Instant::now);
        Asking { peer: Some(self.clone()) }
    }

    /// Marks the call committed: something of its outcome has reached the caller (partial content, say). Nothing of an attempt
    /// that is over does.
    pub fn commit(&self) {
        // As with a step, so that no commit falls between an attempt's end and the question whether the call is committed.
        let _settled = self.signs();
        if self.is_open() {
            self.channel.commit();
        }
    }

    /// Whether the caller has already seen something of the outcome.
    pub fn is_committed(&self) -> bool {
        self.channel.committed.load(Ordering::Acquire)
    }

    /// When the caller last heard of the call.
    pub fn last_progress(&self) -> Option<Instant> {
        self.signs().last_progress.map(|(at, _)| at)
    }

    /// Whether a person is being asked right now. If so, `waker` is woken when the last answer is there.
    pub(crate) fn is_asking(&self, waker: &Waker) -> bool {
        // First: an answer between the two would wake nobody.
        self.channel.answered.register(waker);
        self.signs().asking > 0
    }

    /// How long the clocks of the call have stood still, and the last progress as if they had all run on since.
    pub(crate) fn stood_still(&self) -> (Duration, Option<Instant>) {
        let signs = self.signs();
        let total = signs.stood_still(Instant::now());
        let last = signs.last_progress.map(|(at, before)| at + total.saturating_sub(before));
        (total, last)
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.channel.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next attempt's peer; this one is closed.
    #[must_use]
    pub(crate) fn next_attempt(&self) -> Self {
        let attempt = self.attempt + 1;
        let _settled = self.signs();
        self.channel.live.store(attempt, Ordering::Release);
        Self { channel: self.channel.clone(), attempt }
    }

    /// Ends the attempt under way, or the call: nothing that is said by a peer of it is heard any more.
    pub(crate) fn silence(&self) {
        let _settled = self.signs();
        self.channel.live.store(SILENT, Ordering::Release);
    }
}

impl Channel {
    /// Under the lock of the signs, by an attempt that may speak.
    fn commit(&self) {
        self.committed.store(true, Ordering::Release);
    }
}

impl Signs {
    /// Takes a step, if it goes forward.
    fn advance(&mut self, progress: f64) -> bool {
        if progress.is_nan() || self.highest.is_some_and(|highest| progress <= highest) {
            return false;
        }
        self.highest = Some(progress);
        let now = Instant::now();
        self.last_progress = Some((now, self.stood_still(now)));
        true
    }

    fn stood_still(&self, now: Instant) -> Duration {
        self.stood_still + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// A question to a person that is open. Dropping it closes it.
#[derive(Debug)]
#[must_use = "dropped, the clocks run on"]
pub struct Asking {
    /// `None`: the attempt was over.
    peer: Option<Peer>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(peer) = &self.peer else { return };
        let mut signs = peer.signs();
        signs.asking -= 1;
        if signs.asking == 0 {
            signs.stood_still = signs.stood_still(Instant::now());
            signs.since = None;
            drop(signs);
            peer.channel.answered.wake();
        }
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
