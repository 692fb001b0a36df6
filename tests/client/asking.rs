//! Servers that ask a person while a call runs.

use std::time::Duration;

use buttress::rmcp::client::ClientLayer;
use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation},
    service::RequestContext,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    probe::{Probe, good, texts},
    rig::{SEAMS, connect, hasty, serve},
    road::Era,
};

/// A person who takes a while.
struct Person(Duration);

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("person", "1.0")).with_protocol_version(Era::Legacy.version())
    }

    async fn create_elicitation(&self, _: ElicitRequestParams, _: RequestContext<RoleClient>) -> Result<ElicitResult, ErrorData> {
        sleep(self.0).await;
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }
}

/// A tool that asks, and then hangs for as long.
fn curious(then: Duration) -> Probe {
    Probe::new(move |_, context| async move {
        let question = serde_json::from_value(json!({
            "mode": "form", "message": "Who are you?", "requestedSchema": { "type": "object", "properties": {} },
        }));
        let answer = context.peer.create_elicitation(question.unwrap()).await.unwrap();
        assert_eq!(answer.action, ElicitationAction::Accept);
        sleep(then).await;
        good()
    })
}

#[tokio::test(start_paused = true)]
async fn the_clocks_stand_still_while_a_person_is_asked() {
    let ms = Duration::from_millis;
    // With a soft end after one second and a hard one after ten: answered late, never answered in time, and hung after it.
    for (asks, then, ends, text) in
        [(ms(5_000), ms(900), 5_900, "done"), (ms(60_000), ms(0), 10_000, ""), (ms(5_000), ms(2_000), 6_000, "")]
    {
        for seam in SEAMS {
            let (near, far) = tokio::io::duplex(1 << 16);
            let _serving = serve(curious(then), far);
            let rig = connect(seam, Era::Legacy, Person(asks), near, &ClientLayer::new("up", &hasty())).await;
            let began = Instant::now();
            let answer = rig.call().await.unwrap();
            let expected = if text.is_empty() { "Outcome unknown: " } else { text };
            assert!(texts(&answer)[0].starts_with(expected), "{seam:?} {answer:?}");
            assert_eq!(began.elapsed(), ms(ends), "{seam:?}");
        }
    }
}
