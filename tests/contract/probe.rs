//! The inner service of every check: it answers as told, and keeps account of how it is treated.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use buttress::{
    BoxError,
    call::{Request, Response},
    error::Transport,
};
use tower::Service;

use crate::stage::{Act, Answer, Book, Broken, Door, Outcome, Params};

/// The service.
#[derive(Debug)]
pub struct Probe {
    book: Arc<Mutex<Book>>,
    ready: bool,
}

impl Probe {
    /// A probe that nobody has found ready yet.
    pub fn new(book: Arc<Mutex<Book>>) -> Self {
        Self { book, ready: false }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clone has to be made ready on its own, as tower says.
impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { book: self.book.clone(), ready: false }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.ready {
            self.book().reserved -= 1;
        }
    }
}

impl Service<Request<Params>> for Probe {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Running;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        match book.door {
            Door::Broken => return Poll::Ready(Err(Broken.into())),
            Door::Shut if !self.ready => {
                book.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Door::Shut | Door::Open => {}
        }
        if !std::mem::replace(&mut self.ready, true) {
            book.reserved += 1;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Params>) -> Running {
        let ready = std::mem::take(&mut self.ready);
        let mut book = self.book();
        if ready {
            book.reserved -= 1;
        } else {
            // Written down and not thrown: a layer that catches panics must be found out too.
            book.offences.push("called without having been found ready");
        }
        book.calls += 1;
        book.running += 1;
        let act = book.acts.pop_front().unwrap_or(Act::Answer);
        drop(book);
        Running { book: self.book.clone(), act: Some(act), _request: request }
    }
}

/// A call that the probe works on. Dropping it ends the work.
#[derive(Debug)]
pub struct Running {
    book: Arc<Mutex<Book>>,
    /// `None`: it has answered.
    act: Option<Act>,
    _request: Request<Params>,
}

impl Future for Running {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let mut book = this.book.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match this.act {
            Some(Act::Pend(times @ 1..)) => {
                this.act = Some(Act::Pend(times - 1));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Act::Hang) if !book.released => {
                book.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Act::Answer | Act::Pend(0) | Act::Hang) => Ok(Response::new("answered")),
            Some(Act::Fail) => Err(Transport::unknown("reset").into()),
            Some(Act::Panic) => {
                drop(book);
                // Without a word on stderr.
                std::panic::resume_unwind(Box::new("as told"))
            }
            None => {
                book.offences.push("polled after it had answered");
                return Poll::Pending;
            }
        };
        drop(book);
        this.act = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
    }
}
