//! What the probes of one check are told to do, and the account that they keep.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
};

use crate::probe::Probe;

/// Counted, so that a layer which keeps a copy of a request is found out.
pub type Params = Arc<()>;
/// What the probe answers.
pub type Answer = &'static str;
/// What becomes of a call.
pub type Outcome = Result<Response<Answer>, BoxError>;

/// What the probe does with one call.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Answers at once.
    Answer,
    /// Is found pending this often, and then answers.
    Pend(u32),
    /// Hangs until [`Stage::release`].
    Hang,
    /// Loses the call, so that nobody knows what became of it.
    Fail,
    /// As a handler may.
    Panic,
}

/// What the probe fails to become ready with.
#[derive(Debug)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// Whether probes become ready.
#[derive(Debug, Default)]
pub enum Door {
    #[default]
    Open,
    Shut,
    Broken,
}

/// The orders and the account.
#[derive(Debug, Default)]
pub struct Book {
    /// What to do with the next calls.
    pub acts: VecDeque<Act>,
    /// Whether probes become ready.
    pub door: Door,
    /// Whether calls that hang may end.
    pub released: bool,
    /// Who waits for the door or for the release.
    pub waiting: Vec<Waker>,
    /// Calls that have reached a probe.
    pub calls: usize,
    /// Calls that a probe works on.
    pub running: usize,
    /// Probes that were found ready and have not been called since.
    pub reserved: usize,
    /// How the contract with a probe was broken.
    pub offences: Vec<&'static str>,
}

/// One target, and the account that all probes on it keep together.
#[derive(Debug)]
pub struct Stage {
    target: Arc<Target>,
    params: Params,
    book: Arc<Mutex<Book>>,
}

impl Stage {
    /// A target that no layer has met. It only reads, so that a retry repeats whatever fails, and calls may be shared.
    pub fn new() -> Self {
        let reads = TargetPolicy::default().read_only(true);
        let target = Catalogue::new("contract").tool("probe", reads).resolve(&Method::ToolsCall, Some("probe"), None);
        Self { target, params: Params::default(), book: Arc::default() }
    }

    /// A probe that nobody has found ready yet.
    pub fn probe(&self) -> Probe {
        Probe::new(self.book.clone())
    }

    /// A call that has a minute: whoever waits has a timer to arm.
    pub fn request(&self) -> Request<Params> {
        let mut request = Request::new(self.target.clone(), self.params.clone());
        request.head.deadline.hard = Some(request.head.arrived + Duration::from_secs(60));
        request
    }

    /// What to do with the next calls. Those after them are answered at once.
    pub fn script<const N: usize>(&self, acts: [Act; N]) {
        let mut book = self.book();
        (book.acts, book.released) = (acts.into(), false);
    }

    /// What to do with one more call.
    pub fn then(&self, act: Act) {
        self.book().acts.push_back(act);
    }

    /// From now on no probe becomes ready; one that has become ready stays so.
    pub fn shut(&self) {
        self.book().door = Door::Shut;
    }

    /// Lets probes become ready again that were only shut.
    pub fn open(&self) {
        self.change(|book| {
            if matches!(book.door, Door::Shut) {
                book.door = Door::Open;
            }
        });
    }

    /// From now on every probe fails to become ready, for good.
    pub fn break_down(&self) {
        self.change(|book| book.door = Door::Broken);
    }

    /// Answers the calls that hang.
    pub fn release(&self) {
        self.change(|book| book.released = true);
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        let mut book = self.book();
        change(&mut book);
        let waiting = std::mem::take(&mut book.waiting);
        drop(book);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many calls have reached a probe.
    pub fn calls(&self) -> usize {
        self.book().calls
    }

    /// How many probes are held ready for calls that have not come.
    pub fn reserved(&self) -> usize {
        self.book().reserved
    }

    /// How many calls a probe is working on.
    pub fn running(&self) -> usize {
        self.book().running
    }

    /// Copies of requests that somebody still has.
    pub fn copies(&self) -> usize {
        Arc::strong_count(&self.params) - 1
    }

    /// How the contract with a probe was broken.
    pub fn offences(&self) -> Vec<&'static str> {
        self.book().offences.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
