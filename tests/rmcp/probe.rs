//! A server with one tool that does what a test says, and counts.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use buttress::{Stack, breaker::BreakerLayer, quota::QuotaLayer, retry::RetryLayer};
use governor::Quota;
use rmcp::{ErrorData, RoleServer, ServerHandler, model::*, service::RequestContext};
use serde_json::json;

pub type Answer = Result<CallToolResponse, ErrorData>;
type Act = dyn Fn(u32, RequestContext<RoleServer>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// The name of the one tool.
pub const TOOL: &str = "probe";

#[derive(Clone)]
pub struct Probe {
    hints: ToolAnnotations,
    act: Arc<Act>,
    calls: Arc<AtomicU32>,
}

impl Probe {
    /// A tool without annotations, so that nobody may repeat it in doubt. `act` gets the number of the call, from 1.
    pub fn new<F>(act: impl Fn(u32, RequestContext<RoleServer>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let act: Arc<Act> = Arc::new(move |nth, context| Box::pin(act(nth, context)));
        Self { hints: ToolAnnotations::new(), act, calls: Arc::default() }
    }

    /// The same tool, saying of itself that it only reads.
    pub fn read_only(mut self) -> Self {
        self.hints = self.hints.read_only(true);
        self
    }

    /// How often the tool was called.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    fn tool(&self) -> Tool {
        let schema = Arc::new(object(json!({ "type": "object" })));
        Tool::new(TOOL, "What a test needs.", schema).with_annotations(self.hints.clone())
    }
}

impl ServerHandler for Probe {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (name == TOOL).then(|| self.tool())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![self.tool()]))
    }

    async fn call_tool(&self, params: CallToolRequestParams, context: RequestContext<RoleServer>) -> Answer {
        if params.name != TOOL {
            return Err(ErrorData::invalid_params(format!("no such tool: {}", params.name), None));
        }
        (self.act)(self.calls.fetch_add(1, Ordering::SeqCst) + 1, context).await
    }

    async fn read_resource(
        &self,
        _: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Err(ErrorData::internal_error("the disk is on fire", None))
    }
}

pub fn good() -> Answer {
    Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
}

/// A tool's own word that it failed.
pub fn failed() -> Answer {
    Ok(CallToolResult::error(vec![ContentBlock::text("the backend said no")]).into())
}

/// The text of a tool result's content, block by block.
pub fn texts(result: &CallToolResult) -> Vec<&str> {
    result.content.iter().filter_map(|block| Some(&*block.as_text()?.text)).collect()
}

/// One call an hour for each tenant.
pub fn one_an_hour() -> Stack {
    Stack::new().quota(QuotaLayer::new().per_tenant(Quota::per_hour(std::num::NonZeroU32::MIN)))
}

/// Breakers that open on the first failure, and no retries before it.
pub fn touchy() -> Stack {
    let settings = buttress::breaker::Settings { consecutive_failures: 1, ..Default::default() };
    let policy = buttress::breaker::Policy::try_new(settings).unwrap();
    Stack::new().retry(RetryLayer::off()).breaker(BreakerLayer::new(policy))
}
