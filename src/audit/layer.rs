use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::{Counter, Gauge};
use tokio::time::Instant;
use tower::Layer;

use super::{
    Arguments, Audit, HashKey, Sink,
    arguments::Said,
    entry::{Entry, Waiting},
    handle::AuditHandle,
    outcome::Outcome,
    queue::{Lost, Queue},
    redact::Deny,
    writer,
};
use crate::{
    call::{CallParams, Method, Slot, Target},
    logs::Spell,
    metrics::{AUDIT_BACKLOG, AUDIT_DROPPED, AUDIT_EVENTS, upstream, upstream_label},
};

/// How many records may be on their way to the sink unless told otherwise.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
/// How many bytes of arguments are written unless told otherwise.
const ARGUMENT_BYTES: usize = 1024;

/// What becomes of calls whose record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// They are made; the record is dropped, and counted.
    #[default]
    Drop,
    /// They are refused before they are made, while the queue has no place for one more record or the last write
    /// failed. A place is kept for each call that is let in, so at most as many run at once as the queue has places.
    /// The records of the refusals are tried, and when one can be written, calls are let in again.
    FailClosed,
}

/// Puts each call on record. See the [module](super).
#[derive(Debug, Clone)]
pub struct AuditLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) queue: Intake,
    slot: Slot<Handles>,
    /// Whether it has been told that the queue is full.
    full: Arc<Spell>,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) arguments: Arguments,
    pub(super) pseudonyms: Option<HashKey>,
    argument_bytes: usize,
    deny: Deny,
    /// Whether calls are refused whose record cannot be written.
    fails_closed: Arc<AtomicBool>,
    all_methods: bool,
}

impl AuditLayer {
    /// Records tool calls in `sink`, by a thread of its own; with room for 8,192 records on their way to it.
    ///
    /// # Errors
    ///
    /// That of starting the thread.
    pub fn new(sink: impl Sink) -> io::Result<Self> {
        Self::with_capacity(sink, CAPACITY)
    }

    /// The same with room for `capacity` records, of some 5 KiB at the worst with the default settings.
    ///
    /// # Errors
    ///
    /// That of starting the thread.
    pub fn with_capacity(sink: impl Sink, capacity: NonZeroUsize) -> io::Result<Self> {
        let (queue, slot) = (Arc::new(Queue::new(capacity.get())), Slot::new());
        writer::spawn(queue.clone(), sink, slot)?;
        let settings = Settings {
            arguments: Arguments::default(),
            pseudonyms: None,
            argument_bytes: ARGUMENT_BYTES,
            deny: Deny::default(),
            fails_closed: Arc::default(),
            all_methods: false,
        };
        Ok(Self { shared: Arc::new(Shared { settings, queue: Intake(Arc::new(Closing(queue))), slot, full: Arc::default() }) })
    }

    /// What is written of a call's arguments. Default: the names of the top members, and their sizes.
    #[must_use]
    pub fn arguments(self, arguments: Arguments) -> Self {
        self.with(|settings| settings.arguments = arguments)
    }

    /// How many bytes of them are written where their values are. Default: 1,024.
    #[must_use]
    pub fn argument_bytes(self, cap: usize) -> Self {
        self.with(|settings| settings.argument_bytes = cap)
    }

    /// Never writes the value of a member whose name contains `fragment`, at whatever depth; neither case nor signs
    /// count. In addition to those that are never written anyway (`password`, `token`, `secret`, `apikey`, ...).
    #[must_use]
    pub fn deny(self, fragment: &str) -> Self {
        self.with(|settings| settings.deny.add(fragment))
    }

    /// Writes keyed hashes in place of the names of tenant, principal, client and agent.
    #[must_use]
    pub fn pseudonyms(self, key: HashKey) -> Self {
        self.with(|settings| settings.pseudonyms = Some(key))
    }

    /// What becomes of calls whose record cannot be written. Default: they are made.
    #[must_use]
    pub fn on_full(self, on_full: OnFull) -> Self {
        // Of its own: a clone of this layer may go by another.
        self.with(|settings| settings.fails_closed = Arc::new(AtomicBool::new(on_full == OnFull::FailClosed)))
    }

    /// Records calls of all methods. Default: `tools/call`.
    #[must_use]
    pub fn all_methods(self) -> Self {
        self.with(|settings| settings.all_methods = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut Arc::make_mut(&mut self.shared).settings);
        self
    }

    /// Makes at zero what counts the records of this upstream that are lost.
    pub(crate) fn prepare_for(upstream: &str) {
        let upstream = upstream_label(upstream);
        Lost::ALL.iter().for_each(|why| drop(AUDIT_DROPPED.counter([upstream.clone(), why.as_str().into()])));
    }

    /// What reopens the sink, waits for it, and says what becomes of calls that it has no room for. Take it when the layer is set
    /// up.
    pub fn handle(&self) -> AuditHandle {
        AuditHandle::new(self.shared.queue.0.0.clone(), self.shared.settings.fails_closed.clone())
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Audit::new(inner, self.shared.clone())
    }
}

impl Settings {
    pub(super) fn covers(&self, method: &Method) -> bool {
        self.all_methods || *method == Method::ToolsCall
    }

    pub(super) fn fails_closed(&self) -> bool {
        self.fails_closed.load(Ordering::Relaxed)
    }

    /// What is written of these parameters' arguments.
    pub(super) fn said<P: CallParams>(&self, params: &P, listed: bool) -> Said {
        self.arguments.said(params.arguments_text().as_deref(), listed, &self.deny, self.argument_bytes)
    }
}

impl Shared {
    /// Hands a record over to the writer, and counts it.
    pub(super) fn record(&self, mut entry: Box<Entry>, reserved: bool) {
        let handles = Handles::of(&entry.target, self.slot);
        handles.events[entry.end.outcome as usize].increment(1);
        entry.waiting = Some(Waiting::new(&handles.backlog));
        match self.queue.push(entry, reserved) {
            Ok(()) => self.tell_of_room(),
            Err((entry, why)) => {
                lost(&entry, self.slot, why);
                let capacity = self.queue.capacity();
                if why == Lost::QueueFull && self.full.begins(Instant::now()) {
                    tracing::warn!(capacity, "audit records are lost: the queue is full");
                }
            }
        }
    }

    /// Half of the queue, so that one which is about full is not told of as empty and full in turns.
    fn tell_of_room(&self) {
        let capacity = self.queue.capacity();
        if self.full.is_on() && self.queue.taken() <= capacity / 2 && self.full.ends(Instant::now()) {
            tracing::info!(capacity, "audit records are kept again");
        }
    }

    /// Makes the handles of a target's upstream.
    pub(super) fn meet(&self, target: &Target) {
        Handles::of(target, self.slot);
    }
}

/// Counts a record that is not in the trail.
pub(super) fn lost(entry: &Entry, slot: Slot<Handles>, why: Lost) {
    Handles::of(&entry.target, slot).dropped[why as usize].increment(1);
}

/// The end of the queue where records are put in. When the last is dropped, the writer goes.
#[derive(Debug, Clone)]
pub(super) struct Intake(Arc<Closing>);

#[derive(Debug)]
struct Closing(Arc<Queue<Box<Entry>>>);

impl std::ops::Deref for Intake {
    type Target = Queue<Box<Entry>>;

    fn deref(&self) -> &Self::Target {
        &self.0.0
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The handles of one upstream.
pub(super) struct Handles {
    /// By outcome.
    events: [Counter; Outcome::ALL.len()],
    /// By reason.
    dropped: [Counter; Lost::ALL.len()],
    backlog: Gauge,
}

impl Handles {
    fn of(target: &Target, slot: Slot<Self>) -> &Self {
        target.upstream_cell(&slot, || Self {
            events: Outcome::ALL.map(|outcome| AUDIT_EVENTS.counter([upstream(target), outcome.as_str().into()])),
            dropped: Lost::ALL.map(|why| AUDIT_DROPPED.counter([upstream(target), why.as_str().into()])),
            backlog: AUDIT_BACKLOG.gauge([upstream(target)]),
        })
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}
