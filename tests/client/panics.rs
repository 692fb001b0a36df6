//! A panic of what the operator has added ends the call that it belongs to, and no other.

use std::sync::Arc;

use buttress::{
    Stack,
    call::{Failure, TargetPolicy, Word},
    catalogue::Catalogue,
    retry::{Backoff, MakeBackoff, RetryLayer},
    rmcp::client::ClientLayer,
};
use tokio::sync::Notify;

use crate::{
    probe::{Probe, TOOL, failed, good},
    rig::{Seam, over_duplex},
    road::Era,
};

struct Panics;

impl MakeBackoff for Panics {
    fn make_backoff(&self) -> Box<dyn Backoff> {
        std::panic::resume_unwind(Box::new("of the operator's own"))
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_under_way_on_the_connection_go_on() {
    let answer = Arc::new(Notify::new());
    let probe = Probe::new({
        let answer = answer.clone();
        move |nth, _| {
            let answer = answer.clone();
            async move {
                if nth == 1 {
                    answer.notified().await;
                    return good();
                }
                failed()
            }
        }
    });
    let policy = TargetPolicy::default().judge_errors(|_: &Failure<'_>| Some(Word::NotSent));
    let stack = Stack::new().retry(RetryLayer::default().backoff(Panics));
    let layer = ClientLayer::with_catalogue(Arc::new(Catalogue::new("up").tool(TOOL, policy)), &stack).unwrap();
    let (rig, _serving) = over_duplex(Seam::Transport, Era::Legacy, probe, &layer).await;
    let (first, second) = tokio::join!(rig.call(), async {
        rig.until_sent("tools/call", 1).await;
        let second = rig.call().await;
        answer.notify_one();
        second
    });
    assert!(second.unwrap_err().to_string().contains("the client failed on this call"));
    assert!(first.is_ok(), "{first:?}");
}
