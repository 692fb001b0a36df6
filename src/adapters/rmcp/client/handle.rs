//! The handle that calls are made by.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::rmcp::{
    RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, CompleteRequest,
        CompleteRequestParams, CompleteResult, GetPromptRequest, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
        ListPromptsRequest, ListPromptsResult, ListResourceTemplatesRequest, ListResourceTemplatesResult, ListResourcesRequest,
        ListResourcesResult, ListToolsRequest, ListToolsResult, PaginatedRequestParams, Prompt, ReadResourceRequest,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceTemplate, ServerResult, Tool,
    },
    service::ServiceError,
};

use super::{call::Link, layer::ClientLayer, shared::Shared};
use crate::{
    call::{Caller, Notify, Peer, Progress, Session},
    error::BoxError,
    stack::Stack,
};

/// The stack over rmcp's peer: calls that are made by this handle go through it. Cheap to clone.
///
/// * **Errors** are rmcp's own. What the server answers is [`McpError`](ServiceError::McpError), and so is what the stack has
///   to say of a call that was refused or lost; that of a `tools/call` is a tool result with `isError: true`, unless the stack is
///   told to [deliver](Stack::deliver) it otherwise. A 401 or 403 comes as the transport's error, with its challenge.
/// * **Drop**: who drops a call's future takes its request back. `notifications/cancelled` goes out at once, with the id of the
///   attempt under way, and rmcp forgets the request.
/// * **Clones** share everything. Handles of one [`ClientLayer`] share its stack.
///
/// rmcp's own response cache is passed by.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    peer: ::rmcp::Peer<RoleClient>,
    session: Session,
    caller: Option<Caller>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer).field("caller", &self.caller).finish_non_exhaustive()
    }
}

macro_rules! calls {
    ($( $(#[$doc:meta])* $name:ident($params:ty) -> $result:ident: $request:ident; )*) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// As said of the [handle](Self).
        pub async fn $name(&self, params: $params) -> Result<$result, ServiceError> {
            match self.request(ClientRequest::$request($request::new(params))).await? {
                ServerResult::$result(result) => Ok(result),
                _ => Err(ServiceError::UnexpectedResponse),
            }
        }
    )* };
}

macro_rules! lists {
    ($( $(#[$doc:meta])* $name:ident, $all:ident -> $result:ident { $items:ident: $item:ty }: $request:ident; )*) => { $(
        $(#[$doc])*
        /// One page.
        ///
        /// # Errors
        ///
        /// As said of the [handle](Self).
        pub async fn $name(&self, page: Option<PaginatedRequestParams>) -> Result<$result, ServiceError> {
            let mut request = $request::default();
            request.params = page;
            match self.request(ClientRequest::$request(request)).await? {
                ServerResult::$result(result) => Ok(result),
                _ => Err(ServiceError::UnexpectedResponse),
            }
        }

        $(#[$doc])*
        /// All pages, each a call of its own.
        ///
        /// # Errors
        ///
        /// As said of the [handle](Self); [`UnexpectedResponse`](ServiceError::UnexpectedResponse) for a list without an end.
        pub async fn $all(&self) -> Result<Vec<$item>, ServiceError> {
            let (mut items, mut page) = (Vec::new(), None);
            for _ in 0..PAGES {
                let mut listed = self.$name(page).await?;
                items.append(&mut listed.$items);
                if listed.next_cursor.is_none() {
                    return Ok(items);
                }
                page = Some(PaginatedRequestParams::default().with_cursor(listed.next_cursor));
            }
            Err(ServiceError::UnexpectedResponse)
        }
    )* };
}

/// How many pages a list may have.
const PAGES: usize = 1000;

impl Client {
    /// The default stack over `peer`. `upstream` is your name for the server, in metrics and in what callers read.
    pub fn new(upstream: impl Into<Arc<str>>, peer: ::rmcp::Peer<RoleClient>) -> Self {
        tower::Layer::layer(&ClientLayer::new(upstream, &Stack::new()), peer)
    }

    pub(super) fn of(shared: Arc<Shared>, peer: ::rmcp::Peer<RoleClient>) -> Self {
        Self { shared, peer, session: Session::new(), caller: None }
    }

    /// The same connection, on behalf of another caller.
    #[must_use]
    pub fn on_behalf_of(&self, caller: Caller) -> Self {
        Self { caller: Some(caller), ..self.clone() }
    }

    /// rmcp's own peer, past the stack.
    pub const fn peer(&self) -> &::rmcp::Peer<RoleClient> {
        &self.peer
    }

    /// Makes any call. A subscription is none, as it has no end: open it by rmcp's own peer.
    ///
    /// # Errors
    ///
    /// As said of the [handle](Self).
    pub async fn request(&self, request: ClientRequest) -> Result<ServerResult, ServiceError> {
        let call = self.shared.call(request, Link::Peer(self.peer.clone(), self.session));
        let answered = self.shared.clone().answer(call, self.caller.clone(), Peer::new(Noted)).await;
        match answered.denied.map(|error| error.downcast()) {
            Some(Ok(error)) => Err(ServiceError::TransportSend(*error)),
            _ => answered.result.map_err(ServiceError::McpError),
        }
    }

    /// Calls a tool, and says whatever comes of it: a result, a task, or a question.
    ///
    /// # Errors
    ///
    /// As said of the [handle](Self).
    pub async fn call_tool_once(&self, params: CallToolRequestParams) -> Result<CallToolResponse, ServiceError> {
        match self.request(ClientRequest::CallToolRequest(CallToolRequest::new(params))).await? {
            ServerResult::CallToolResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(CallToolResponse::InputRequired(result)),
            ServerResult::CreateTaskResult(result) => Ok(CallToolResponse::Task(result)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    /// Expands a prompt, and says whatever comes of it: a result or a question.
    ///
    /// # Errors
    ///
    /// As said of the [handle](Self).
    pub async fn get_prompt_once(&self, params: GetPromptRequestParams) -> Result<GetPromptResponse, ServiceError> {
        match self.request(ClientRequest::GetPromptRequest(GetPromptRequest::new(params))).await? {
            ServerResult::GetPromptResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(GetPromptResponse::InputRequired(result)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    /// Reads a resource, and says whatever comes of it: a result or a question.
    ///
    /// # Errors
    ///
    /// As said of the [handle](Self).
    pub async fn read_resource_once(&self, params: ReadResourceRequestParams) -> Result<ReadResourceResponse, ServiceError> {
        match self.request(ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params))).await? {
            ServerResult::ReadResourceResult(result) => Ok(result.into()),
            ServerResult::InputRequiredResult(result) => Ok(ReadResourceResponse::InputRequired(result)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    calls! {
        /// Calls a tool. [`UnexpectedResponse`](ServiceError::UnexpectedResponse) for a task or a question.
        call_tool(CallToolRequestParams) -> CallToolResult: CallToolRequest;
        /// Expands a prompt. [`UnexpectedResponse`](ServiceError::UnexpectedResponse) for a question.
        get_prompt(GetPromptRequestParams) -> GetPromptResult: GetPromptRequest;
        /// Reads a resource. [`UnexpectedResponse`](ServiceError::UnexpectedResponse) for a question.
        read_resource(ReadResourceRequestParams) -> ReadResourceResult: ReadResourceRequest;
        /// Completes an argument.
        complete(CompleteRequestParams) -> CompleteResult: CompleteRequest;
    }

    lists! {
        /// Lists the tools, and learns them: from then on each has a breaker and a limit of its own.
        list_tools, list_all_tools -> ListToolsResult { tools: Tool }: ListToolsRequest;
        /// Lists the prompts, and learns them.
        list_prompts, list_all_prompts -> ListPromptsResult { prompts: Prompt }: ListPromptsRequest;
        /// Lists the resources.
        list_resources, list_all_resources -> ListResourcesResult { resources: Resource }: ListResourcesRequest;
        /// Lists the templates of resources.
        list_resource_templates, list_all_resource_templates
            -> ListResourceTemplatesResult { resource_templates: ResourceTemplate }: ListResourceTemplatesRequest;
    }
}

impl tower::Service<ClientRequest> for Client {
    type Response = ServerResult;
    type Error = ServiceError;
    type Future = Pin<Box<dyn Future<Output = Result<ServerResult, ServiceError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ClientRequest) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.request(request).await })
    }
}

/// Progress goes from rmcp to the user's own handler. Here it is only noted that there was some.
struct Noted;

impl Notify for Noted {
    fn progress(&self, _: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
