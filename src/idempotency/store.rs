//! What a store of keys has to do.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::Kept;
use crate::{
    call::{CallParams, Digest, Head, Request},
    error::BoxError,
};

/// Keeps what is known of idempotency keys.
///
/// A store must never let two calls of one key run at once, and must never forget a key on its own account before its time: each
/// would be a second effect. Both methods answer by a [`Reply`], which a store in memory has at once, and one that has to ask
/// somebody later.
///
/// What a store keeps is this process's own: an answer is kept as the value that it is, and digests mean nothing elsewhere. So no
/// other process can give the answer again, or tell whether a key was reused. A store that several share can prevent the second
/// effect all the same: it names keys by what [`Keyed::head`] says (tenant, principal, upstream, method) and [`Keyed::key`], and
/// says [`Claim::Unknown`] of a call that another process has made.
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes the key for a call, or says what is known of it.
    fn claim(&self, call: &Keyed<'_>) -> Reply<Claim>;
}

/// A call under a key.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Keyed<'a> {
    /// Who calls what.
    pub head: &'a Head,
    /// The caller's name for the call.
    pub key: &'a str,
    /// What is asked: the name and the arguments. Two calls under one key that differ in it are a [conflict](Claim::Conflict).
    /// Calls whose arguments cannot be read are compared by name alone, and differ from all that can be.
    pub asked: Digest,
    /// Whether the call may be made again where its outcome is unknown.
    pub repeatable: bool,
    /// The time.
    pub now: Instant,
}

impl Keyed<'_> {
    /// Tells keys apart: by tenant, principal (else access token), upstream, method, and key. Not by what is called: neither the
    /// target's entry, which changes when its name is listed, nor the name, so that a key that is used for two is a conflict.
    pub fn scope(&self) -> Digest {
        let (caller, target) = (&self.head.caller, &self.head.target);
        let who = (caller.tenant_digest(), caller.audience());
        Digest::of_parts(&(who, target.upstream(), target.method().as_str(), self.key))
    }
}

/// What a request asks.
pub(super) fn asked<P: CallParams>(request: &Request<P>) -> Digest {
    let name = request.params.name();
    let name = name.as_deref().or_else(|| request.head.target.name());
    Digest::of_parts(&(name, request.params.arguments()))
}

/// What a store says to a call.
#[derive(Debug)]
pub enum Claim {
    /// The key is the call's: it is to be made, and the lease ended.
    Run(Box<dyn Lease>),
    /// Another call has it. `None`: and as many wait for it as may.
    Running(Option<Wait>),
    /// The call has been made, and this was the answer.
    Done(Kept),
    /// The call has been made, and nobody knows what became of it.
    Unknown,
    /// The key is that of a call that asked something else.
    Conflict,
}

/// Resolves when it is worth claiming the key again.
pub struct Wait(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Wait {
    /// Until this future resolves.
    pub fn until(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}

/// A key, held while its call runs. Dropped without an end, the outcome is [unknown](End::Unknown): so must be one whose process
/// has died.
pub trait Lease: fmt::Debug + Send {
    /// Says what became of the call.
    fn end(self: Box<Self>, end: End, now: Instant) -> Reply<()>;
}

/// What became of a call.
#[derive(Debug, Clone)]
pub enum End {
    /// Nothing has happened: the key is as it was before.
    Nothing,
    /// The server asked for more; the next call under the key goes on.
    Paused,
    /// It was answered.
    Done(Kept),
    /// Nobody knows.
    Unknown,
}

/// What a store answers, now or later.
pub struct Reply<T>(State<T>);

enum State<T> {
    /// `None`: it has been taken.
    Now(Option<Result<T, BoxError>>),
    Later(Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>),
}

impl<T> Reply<T> {
    /// An answer at once.
    pub const fn now(answer: Result<T, BoxError>) -> Self {
        Self(State::Now(Some(answer)))
    }

    /// An answer that takes its time. It is waited for until the call's deadline.
    pub fn later(answer: impl Future<Output = Result<T, BoxError>> + Send + 'static) -> Self {
        Self(State::Later(Box::pin(answer)))
    }
}

impl<T: Unpin> Future for Reply<T> {
    type Output = Result<T, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Now(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            State::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&if matches!(self.0, State::Now(_)) { "now" } else { "later" }).finish()
    }
}
