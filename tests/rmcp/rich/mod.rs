//! A server that implements every method of rmcp's `ServerHandler`, keeps no state, and writes down how it is called.

mod parts;
mod tools;

use std::borrow::Cow;

use http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::*,
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde::Serialize;
use serde_json::{Value, json};

use self::parts::{answered, ask, skill};
use crate::tape::{Tape, Who};

pub use self::tools::TOOLS;

/// The resource that can be read, subscribed to and listened to.
pub const NOTES: &str = "rich://notes";
/// A subscription to this resource ends only when the client ends it.
pub const ENDLESS: &str = "rich://endless";
/// The skill that it serves.
pub const SKILL: &str = "skill://knots/SKILL.md";

#[derive(Clone)]
pub struct Rich {
    tape: Tape,
}

impl Rich {
    pub fn new(tape: Tape) -> Self {
        Self { tape }
    }

    /// Writes down how a request came, with all that a wrapper might lose on the way.
    fn called(&self, method: &str, params: impl Serialize, context: &RequestContext<RoleServer>) {
        let called = json!({
            "method": method,
            "params": params,
            "id": context.id,
            "meta": context.meta,
            "version": context.protocol_version().map(|version| version.to_string()),
            "client": context.client_info(),
            "capabilities": context.client_capabilities(),
            "http": context.extensions.get::<Parts>().map(|parts| parts.method.as_str()),
            "cancelled": context.ct.is_cancelled(),
        });
        self.tape.write(Who::Handler, &called);
    }

    fn notified(&self, method: &str, params: impl Serialize, context: &NotificationContext<RoleServer>) {
        let notified = json!({ "method": method, "params": params, "meta": context.meta });
        self.tape.write(Who::Handler, &notified);
    }
}

impl ServerHandler for Rich {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("rich", "1.2.3").with_title("Rich"))
            .with_instructions("Ask for anything.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28])
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn initialize(
        &self,
        params: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        self.called("initialize", &params, &context);
        context.peer.set_peer_info(params.clone());
        self.negotiate_initialize(&params)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        self.called("discover", (), &context);
        Ok(DiscoverResult::from_server_info(ServerHandler::supported_protocol_versions(self).into_owned(), self.get_info())
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Public))
    }

    async fn ping(&self, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("ping", (), &context);
        Ok(())
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.called("complete", &params, &context);
        Ok(CompleteResult::new(CompletionInfo::with_pagination(vec!["bowline".into()], Some(9), true).unwrap()))
    }

    async fn set_level(&self, params: SetLevelRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("set_level", &params, &context);
        let word = LoggingMessageNotificationParam::new(params.level, json!("at this level")).with_logger("rich");
        context.peer.notify_logging_message(word).await.map_err(tools::lost)
    }

    async fn list_prompts(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.called("list_prompts", &params, &context);
        let prompt =
            |name: &str| Prompt::new(name, Some("A prompt."), Some(vec![PromptArgument::new("city").with_required(true)]));
        Ok(ListPromptsResult::with_all_items(vec![prompt("greet"), prompt("ask")]).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.called("get_prompt", &params, &context);
        let messages = |text: String| GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into();
        match &*params.name {
            "greet" => Ok(messages(json!(params.arguments).to_string())),
            "ask" => Ok(answered(params.input_responses, params.request_state).map_or_else(|| ask().into(), messages)),
            _ => Err(ErrorData::invalid_params("no such prompt", None)),
        }
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.called("list_resources", &params, &context);
        let mut page = ListResourcesResult::with_all_items(vec![Resource::new(NOTES, "notes").with_mime_type("text/plain")]);
        page.next_cursor = params.is_none().then(|| "page 2".into());
        Ok(page.with_ttl_ms(0))
    }

    async fn list_resource_templates(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.called("list_resource_templates", &params, &context);
        Ok(ListResourceTemplatesResult::with_all_items(vec![ResourceTemplate::new("rich://{name}", "any")]))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.called("read_resource", &params, &context);
        let text = |text: String| ReadResourceResult::new(vec![ResourceContents::text(text, NOTES)]).into();
        match &*params.uri {
            NOTES => Ok(text("a note".into())),
            "rich://ask" => Ok(answered(params.input_responses, params.request_state).map_or_else(|| ask().into(), text)),
            // rmcp spells this code differently in each era.
            uri => Err(ErrorData::resource_not_found("no such resource", Some(json!({ "uri": uri })))),
        }
    }

    async fn subscribe(&self, params: SubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("subscribe", &params, &context);
        context.peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(params.uri)).await.map_err(tools::lost)
    }

    async fn unsubscribe(&self, params: UnsubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("unsubscribe", &params, &context);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        // Prompts are left out on purpose: the acknowledgement has to say so.
        let mut accepted = requested.clone();
        accepted.prompts_list_changed = None;
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.called("listen", context.accepted(), context.request_context());
        let sink = context.sink();
        sink.notify_tool_list_changed().await.map_err(tools::lost)?;
        sink.notify_resource_list_changed().await.map_err(tools::lost)?;
        if sink.accepted().resource_subscriptions.iter().flatten().any(|uri| uri == ENDLESS) {
            sink.notify_resource_updated(ENDLESS).await.map_err(tools::lost)?;
            context.cancelled().await;
            self.called("listen_cancelled", (), context.request_context());
        }
        Ok(())
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.called("list_tools", &params, &context);
        Ok(ListToolsResult::with_all_items(tools::all()).with_ttl_ms(60_000).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.called("call_tool", &params, &context);
        tools::call(params, context, &self.tape).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        self.called("on_custom_request", (&request.method, &request.params), &context);
        match &*request.method {
            "rich/echo" => Ok(CustomResult::new(json!({ "echo": request.params }))),
            _ => Err(ErrorData::new(ErrorCode(4711), "not that one", Some(Value::from(request.method)))),
        }
    }

    async fn get_task(&self, params: GetTaskParams, context: RequestContext<RoleServer>) -> Result<GetTaskResult, ErrorData> {
        self.called("get_task", &params, &context);
        let done = TaskPayload::Completed { result: object(json!({ "content": [], "isError": false })) };
        Ok(GetTaskResult::new(DetailedTask::new(tools::task(), done)))
    }

    async fn update_task(&self, params: UpdateTaskParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("update_task", &params, &context);
        Ok(())
    }

    async fn cancel_task(&self, params: CancelTaskParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.called("cancel_task", &params, &context);
        Ok(())
    }

    async fn list_skills(
        &self,
        params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        self.called("list_skills", &params, &context);
        Ok(ListSkillsResult::with_all_items(vec![skill()]))
    }

    async fn get_skill(
        &self,
        params: GetSkillRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        self.called("get_skill", &params, &context);
        Ok(GetSkillResult::new(skill()).with_ttl_ms(5))
    }

    async fn read_resource_directory(
        &self,
        params: ReadResourceDirectoryRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        self.called("read_resource_directory", &params, &context);
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(SKILL, "SKILL.md")]))
    }

    async fn on_cancelled(&self, params: CancelledNotificationParam, context: NotificationContext<RoleServer>) {
        self.notified("on_cancelled", &params, &context);
    }

    async fn on_progress(&self, params: ProgressNotificationParam, context: NotificationContext<RoleServer>) {
        self.notified("on_progress", &params, &context);
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.notified("on_initialized", (), &context);
    }

    async fn on_roots_list_changed(&self, context: NotificationContext<RoleServer>) {
        self.notified("on_roots_list_changed", (), &context);
    }

    async fn on_custom_notification(&self, notification: CustomNotification, context: NotificationContext<RoleServer>) {
        self.notified("on_custom_notification", (&notification.method, &notification.params), &context);
    }
}
