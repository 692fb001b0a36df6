//! The client's side: answers what a server asks, always in the same words.

use rmcp::{ClientHandler, ErrorData, RoleClient, model::*, service::RequestContext};
use serde_json::json;

#[derive(Clone)]
pub struct Caller(pub ProtocolVersion);

impl ClientHandler for Caller {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_elicitation()
            .enable_roots()
            .enable_roots_list_changed()
            .enable_sampling()
            .enable_tasks()
            .build();
        ClientConfig::new(capabilities, Implementation::new("caller", "0.9")).with_protocol_version(self.0.clone())
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let word = format!("a word in {} tokens", params.max_tokens);
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(word), "model-1".into()).with_stop_reason("endTurn"))
    }

    async fn create_elicitation(&self, _: ElicitRequestParams, _: RequestContext<RoleClient>) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new("file:///home/ada").with_name("home")]))
    }

    async fn on_custom_request(&self, request: CustomRequest, _: RequestContext<RoleClient>) -> Result<CustomResult, ErrorData> {
        Ok(CustomResult::new(json!({ "back": request.params })))
    }
}
