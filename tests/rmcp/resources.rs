//! Reads of resources: one sick kind leaves the others alone.

use buttress::{metrics::SERVER_DURATION, rmcp::ServerLayer};
use rmcp::{ErrorData, RoleServer, ServerHandler, model::*, service::RequestContext};
use tower::Layer;

use crate::{
    probe::touchy,
    road::{Client, Era, over_duplex},
    series::Series,
    tape::Tape,
};

/// A server whose logs cannot be read.
struct Library;

impl ServerHandler for Library {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_resources().build())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let listed = ["logs://{day}", "notes://{+name}", "odd://{"].map(|template| ResourceTemplate::new(template, template));
        Ok(ListResourceTemplatesResult::with_all_items(listed.into()))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if params.uri.starts_with("logs:") {
            return Err(ErrorData::internal_error("the disk is on fire", None));
        }
        Ok(ReadResourceResult::new(vec![ResourceContents::text("hello", params.uri)]).into())
    }
}

/// What a read is answered with: 0, or an error's code.
async fn read(client: &Client, uri: &str) -> i32 {
    match client.read_resource(ReadResourceRequestParams::new(uri)).await {
        Ok(_) => 0,
        Err(rmcp::ServiceError::McpError(error)) => error.code.0,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn one_sick_kind_of_resource_leaves_the_others_alone() {
    for era in [Era::Legacy, Era::Modern] {
        let series = Series::new();
        let _recording = series.record();
        let layer = ServerLayer::new("library", &touchy());
        let client = over_duplex(era, layer.layer(Library), &Tape::default()).await;
        client.list_all_resource_templates().await.unwrap();
        assert_eq!((read(&client, "logs://monday").await, read(&client, "logs://tuesday").await), (-32603, 503), "{era:?}");
        assert_eq!((read(&client, "notes://a/b").await, read(&client, "odd://c").await), (0, 0), "{era:?}");
        assert_eq!(series.values("resource_template"), ["logs://{day}", "notes://{+name}"]);
        let calls =
            |template| series.sum(SERVER_DURATION, &[("mcp_method_name", "resources/read"), ("resource_template", template)]);
        assert_eq!(["logs://{day}", "notes://{+name}", ""].map(calls), [2.0, 1.0, 1.0]);
    }
}

#[tokio::test]
async fn templates_that_nobody_has_listed_share_one_entry() {
    let layer = ServerLayer::new("library", &touchy());
    let client = over_duplex(Era::Modern, layer.layer(Library), &Tape::default()).await;
    assert_eq!((read(&client, "logs://monday").await, read(&client, "notes://a/b").await), (-32603, 503));
}
