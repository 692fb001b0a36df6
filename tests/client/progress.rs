//! Progress of the server's: it keeps a call alive, commits it, and reaches the handler that was given to rmcp.

use std::time::Duration;

use buttress::rmcp::client::ClientLayer;
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer,
    model::{
        CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest, ProgressNotificationParam, ProgressToken,
        ServerResult,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    probe::{Probe, TOOL, good, texts},
    rig::{ERAS, SEAMS, Seam, connect, hasty, over_duplex, safe, serve},
    road::Era,
};

/// Says how far it has come, as any rmcp handler does.
async fn say(context: &RequestContext<RoleServer>, progress: f64) {
    let token = context.meta.get_progress_token().expect("rmcp always asks");
    let param = ProgressNotificationParam::new(token, progress).with_total(5.0);
    context.peer.notify_progress(param).await.unwrap();
}

fn slow() -> Probe {
    Probe::new(async |_, context| {
        for n in 1..=5 {
            sleep(Duration::from_millis(800)).await;
            say(&context, f64::from(n)).await;
        }
        good()
    })
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_a_call_alive() {
    for (seam, era) in SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era))) {
        let (rig, _serving) = over_duplex(seam, era, slow(), &ClientLayer::new("up", &hasty())).await;
        let began = Instant::now();
        assert_eq!(texts(&rig.call().await.unwrap()), ["done"], "{seam:?} {era:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_that_stops_ends_a_call() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, context| {
            sleep(Duration::from_millis(600)).await;
            say(&context, 1.0).await;
            std::future::pending().await
        });
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe, &ClientLayer::new("up", &hasty())).await;
        let began = Instant::now();
        assert!(texts(&rig.call().await.unwrap())[0].starts_with("Outcome unknown: "));
        assert_eq!(began.elapsed(), Duration::from_millis(1_600), "{seam:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_something_was_said_is_not_repeated() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, context| {
            say(&context, 1.0).await;
            // rmcp's client hears notifications and answers in tasks of their own, in any order; the wire has one.
            Err(ErrorData::internal_error("no", None))
        });
        let (rig, _serving) = over_duplex(seam, Era::Legacy, probe.clone(), &safe(&hasty())).await;
        rig.call().await.unwrap_err();
        assert_eq!(probe.calls(), 1, "{seam:?}");
    }
}

/// Passes on what it hears.
struct Listener(Era, mpsc::UnboundedSender<(ProgressToken, f64)>);

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::default().with_protocol_version(self.0.version())
    }

    async fn on_progress(&self, said: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.1.send((said.progress_token, said.progress)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_hears_progress_under_the_token_that_rmcp_chose() {
    for seam in SEAMS {
        let (near, far) = tokio::io::duplex(1 << 16);
        let _serving = serve(slow(), far);
        let (said, mut heard) = mpsc::unbounded_channel();
        let layer = ClientLayer::new("up", &hasty());
        let rig = connect(seam, Era::Legacy, Listener(Era::Legacy, said), near, &layer).await;
        let token = match seam {
            Seam::Peer => {
                rig.call().await.unwrap();
                let sent = &rig.sent("tools/call").await[0];
                serde_json::from_value(sent["params"]["_meta"]["progressToken"].clone()).unwrap()
            }
            Seam::Transport => {
                let call = ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new(TOOL)));
                let handle = rig.connection.send_request_with_option(call, PeerRequestOptions::no_options()).await.unwrap();
                let token = handle.progress_token.clone();
                let ServerResult::CallToolResult(_) = handle.await_response().await.unwrap() else { panic!("another result") };
                token
            }
        };
        let mut steps = Vec::new();
        for _ in 1..=5 {
            let (its, step) = heard.recv().await.unwrap();
            assert_eq!(its, token, "{seam:?}");
            steps.push(step);
        }
        assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
