//! A backend: a [`Station`] on tokio's clock.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Request, Response},
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tower::{Service, service_fn};

use super::{Discipline, Machine, station::Station};

/// What a call asks of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// How long it takes a server that it has for itself.
    pub size: Duration,
    /// A pure delay before it, which uses no capacity.
    pub delay: Duration,
    /// Whether the backend goes on when the call is dropped, as one does that hears nothing of a cancellation.
    pub zombie: bool,
}

impl Work {
    /// Work of this size, that ends when the call is dropped.
    pub const fn of(size: Duration) -> Self {
        Self { size, delay: Duration::ZERO, zombie: false }
    }
}

/// A backend that serves calls, to be cloned at will. Belongs to the runtime that it was made in.
#[derive(Debug, Clone)]
pub struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    clockwork: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.clockwork.abort();
    }
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Debug)]
struct State {
    station: Station,
    delay: Duration,
    /// When the clockwork will look again.
    looks_at: f64,
}

impl Backend {
    pub fn new(machine: Machine, discipline: Discipline) -> Self {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            state: Mutex::new(State {
                station: Station::new(machine, discipline),
                delay: Duration::ZERO,
                looks_at: f64::INFINITY,
            }),
            sooner: Notify::new(),
        });
        let clockwork = tokio::spawn(tick(shared.clone())).abort_handle();
        Self(Arc::new(Inner { shared, clockwork }))
    }

    /// Has this work done. Nothing happens before the first poll.
    pub fn work(&self, work: Work) -> impl Future<Output = ()> + Send + 'static + use<> {
        let backend = self.clone();
        async move {
            let shared = &backend.0.shared;
            let delay = work.delay + shared.lock().delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let number = shared.now(|station| station.join(work.size.as_secs_f64()));
            let mut here = Here { shared: shared.clone(), number: Some(number), zombie: work.zombie };
            poll_fn(|cx| match shared.lock().station.is_done(number, cx.waker()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            })
            .await;
            here.number = None;
        }
    }

    /// The backend as a handler: it answers when the work is done that `work` sees in a call.
    pub fn handler<P: Send + 'static>(
        &self,
        work: impl Fn(&P) -> Work + Clone + Send + Sync + 'static,
    ) -> impl Service<Request<P>, Response = Response<()>, Error = BoxError, Future: Send + 'static> + Clone + Send + Sync + 'static
    {
        let backend = self.clone();
        service_fn(move |request: Request<P>| {
            let working = backend.work(work(&request.params));
            async move {
                working.await;
                Ok(Response::new(()))
            }
        })
    }

    /// Is another machine from now on.
    pub fn change(&self, machine: Machine) {
        self.0.shared.now(|station| station.change(machine));
    }

    /// From now on each call waits this long before its work begins, which uses no capacity: a dependency is slow.
    pub fn delay(&self, delay: Duration) {
        self.0.shared.lock().delay = delay;
    }

    /// Calls that are here now, at work or waiting.
    pub fn at_work(&self) -> usize {
        self.0.shared.now(|station| station.here())
    }

    /// The work done so far for calls that were seen to their end, in seconds of a server.
    pub fn done(&self) -> f64 {
        self.0.shared.now(|station| station.done())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the station, at this time.
    fn now<T>(&self, f: impl FnOnce(&mut Station) -> T) -> T {
        let mut state = self.lock();
        state.station.come_to(self.began.elapsed().as_secs_f64());
        let done = f(&mut state.station);
        if state.station.next_end().is_some_and(|end| end < state.looks_at) {
            self.sooner.notify_one();
        }
        done
    }
}

/// Looks at the station whenever a call may be done.
async fn tick(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut state = shared.lock();
            state.station.come_to(shared.began.elapsed().as_secs_f64());
            let next = state.station.next_end();
            state.looks_at = next.unwrap_or(f64::INFINITY);
            next
        };
        let sooner = shared.sooner.notified();
        match next.and_then(|next| shared.began.checked_add(Duration::try_from_secs_f64(next).ok()?)) {
            Some(next) => tokio::select! { () = sleep_until(next) => {} () = sooner => {} },
            None => sooner.await,
        }
    }
}

/// A call that has not been seen to its end. Dropped, it leaves, or goes on as a zombie.
struct Here {
    shared: Arc<Shared>,
    number: Option<u64>,
    zombie: bool,
}

impl Drop for Here {
    fn drop(&mut self) {
        match self.number {
            Some(number) if self.zombie => self.shared.now(|station| station.forget(number)),
            Some(number) => self.shared.now(|station| station.leave(number)),
            None => {}
        }
    }
}
