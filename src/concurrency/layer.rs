use std::{num::NonZeroU32, sync::Arc};

use tokio::time::Instant;
use tower::Layer;

use super::{AdaptiveLimit, Bounds, Concurrency, ConcurrencyHandle, adaptive::Adaptive, limit::Limit, shared::Shared};
use crate::{Mode, call::Target};

/// How many attempts run at once, and wait, unless told otherwise.
const DEFAULT: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Limits how many attempts run at once, per target. See the [module](super).
#[derive(Debug, Clone)]
pub struct ConcurrencyLayer {
    shared: Arc<Shared>,
}

impl Default for ConcurrencyLayer {
    /// 64 attempts per target, and a queue of as many.
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl ConcurrencyLayer {
    /// `limit` attempts per target at once, where the operator has not set another for it
    /// ([`TargetPolicy::concurrency`](crate::call::TargetPolicy)), and a queue of as many.
    pub fn new(limit: NonZeroU32) -> Self {
        Self::of(Limit::Static(limit), limit.get(), Mode::default())
    }

    /// **Experimental.** As many attempts per target at once as the target turns out to serve, within `bounds`, where the
    /// operator has not set a number; and a queue of 64. Each target learns for itself.
    ///
    /// It asks whether throughput follows concurrency, and never how slow the calls are: a target that has become ten times
    /// slower because something behind it waits gets ten times as many slots, and one that is full gets no more. While nobody
    /// waits, the limit comes down to two and a half times what is used. What it holds and what it misses is measured by T1 and
    /// T2 of the torture suite, and told in its README. In short: it finds a step overload and a delay that grows tenfold at a
    /// time; it needs tens of seconds to find a delay that grows a hundredfold at once, and it takes many calls, so a tool that
    /// is called a few times a minute is better off with a number. Where limits are only [observed](Mode::Observe), nobody waits,
    /// and so the limit only comes down.
    ///
    /// Where the limit has grown, those who wait are let in one by one rather than all at once.
    ///
    /// ```
    /// use buttress::concurrency::{Bounds, ConcurrencyLayer};
    ///
    /// let layer = ConcurrencyLayer::adaptive(Bounds::try_new(4, 64, 1024)?);
    /// let refused = Bounds::try_new(4, 2048, 1024).unwrap_err();
    /// assert_eq!(refused.to_string(), "the limit begins at 2048, which is above its ceiling, 1024");
    /// # Ok::<_, buttress::concurrency::BoundsError>(())
    /// ```
    pub fn adaptive(bounds: Bounds) -> Self {
        Self::adaptive_with(move |_| Adaptive::new(bounds, Instant::now()))
    }

    /// As many attempts per target at once as a limit of your own finds right for it, where the operator has not set a number,
    /// and a queue of 64. `limit` is asked for one per target, and for another when the operator [takes a number
    /// back](crate::catalogue::Catalogue::set_tool); it must not ask the layer's handle.
    pub fn adaptive_with<A>(limit: impl Fn(&Target) -> A + Send + Sync + 'static) -> Self
    where
        A: AdaptiveLimit + 'static,
    {
        let make = Arc::new(move |target: &Target| Box::new(limit(target)) as Box<dyn AdaptiveLimit>);
        Self::of(Limit::Adaptive(make), DEFAULT.get(), Mode::default())
    }

    /// No limit: every attempt passes.
    pub fn off() -> Self {
        Self::of(Limit::Off, 0, Mode::default())
    }

    /// At most `places` attempts wait per target, of all tenants together; with 0, who finds no slot free is refused. The layer
    /// then has slots of its own, apart from the one it was made of.
    #[must_use]
    pub fn queue(self, places: u32) -> Self {
        Self::of(self.shared.limit(), places, self.shared.mode())
    }

    /// Whether calls over the limit wait or are refused, or are only [observed](Mode::Observe): then all pass at once, also those
    /// that would wait, and those are counted that would be refused. What is [drained](ConcurrencyHandle::drain) takes no calls
    /// all the same. The layer then has slots of its own, apart from the one it was made of.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self::of(self.shared.limit(), self.shared.places(), mode)
    }

    /// To look at the slots and queues, and to steer them while they work.
    pub fn handle(&self) -> ConcurrencyHandle {
        ConcurrencyHandle::new(self.shared.clone())
    }

    fn of(limit: Limit, places: u32, mode: Mode) -> Self {
        Self { shared: Arc::new(Shared::new(limit, places, mode)) }
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency::new(inner, self.shared.clone())
    }
}
