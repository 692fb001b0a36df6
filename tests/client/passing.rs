//! What passes by the stack around a transport: it is recorded and counted, and never refused for its own sake.

use buttress::{
    Stack,
    metrics::{CLIENT_DURATION, IN_FLIGHT, REJECTIONS, SERVER_DURATION, SUBSCRIPTIONS},
    rmcp::client::ClientLayer,
};
use rmcp::{
    ErrorData, ServerHandler,
    model::{ErrorCode, ServerCapabilities, ServerConfig, SubscriptionFilter},
    service::{ServiceError, SubscriptionContext},
};

use crate::{
    probe::{Probe, good},
    rig::{ERAS, Rig, Seam, over_duplex},
    road::Era,
    series::Series,
    tape::soon,
};

#[tokio::test(start_paused = true)]
async fn a_handshake_is_recorded() {
    for era in ERAS {
        let series = Series::new();
        let _recording = series.record();
        let probe = Probe::new(async |_, _| good());
        let (_rig, _serving) = over_duplex(Seam::Transport, era, probe, &ClientLayer::new("up", &Stack::new())).await;
        let method = if era == Era::Legacy { "initialize" } else { "server/discover" };
        for metric in [SERVER_DURATION, CLIENT_DURATION] {
            let labels = [("mcp_method_name", method), ("error_type", "")];
            assert!(series.sum(metric, &labels) == 1.0, "{era:?} {}", metric.name);
        }
        assert!(series.sum(IN_FLIGHT, &[]) == 0.0);
    }
}

/// Listens until nobody does.
#[derive(Clone)]
struct News;

impl ServerHandler for News {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        context.cancelled().await;
        Ok(())
    }
}

#[tokio::test]
async fn subscriptions_are_counted_up_to_their_cap() {
    let series = Series::new();
    let _recording = series.record();
    let layer = ClientLayer::new("up", &Stack::new()).subscriptions(1);
    let (rig, _serving) = over_duplex(Seam::Transport, Era::Modern, News, &layer).await;
    let listen = async |rig: &Rig| rig.connection.listen(SubscriptionFilter::builder().tools_list_changed().build()).await;
    let mut first = soon(listen(&rig)).await.unwrap();
    assert!(series.sum(SUBSCRIPTIONS, &[]) == 1.0);
    match soon(listen(&rig)).await.map(drop) {
        Err(ServiceError::McpError(error)) => assert_eq!(error.code, ErrorCode(503), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert!(series.sum(REJECTIONS, &[("layer", "subscriptions")]) == 1.0);
    first.cancel().await.unwrap();
    let _second = soon(listen(&rig)).await.unwrap();
    assert!(series.sum(SUBSCRIPTIONS, &[]) == 1.0);
}
