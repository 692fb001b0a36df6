//! A stack on both sides.

use buttress::{Stack, call::TIMEOUT_KEY, rmcp::ServerLayer};
use rmcp::ErrorData;
use tokio::sync::mpsc;
use tower::Layer;

use crate::{
    probe::{Probe, good},
    rig::{SEAMS, hasty, over_duplex, safe},
    road::Era,
};

/// Who repeats is the outer one: its mark says so.
#[tokio::test(start_paused = true)]
async fn two_stacks_do_not_multiply_their_attempts() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| Err(ErrorData::internal_error("down", None))).read_only();
        let server = ServerLayer::new("probe", &Stack::new()).layer(probe.clone());
        let (rig, _serving) = over_duplex(seam, Era::Legacy, server, &safe(&Stack::new())).await;
        rig.call().await.unwrap_err();
        assert_eq!(probe.calls(), 3, "{seam:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_knows_how_long_its_caller_will_wait() {
    for seam in SEAMS {
        let (said, mut left) = mpsc::unbounded_channel();
        let probe = Probe::new(move |_, context| {
            said.send(context.meta.0.0[TIMEOUT_KEY].as_u64()).unwrap();
            async { good() }
        });
        let server = ServerLayer::new("probe", &Stack::new()).layer(probe);
        let (rig, _serving) = over_duplex(seam, Era::Modern, server, &safe(&hasty())).await;
        rig.call().await.unwrap();
        assert_eq!(left.recv().await, Some(Some(1_000)), "{seam:?}");
    }
}
