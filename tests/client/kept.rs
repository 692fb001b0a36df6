//! Answers that are kept: whose they are, and how the server takes them back.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use buttress::{
    Stack,
    cache::CacheLayer,
    call::{Annotations, Method, TargetPolicy},
    catalogue::{Catalogue, Scope},
    rmcp::client::ClientLayer,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, ClientRequest, ListToolsRequest, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        ServerResult,
    },
    service::RequestContext,
};

use crate::{
    probe::{Probe, TOOL, good, texts},
    rig::{ERAS, Rig, SEAMS, Seam, over_duplex},
    road::Era,
};

fn keeping(catalogue: Catalogue) -> ClientLayer {
    let cache = CacheLayer::new(NonZeroU64::new(1 << 20).unwrap()).single_caller();
    ClientLayer::with_catalogue(Arc::new(catalogue), &Stack::new().cache(cache)).unwrap()
}

/// A server that lists nothing, for a minute; counts how often it was asked; and says at each second time that it has changed.
#[derive(Clone, Default)]
struct Lister(Arc<AtomicU32>);

impl ServerHandler for Lister {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.0.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            // Heard before the answer, which is then of nobody knows when.
            let _ = context.peer.notify_tool_list_changed().await;
        }
        Ok(ListToolsResult::with_all_items(vec![]).with_ttl_ms(60_000).with_cache_scope(CacheScope::Public))
    }
}

/// Lists the tools, past what rmcp itself keeps.
async fn list(rig: &Rig) {
    let request = ClientRequest::ListToolsRequest(ListToolsRequest::default());
    let listed = match &rig.client {
        Some(client) => client.request(request).await,
        None => rig.connection.peer().send_request(request).await,
    };
    assert!(matches!(listed, Ok(ServerResult::ListToolsResult(_))), "{listed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_the_server_says_has_changed_is_asked_for_again() {
    for seam in SEAMS {
        let server = Lister::default();
        let asked = || server.0.load(Ordering::SeqCst);
        let layer = keeping(Catalogue::new("up"));
        let (one, _serving) = over_duplex(seam, Era::Legacy, server.clone(), &layer).await;
        let (other, _serving) = over_duplex(seam, Era::Legacy, server.clone(), &layer).await;
        list(&one).await;
        list(&one).await;
        list(&other).await;
        assert_eq!(asked(), 1, "{seam:?}: what is public is kept for every connection");
        // This time a notification comes along.
        let past = ClientRequest::ListToolsRequest(ListToolsRequest::default());
        match seam {
            Seam::Peer => drop(one.connection.peer().send_request(past).await.unwrap()),
            Seam::Transport => {
                tokio::time::advance(Duration::from_secs(60)).await;
                list(&one).await;
            }
        }
        assert_eq!(asked(), 2);
        list(&one).await;
        assert_eq!(asked(), 3, "{seam:?}");
        list(&other).await;
        assert_eq!(asked(), 3, "{seam:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_said_in_one_revision_or_older_session_is_not_said_in_another() {
    for seam in SEAMS {
        let server = Probe::new(async |_, _| good()).read_only();
        let minute = TargetPolicy::default().cache_for(Duration::from_secs(60));
        let catalogue = Catalogue::new("up").tool(TOOL, minute).trust_annotations();
        let reads = Annotations::default().read_only(true);
        catalogue.learn(&Method::ToolsCall, Scope::Public, [(TOOL, reads)]);
        let layer = keeping(catalogue);
        let mut calls = Vec::new();
        for era in ERAS {
            for _session in 0..2 {
                let (rig, _serving) = over_duplex(seam, era, server.clone(), &layer).await;
                for _again in 0..2 {
                    assert_eq!(texts(&rig.call().await.unwrap()), ["done"]);
                }
                calls.push(server.calls());
            }
        }
        assert_eq!(calls, [1, 2, 3, 3], "{seam:?}: {ERAS:?}, two connections each");
    }
}
