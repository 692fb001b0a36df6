//! The stack: the one place where the order of layers is decided.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower::{Layer, Service, util::BoxCloneSyncService};

#[cfg(feature = "audit")]
use crate::audit::AuditLayer;
#[cfg(feature = "cache")]
use crate::cache::CacheLayer;
use crate::{
    attempt::AttemptLayer,
    breaker::BreakerLayer,
    call::{CallParams, CallResult, Request, Response},
    catalogue::Catalogue,
    coalesce::CoalesceLayer,
    concurrency::ConcurrencyLayer,
    deadline::{DeadlineLayer, Limits},
    error::BoxError,
    fault::FaultLayer,
    hedge::HedgeLayer,
    idempotency::IdempotencyLayer,
    loop_guard::LoopGuardLayer,
    panic::PanicLayer,
    quota::{QuotaError, QuotaLayer},
    rate_limit::{RateLimit, RateLimitLayer},
    record::RecordLayer,
    rescue::{Deliver, RescueLayer},
    retry::RetryLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

mod handles;
mod seats;

pub use handles::Handles;
use seats::Seats;

/// The layers of one upstream, in the one right order.
///
/// By default deadlines, retries, breakers and concurrency limits are on; quotas and rate limits are off until you name
/// them. All state lives in the layers: services built from one stack share it.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use buttress::{BoxError, Stack, call::{Method, Request, Response}, catalogue::Catalogue, quota::QuotaLayer};
/// use governor::Quota;
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let stack = Stack::new().quota(QuotaLayer::new().per_tenant(Quota::per_second(NonZeroU32::MIN)));
/// let say = service_fn(async |call: Request<&'static str>| Ok::<_, BoxError>(Response::new(call.params.to_owned())));
/// let service = stack.service(say);
///
/// let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
/// let first = service.answer(Request::new(target.clone(), "hello")).await?;
/// assert_eq!(first.result, Ok("hello".to_owned()));
/// let second = service.answer(Request::new(target, "again")).await?;
/// assert!(second.result.is_ok_and(|text| text.starts_with("Rate limited: ")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stack {
    rescue: RescueLayer,
    record: RecordLayer,
    trace: Option<TraceLayer>,
    #[cfg(feature = "audit")]
    audit: Option<AuditLayer>,
    deadline: DeadlineLayer,
    loop_guard: Option<LoopGuardLayer>,
    quota: QuotaLayer,
    idempotency: Option<IdempotencyLayer>,
    #[cfg(feature = "cache")]
    cache: Option<CacheLayer>,
    coalesce: Option<CoalesceLayer>,
    hedge: Option<HedgeLayer>,
    retry: RetryLayer,
    breaker: BreakerLayer,
    concurrency: ConcurrencyLayer,
    rate_limit: RateLimitLayer,
    attempt: AttemptLayer,
    timeout: TimeoutLayer,
    panic: PanicLayer,
    fault: Option<FaultLayer>,
}

/// How long an attempt may take before another takes its place.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

impl Default for Stack {
    fn default() -> Self {
        Self {
            rescue: RescueLayer::default(),
            record: RecordLayer::new(),
            trace: None,
            #[cfg(feature = "audit")]
            audit: None,
            deadline: DeadlineLayer::default(),
            loop_guard: None,
            quota: QuotaLayer::new(),
            idempotency: None,
            #[cfg(feature = "cache")]
            cache: None,
            coalesce: None,
            hedge: None,
            retry: RetryLayer::default(),
            breaker: BreakerLayer::default(),
            concurrency: ConcurrencyLayer::default(),
            rate_limit: RateLimitLayer::off(),
            attempt: AttemptLayer::new(),
            timeout: TimeoutLayer::repeatable(ATTEMPT_LIMIT),
            panic: PanicLayer::new(),
            fault: None,
        }
    }
}

impl Stack {
    /// The default stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// How refused tool calls are told. Default: as tool results.
    #[must_use]
    pub fn deliver(mut self, deliver: Deliver) -> Self {
        self.rescue = RescueLayer::new(deliver);
        self
    }

    /// Spans for calls and attempts. Default: none.
    #[must_use]
    pub fn trace(mut self, trace: TraceLayer) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Where calls are put on record. Default: nowhere.
    #[cfg(feature = "audit")]
    #[must_use]
    pub fn audit(mut self, audit: AuditLayer) -> Self {
        self.audit = Some(audit);
        self
    }

    /// How long calls may take. Default: 55 s, 30 s between signs of progress, 10 min in any case.
    #[must_use]
    pub fn deadline(mut self, limits: Limits) -> Self {
        self.deadline = DeadlineLayer::new(limits);
        self
    }

    /// When an agent goes in circles. Default: nobody looks.
    #[must_use]
    pub fn loop_guard(mut self, loop_guard: LoopGuardLayer) -> Self {
        self.loop_guard = Some(loop_guard);
        self
    }

    /// How many calls are let in. Default: all.
    #[must_use]
    pub fn quota(mut self, quota: QuotaLayer) -> Self {
        self.quota = quota;
        self
    }

    /// Whether calls under one idempotency key are made once. Default: keys are not looked at.
    #[must_use]
    pub fn idempotency(mut self, idempotency: IdempotencyLayer) -> Self {
        self.idempotency = Some(idempotency);
        self
    }

    /// Which answers are kept, and given again. Default: none. With the feature `cache`.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(mut self, cache: CacheLayer) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Whether calls that ask the same at the same time are one. Default: no.
    #[must_use]
    pub fn coalesce(mut self, coalesce: CoalesceLayer) -> Self {
        self.coalesce = Some(coalesce);
        self
    }

    /// Whether a second attempt is made at calls that take unusually long. Default: no. No call is both hedged and retried.
    #[must_use]
    pub fn hedge(mut self, hedge: HedgeLayer) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// How calls are repeated. Default: 3 attempts, full jitter, 500 tokens for each upstream.
    #[must_use]
    pub fn retry(mut self, retry: RetryLayer) -> Self {
        self.retry = retry;
        self
    }

    /// When a target is left alone. Default: after 6 failures in a row, or under 50 % success.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerLayer) -> Self {
        self.breaker = breaker;
        self
    }

    /// How many attempts run at once. Default: 64 per target, and as many waiting.
    #[must_use]
    pub fn concurrency(mut self, concurrency: ConcurrencyLayer) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// How fast attempts may be made, by any `governor::RateLimiter`. Default: no limit.
    #[must_use]
    pub fn rate_limit<L: RateLimit + 'static>(self, limiter: Arc<L>) -> Self {
        self.rate_limit_layer(RateLimitLayer::new(limiter))
    }

    /// The same with a layer that is ready made: a keyed limiter, say.
    #[must_use]
    pub fn rate_limit_layer(mut self, rate_limit: RateLimitLayer) -> Self {
        self.rate_limit = rate_limit;
        self
    }

    /// How long a call's first attempt may take where another may follow, at a target that is not known to be
    /// [slow](crate::timeout#slow-targets). Default: 20 s. `None`, or zero: as long as the call itself.
    #[must_use]
    pub fn attempt_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeout = limit.into().map_or_else(TimeoutLayer::deadline_only, TimeoutLayer::repeatable);
        self
    }

    /// What is broken on purpose, for game days and tests, once the layer's [handle](FaultLayer::handle) says so. Default:
    /// nothing.
    #[must_use]
    pub fn fault(mut self, fault: FaultLayer) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Checks that what an operator says of tools and what the stack allows can hold together: that no declared tool or resource
    /// template costs more than the burst of a quota; and holds them to each other from then on, whichever is changed
    /// ([`Catalogue::set_tool`], [`QuotaHandle::set`](crate::quota::QuotaHandle::set)). rmcp's adapters do it; who resolves
    /// targets himself does it for his catalogue.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Burst`], which names the dearest tool with its cost, and the burst that is too small for it.
    pub fn check_for(&self, catalogue: &Catalogue) -> Result<(), QuotaError> {
        self.quota.handle().check_for(catalogue)
    }

    /// Makes the counters of what may befall the names that the catalogue knows, at zero: at first, those that the operator
    /// has declared. So a query sees their first event also where it comes with the first call
    /// ([why](crate::metrics#from-zero)). rmcp's adapters do it; who resolves targets himself does it for his catalogue,
    /// once the recorder is installed.
    pub fn prepare_for(&self, catalogue: &Catalogue) {
        RecordLayer::prepare_for(catalogue);
        #[cfg(feature = "audit")]
        if self.audit.is_some() {
            AuditLayer::prepare_for(catalogue.upstream());
        }
    }

    /// Tells the [cache](crate::cache), if there is one, what a notification of the upstream's declares changed. rmcp's client
    /// adapter does it; who owns the wire does it for what passes by.
    pub fn notified(&self, catalogue: &Catalogue, notification: &str) {
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.cache {
            cache.notified(catalogue, notification);
        }
        #[cfg(not(feature = "cache"))]
        let _nobody_keeps_anything = (catalogue, notification);
    }

    /// Puts the layers in front of `handler`, and erases the type once.
    pub fn service<S, P, R>(&self, handler: S) -> StackService<P, R>
    where
        S: Service<Request<P>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // The fault layer stands in for the handler, since all that is injected must look to the layers as if the handler had
        // done it.
        match &self.fault {
            None => self.traced(self.attempt(handler)),
            // Boxed with its readiness: a second copy of all layers, for game days, would be compiled with each handler.
            Some(fault) => self.traced(self.attempt(BoxCloneSyncService::new(fault.layer(handler)))),
        }
    }

    /// This stack, standing at a client.
    #[cfg(feature = "rmcp-client")]
    pub(crate) fn at_client(&self) -> Self {
        Self { trace: self.trace.clone().map(TraceLayer::at_client), ..self.clone() }
    }

    /// Records what is exempt from every limit and cannot pass through the stack, as a call that is its only attempt.
    #[cfg(feature = "rmcp-client")]
    pub(crate) fn recorded<S, P, R>(&self, outcome: S) -> StackService<P, R>
    where
        S: Service<Request<P>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        let attempt = self.attempt.layer(outcome);
        match &self.trace {
            None => StackService::new(self.record.layer(attempt)),
            Some(trace) => {
                let attempt = trace.clone().of_attempts().layer(attempt);
                StackService::new(trace.layer(self.record.layer(attempt)))
            }
        }
    }

    /// Refuses every call, as a layer of this stack would: told and put on record like any other refusal. For calls that an
    /// adapter has no room for.
    #[cfg(feature = "rmcp-client")]
    pub(crate) fn refusing<P, R>(&self, rejected: crate::error::Rejected) -> StackService<P, R>
    where
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        let refuse = move |_: Request<P>| std::future::ready(Err::<Response<R>, _>(BoxError::from(rejected)));
        self.edge(tower::service_fn(refuse))
    }

    // The order, from the inside out: attempt, attempts, extras, quota, loop guard, edge.

    /// One attempt at the handler.
    fn attempt<S, P, R>(&self, handler: S) -> impl Layered<P, R> + use<S, P, R>
    where
        S: Service<Request<P>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // From here on a panic is an error, and every guard above runs in peace.
        let service = self.panic.layer(handler);
        // The only timer of an attempt. Outside the guard, so that a handler that panics needs no timer.
        let service = self.timeout.layer(service);
        // Outside both, so that a timeout and a panic get a verdict too; inside all that reads verdicts.
        self.attempt.layer(service)
    }

    /// The attempt's span, if there is to be one.
    fn traced<S, P, R>(&self, attempt: S) -> StackService<P, R>
    where
        S: Layered<P, R>,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        match &self.trace {
            None => self.whole(self.attempts(attempt)),
            // Outside the classifier, so that the span says its verdict; inside all that waits, so that it is of what was sent.
            Some(trace) => self.whole(StackService::new(self.attempts(trace.clone().of_attempts().layer(attempt)))),
        }
    }

    /// What every attempt passes, and what makes them.
    fn attempts<S, P, R>(&self, attempt: S) -> impl Layered<P, R> + use<S, P, R>
    where
        S: Layered<P, R>,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // Counts what is really sent, at the moment it is sent: so inside retry and behind the queue.
        let service = self.rate_limit.layer(attempt);
        // A slot is held for the attempt alone: held during a backoff, it would divide capacity by 14 while failing.
        let service = self.concurrency.layer(service);
        // Sees every attempt, and refuses before a slot is taken or waited for.
        let service = self.breaker.layer(service);
        // Everything below counts attempts, everything above counts calls. Readiness is cut here.
        self.retry.layer(service)
    }

    /// Everything around what makes the attempts.
    fn whole<S, P, R>(&self, attempts: S) -> StackService<P, R>
    where
        S: Layered<P, R>,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // The plain stack is of one piece, and a call of it costs one allocation.
        if !self.has_extras() {
            return self.edge(self.quota.layer(attempts));
        }
        // Charged once per call: inside retry it would turn a blip of the backend's into a storm of refusals.
        let service = self.quota.layer(self.extras(StackService::new(attempts)));
        match &self.loop_guard {
            // Sees what the agent sees, refusals of the quota included; and what it refuses takes nothing from the quota.
            Some(loop_guard) => self.edge(loop_guard.layer(service)),
            None => self.edge(service),
        }
    }

    const fn has_extras(&self) -> bool {
        #[cfg(feature = "cache")]
        if self.cache.is_some() {
            return true;
        }
        self.loop_guard.is_some() || self.idempotency.is_some() || self.coalesce.is_some() || self.hedge.is_some()
    }

    /// What most stacks leave off. What is off is not there and costs nothing; what is on is a piece of its own, with its type
    /// erased, for one allocation a call.
    fn extras<P, R>(&self, mut service: StackService<P, R>) -> StackService<P, R>
    where
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // A hedge is an attempt to every layer below; one call is hedged or retried, whichever comes first.
        if let Some(hedge) = &self.hedge {
            service = StackService::new(hedge.layer(service));
        }
        // Outside all that makes attempts, so that those who ask the same share them all.
        if let Some(coalesce) = &self.coalesce {
            service = StackService::new(coalesce.layer(service));
        }
        // What is kept needs none of the above; what is not is one call, however many miss it.
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.cache {
            service = StackService::new(cache.layer(service));
        }
        // All attempts are one call, so outside retry; a call that is sent again is another request, so inside the quota.
        if let Some(idempotency) = &self.idempotency {
            service = StackService::new(idempotency.layer(service));
        }
        service
    }

    /// What every call passes first and last.
    fn edge<S, P, R>(&self, service: S) -> StackService<P, R>
    where
        S: Layered<P, R>,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // Stamps the end of the call before anything can wait.
        let service = self.deadline.layer(service);
        // Outside all that refuses or gives up: whatever becomes of a call is put on record.
        #[cfg(feature = "audit")]
        if let Some(audit) = &self.audit {
            return self.seen(audit.layer(StackService::new(service)));
        }
        self.seen(service)
    }

    /// The call's record, and the span around it if there is to be one.
    fn seen<S, P, R>(&self, service: S) -> StackService<P, R>
    where
        S: Layered<P, R>,
        P: CallParams + Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        // Sees every refusal below, and every caller that leaves.
        let service = self.record.layer(service);
        // Errors become answers last, so that all layers read types and none reads texts.
        match &self.trace {
            None => StackService::new(self.rescue.layer(service)),
            // Outside the line of the log and the audit's record, which say what span the call was made in.
            Some(trace) => StackService::new(self.rescue.layer(trace.layer(StackService::new(service)))),
        }
    }
}

/// What a stack is made of on its way: a layer around all that is below it.
trait Layered<P, R>:
    Service<Request<P>, Response = Response<R>, Error = BoxError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S, P, R> Layered<P, R> for S where
    S: Service<Request<P>, Response = Response<R>, Error = BoxError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

type Answer<R> = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

/// A stack in front of its handler, with the type erased: cheap to clone, always ready.
pub struct StackService<P, R>(Arc<dyn Erased<P, R>>);

/// Object-safe, and callable through `&self`.
trait Erased<P, R>: Send + Sync {
    fn answer(&self, request: Request<P>) -> Answer<R>;
}

impl<S, P, R> Erased<P, R> for Seats<S>
where
    S: Service<Request<P>, Response = Response<R>, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    P: Send + 'static,
    R: 'static,
{
    fn answer(&self, request: Request<P>) -> Answer<R> {
        // Nobody is asked for readiness: the stack is always ready, and retry sees to it that the handler is.
        self.call(|service| Box::pin(service.call(request)))
    }
}

impl<P, R> StackService<P, R>
where
    P: Send + 'static,
    R: 'static,
{
    fn new<S>(service: S) -> Self
    where
        S: Service<Request<P>, Response = Response<R>, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(Arc::new(Seats::new(service)))
    }

    /// Answers one call. The stack ends in its [rescue step](crate::rescue), so this is never `Err`: not where the handler's own
    /// service fails to become ready either. Each thread that calls keeps a copy of the handler.
    pub fn answer(&self, request: Request<P>) -> Answer<R> {
        self.0.answer(request)
    }
}

impl<P, R> Service<Request<P>> for StackService<P, R>
where
    P: Send + 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Answer<R>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        self.0.answer(request)
    }
}

impl<P, R> Clone for StackService<P, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P, R> fmt::Debug for StackService<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackService").finish_non_exhaustive()
    }
}
