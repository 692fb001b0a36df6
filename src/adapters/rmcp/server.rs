//! The wrapped server.

// Logging and resource subscriptions are deprecated in 2026-07-28, and forwarded all the same to those who speak an older
// revision.
#![allow(deprecated)]

use std::{borrow::Cow, fmt, future::Future, panic::AssertUnwindSafe, sync::Arc};

use ::http::request::Parts;
use ::rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelTaskRequest,
        CancelledNotificationParam, ClientRequest, CompleteRequest, CompleteRequestParams, CompleteResult, CustomNotification,
        CustomRequest, CustomResult, DiscoverRequest, DiscoverRequestParams, DiscoverResult, GetPromptRequest,
        GetPromptRequestParams, GetPromptResponse, GetSkillRequest, GetSkillRequestParams, GetSkillResult, GetTaskParams,
        GetTaskRequest, GetTaskResult, InitializeRequest, InitializeRequestParams, InitializeResult, ListPromptsRequest,
        ListPromptsResult, ListResourceTemplatesRequest, ListResourceTemplatesResult, ListResourcesRequest, ListResourcesResult,
        ListSkillsRequest, ListSkillsResult, ListToolsRequest, ListToolsResult, PaginatedRequestParams, PingRequest,
        ProgressNotificationParam, ProtocolVersion, ReadResourceDirectoryRequest, ReadResourceDirectoryRequestParams,
        ReadResourceDirectoryResult, ReadResourceRequest, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
        ServerResult, SetLevelRequest, SetLevelRequestParams, SubscribeRequest, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequest, UnsubscribeRequestParams, UpdateTaskParams, UpdateTaskRequest,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use futures_util::FutureExt;
use tower::Layer;

use super::{
    call::{Call, Handler, Notifier},
    edge::{edge_panicked, out_of_order},
    http,
    listen::Subscriptions,
    model::{addressed, annotations, error_data, learn},
};
use crate::{
    call::{Arrival, Caller, Identify, Meta, Method, OneTenant, Peer, Request, Revision, Session, Target, Verdict},
    catalogue::{Catalogue, Scope},
    quota::QuotaError,
    stack::{Stack, StackService},
};

/// Puts the default stack in front of a handler. `upstream` is your name for the server, in metrics and in what callers read.
pub fn wrap<H: ServerHandler>(upstream: impl Into<Arc<str>>, handler: H) -> Server<H> {
    ServerLayer::new(upstream, &Stack::new()).layer(handler)
}

/// Wraps handlers of type `H`; all that it wraps share one stack's state. See the [module](super).
pub struct ServerLayer<H> {
    shared: Arc<Shared<H>>,
}

struct Shared<H> {
    catalogue: Arc<Catalogue>,
    identify: Arc<dyn Identify>,
    subscriptions: Arc<Subscriptions>,
    service: StackService<Call<H>, ServerResult>,
}

/// How many `subscriptions/listen` streams a server holds open unless told otherwise.
const SUBSCRIPTIONS: usize = 1024;

impl<H: ServerHandler> ServerLayer<H> {
    /// Wraps handlers in `stack`. Their annotations are trusted, and their names are learned from themselves.
    pub fn new(upstream: impl Into<Arc<str>>, stack: &Stack) -> Self {
        let catalogue = Arc::new(Catalogue::new(upstream).trust_annotations());
        // Nothing costs anything yet; what will is held to the stack's quotas.
        let _fits = stack.check_for(&catalogue);
        Self::of(catalogue, stack)
    }

    /// The same with a catalogue that the operator has prepared.
    ///
    /// # Errors
    ///
    /// A tool that costs more than the burst of one of the stack's quotas, with both values: none of its calls would ever pass.
    pub fn with_catalogue(catalogue: Arc<Catalogue>, stack: &Stack) -> Result<Self, QuotaError> {
        stack.check_for(&catalogue)?;
        Ok(Self::of(catalogue, stack))
    }

    fn of(catalogue: Arc<Catalogue>, stack: &Stack) -> Self {
        stack.prepare_for(&catalogue);
        let listen = catalogue.resolve(&Method::SubscriptionsListen, None, None);
        Self {
            shared: Arc::new(Shared {
                catalogue,
                identify: Arc::new(OneTenant),
                subscriptions: Arc::new(Subscriptions::new(listen, SUBSCRIPTIONS)),
                service: stack.service(Handler),
            }),
        }
    }

    /// Tells callers apart by `identify`. Default: one tenant.
    #[must_use]
    pub fn identify(self, identify: impl Identify + 'static) -> Self {
        self.map(|shared| shared.identify = Arc::new(identify))
    }

    /// Holds at most `cap` `subscriptions/listen` streams open. Default: 1,024.
    #[must_use]
    pub fn subscriptions(self, cap: usize) -> Self {
        self.map(|shared| shared.subscriptions = Arc::new(shared.subscriptions.with_cap(cap)))
    }

    /// The names that it knows.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.shared.catalogue
    }

    fn map(self, change: impl FnOnce(&mut Shared<H>)) -> Self {
        let Shared { catalogue, identify, subscriptions, service } = &*self.shared;
        let mut shared = Shared {
            catalogue: catalogue.clone(),
            identify: identify.clone(),
            subscriptions: subscriptions.clone(),
            service: service.clone(),
        };
        change(&mut shared);
        Self { shared: Arc::new(shared) }
    }
}

impl<H: ServerHandler> Layer<H> for ServerLayer<H> {
    type Service = Server<H>;

    fn layer(&self, handler: H) -> Server<H> {
        Server { handler: Arc::new(handler), shared: self.shared.clone(), session: Session::new() }
    }
}

impl<H> Clone for ServerLayer<H> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<H> fmt::Debug for ServerLayer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").field("catalogue", &self.shared.catalogue).finish_non_exhaustive()
    }
}

/// A handler behind a stack: a `ServerHandler` itself. See the [module](super).
pub struct Server<H> {
    handler: Arc<H>,
    shared: Arc<Shared<H>>,
    /// The session, where the transport names none: then there is a wrapper for each connection.
    session: Session,
}

impl<H> Clone for Server<H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), shared: self.shared.clone(), session: self.session }
    }
}

impl<H: fmt::Debug> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("handler", &self.handler).finish_non_exhaustive()
    }
}

impl<H: ServerHandler> Server<H> {
    /// The adapter's edge: what panics outside of the stack's own guard (who tells callers apart, the handler's `get_tool`)
    /// is answered too.
    async fn run(&self, request: ClientRequest, context: RequestContext<RoleServer>) -> Result<ServerResult, ErrorData> {
        let answer = AssertUnwindSafe(self.answer(request, context)).catch_unwind();
        answer.await.unwrap_or_else(|_| {
            edge_panicked();
            Err(ErrorData::internal_error("the server failed on this call", None))
        })
    }

    /// Sends one call through the stack, and drops it when the caller leaves.
    async fn answer(&self, request: ClientRequest, context: RequestContext<RoleServer>) -> Result<ServerResult, ErrorData> {
        let (cancelled, id) = (context.ct.clone(), context.id.clone());
        let slot = http::slot(&context);
        let call = self.request(request, context);
        let answer = tokio::select! {
            biased;
            answer = self.shared.service.answer(call) => answer,
            // rmcp sends no answer to a cancelled call; the error only ends the task.
            () = cancelled.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
        };
        let response = answer.map_err(|error| {
            out_of_order(&*error);
            ErrorData::internal_error("the server cannot take calls", None)
        })?;
        if let (Some(slot), Some(standing)) = (&slot, response.standing) {
            slot.tell(standing);
        }
        // Only where the handler never saw the call: whatever it sent, a notification, has begun the HTTP response.
        let (verdict, refusal, facts) = (response.verdict, response.refusal, response.facts);
        let result = response.result.map_err(|error| error_data(error, facts));
        if let (Some(slot), Some(refusal), Err(error)) = (&slot, refusal, &result)
            && verdict == Some(Verdict::LocalReject)
        {
            slot.set(refusal, &id, error);
        }
        let result = result?;
        // As public, whatever its `cacheScope`: rmcp writes `private` wherever a handler says nothing, and a name of a handler
        // in this process is one tool, with one breaker and one limit, whoever may see it.
        learn(&self.shared.catalogue, Scope::Public, &result);
        Ok(result)
    }

    fn request(&self, request: ClientRequest, context: RequestContext<RoleServer>) -> Request<Call<H>> {
        // Not the peer's: in 2026-07-28 each request names its client itself.
        let client = context.client_info();
        let caller = self
            .shared
            .identify
            .identify(&Arrival { parts: context.extensions.get(), client: client.as_ref().map(|client| &*client.name) });
        let target = self.target(&request, &caller);
        let peer = peer(&context);
        let meta = meta(&context);
        let (revision, session) = (revision(&context), self.session(&context));
        let mut call = Request::new(target, Call::new(self.handler.clone(), request, context));
        call.head.caller = caller;
        (call.head.revision, call.head.session) = (revision, session);
        call.head.meta = meta;
        call.head.peer = peer;
        call
    }

    fn session(&self, context: &RequestContext<RoleServer>) -> Option<Session> {
        match context.extensions.get::<Parts>() {
            Some(parts) => parts.headers.get("mcp-session-id").map(|id| Session::of(id.as_bytes())),
            None => Some(self.session),
        }
    }

    fn target(&self, request: &ClientRequest, caller: &Caller) -> Arc<Target> {
        let catalogue = &self.shared.catalogue;
        let (method, name) = addressed(request);
        if let (Method::ToolsCall, Some(name)) = (&method, name)
            && catalogue.known(&method, name, caller.audience()).is_none()
            && let Some(tool) = self.handler.get_tool(name)
        {
            catalogue.learn(&method, Scope::Public, [(name, annotations(&tool))]);
        }
        catalogue.resolve(&method, name, caller.audience())
    }
}

/// How a handler speaks to its caller: of progress if the caller asked for it, and of questions if it can be asked.
fn peer(context: &RequestContext<RoleServer>) -> Option<Peer> {
    if let Some(token) = context.meta.get_progress_token() {
        return Some(Peer::new(Notifier { peer: context.peer.clone(), token }));
    }
    let can = context.client_capabilities()?;
    (can.elicitation.is_some() || can.sampling.is_some()).then(Peer::unheard)
}

/// The revision that a request is made in: its own word, that of the handshake, or that of the header where neither is known
/// (an HTTP server without sessions).
fn revision(context: &RequestContext<RoleServer>) -> Option<Revision> {
    if let Some(version) = context.protocol_version() {
        return Revision::from_wire(version.as_str());
    }
    let parts = context.extensions.get::<Parts>()?;
    Revision::from_wire(parts.headers.get("mcp-protocol-version")?.to_str().ok()?)
}

/// What a request says about itself, in its `_meta` or else in its HTTP headers.
fn meta(context: &RequestContext<RoleServer>) -> Option<Arc<Meta>> {
    let said = Meta::read(&context.meta.0);
    let meta = match context.extensions.get::<Parts>() {
        Some(parts) => said.or_headers(&parts.headers),
        None => said,
    };
    (!meta.is_empty()).then(|| Arc::new(meta))
}

/// A handler that answered with another method's result.
fn mismatch(_: ServerResult) -> ErrorData {
    ErrorData::internal_error("the handler answered with a result of another method", None)
}

macro_rules! forward {
    ($( $name:ident($params:ty) -> $result:ty: $request:expr => $pattern:pat => $value:expr; )*) => { $(
        fn $name(
            &self,
            params: $params,
            context: RequestContext<RoleServer>,
        ) -> impl Future<Output = Result<$result, ErrorData>> + Send + '_ {
            let request: fn($params) -> ClientRequest = $request;
            async move {
                match self.run(request(params), context).await? {
                    $pattern => Ok($value),
                    other => Err(mismatch(other)),
                }
            }
        }
    )* };
}

type Page = Option<PaginatedRequestParams>;

macro_rules! page {
    ($request:ident) => {
        |params| {
            let mut request = $request::default();
            request.params = params;
            ClientRequest::$request(request)
        }
    };
}

macro_rules! plain {
    ($request:ident) => {
        |params| ClientRequest::$request($request::new(params))
    };
}

impl<H: ServerHandler> ServerHandler for Server<H> {
    forward! {
        initialize(InitializeRequestParams) -> InitializeResult:
            plain!(InitializeRequest) => ServerResult::InitializeResult(result) => result;
        complete(CompleteRequestParams) -> CompleteResult:
            plain!(CompleteRequest) => ServerResult::CompleteResult(result) => result;
        set_level(SetLevelRequestParams) -> ():
            plain!(SetLevelRequest) => ServerResult::EmptyResult(_) => ();
        list_prompts(Page) -> ListPromptsResult:
            page!(ListPromptsRequest) => ServerResult::ListPromptsResult(result) => result;
        list_resources(Page) -> ListResourcesResult:
            page!(ListResourcesRequest) => ServerResult::ListResourcesResult(result) => result;
        list_resource_templates(Page) -> ListResourceTemplatesResult:
            page!(ListResourceTemplatesRequest) => ServerResult::ListResourceTemplatesResult(result) => result;
        subscribe(SubscribeRequestParams) -> ():
            plain!(SubscribeRequest) => ServerResult::EmptyResult(_) => ();
        unsubscribe(UnsubscribeRequestParams) -> ():
            plain!(UnsubscribeRequest) => ServerResult::EmptyResult(_) => ();
        list_tools(Page) -> ListToolsResult:
            page!(ListToolsRequest) => ServerResult::ListToolsResult(result) => result;
        on_custom_request(CustomRequest) -> CustomResult:
            ClientRequest::CustomRequest => ServerResult::CustomResult(result) => result;
        get_task(GetTaskParams) -> GetTaskResult:
            plain!(GetTaskRequest) => ServerResult::GetTaskResult(result) => result;
        update_task(UpdateTaskParams) -> ():
            plain!(UpdateTaskRequest) => ServerResult::TaskAckResult(_) => ();
        cancel_task(CancelTaskParams) -> ():
            plain!(CancelTaskRequest) => ServerResult::TaskAckResult(_) => ();
        list_skills(Page) -> ListSkillsResult:
            page!(ListSkillsRequest) => ServerResult::ListSkillsResult(result) => result;
        get_skill(GetSkillRequestParams) -> GetSkillResult:
            plain!(GetSkillRequest) => ServerResult::GetSkillResult(result) => result;
        read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult:
            plain!(ReadResourceDirectoryRequest) => ServerResult::ListResourcesResult(result) => result;
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match self.run(ClientRequest::CallToolRequest(CallToolRequest::new(params)), context).await? {
            ServerResult::CallToolResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(CallToolResponse::InputRequired(result)),
            ServerResult::CreateTaskResult(result) => Ok(CallToolResponse::Task(result)),
            other => Err(mismatch(other)),
        }
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        match self.run(ClientRequest::GetPromptRequest(GetPromptRequest::new(params)), context).await? {
            ServerResult::GetPromptResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(GetPromptResponse::InputRequired(result)),
            other => Err(mismatch(other)),
        }
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match self.run(ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params)), context).await? {
            ServerResult::ReadResourceResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(ReadResourceResponse::InputRequired(result)),
            other => Err(mismatch(other)),
        }
    }

    async fn ping(&self, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        match self.run(ClientRequest::PingRequest(PingRequest::default()), context).await? {
            ServerResult::EmptyResult(_) => Ok(()),
            other => Err(mismatch(other)),
        }
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let request = DiscoverRequest::new(DiscoverRequestParams::default());
        match self.run(ClientRequest::DiscoverRequest(request), context).await? {
            ServerResult::DiscoverResult(result) => Ok(result),
            other => Err(mismatch(other)),
        }
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let request = context.request_context();
        let (id, left) = (request.id.clone(), request.ct.clone());
        // In a block: a handler that panics before its first await is guarded too, and one that is refused is never called.
        self.shared.subscriptions.run(&id, left.cancelled(), async { self.handler.listen(context).await }).await
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.handler.accepted_subscription_filter(requested)
    }

    fn negotiate_initialize(&self, request: &InitializeRequestParams) -> Result<InitializeResult, ErrorData> {
        self.handler.negotiate_initialize(request)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        ServerHandler::supported_protocol_versions(&*self.handler)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.handler.get_tool(name)
    }

    fn get_info(&self) -> ServerConfig {
        ServerHandler::get_info(&*self.handler)
    }

    async fn on_cancelled(&self, notification: CancelledNotificationParam, context: NotificationContext<RoleServer>) {
        self.handler.on_cancelled(notification, context).await;
    }

    async fn on_progress(&self, notification: ProgressNotificationParam, context: NotificationContext<RoleServer>) {
        self.handler.on_progress(notification, context).await;
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.handler.on_initialized(context).await;
    }

    async fn on_roots_list_changed(&self, context: NotificationContext<RoleServer>) {
        self.handler.on_roots_list_changed(context).await;
    }

    async fn on_custom_notification(&self, notification: CustomNotification, context: NotificationContext<RoleServer>) {
        self.handler.on_custom_notification(notification, context).await;
    }
}
