//! What the layers make of answers that are read from bytes: an error stands within them, and so does what kind of result it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tower::service_fn;

use super::{RawAnswer, RawCall, RawMessage};
use crate::{
    BoxError, Stack, StackService,
    call::{Caller, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    coalesce::CoalesceLayer,
};

/// A stack, what it knows, and how often its server was reached.
struct Served {
    stack: StackService<RawMessage, RawAnswer>,
    catalogue: Catalogue,
    reached: Arc<AtomicUsize>,
}

impl Served {
    /// The server takes a second to say this to its nth call, from 0.
    fn by(stack: Stack, says: impl Fn(usize, &str) -> String + Clone + Send + Sync + 'static) -> Self {
        let reached = Arc::<AtomicUsize>::default();
        let counted = reached.clone();
        let server = service_fn(move |call: Request<RawMessage>| {
            let said = says(counted.fetch_add(1, Ordering::Relaxed), &String::from_utf8_lossy(call.params.bytes()));
            async move {
                sleep(Duration::from_secs(1)).await;
                Ok::<_, BoxError>(Response::new(RawAnswer::parse(format!(r#"{{"jsonrpc":"2.0","id":1,{said}}}"#).into())?))
            }
        });
        let reads = TargetPolicy::default().read_only(true).cache_for(Duration::from_secs(60));
        Self { stack: stack.service(server), catalogue: Catalogue::new("up").tool("t", reads), reached }
    }

    async fn ask(&self, method: &str, params: &str) -> String {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let call = RawCall::parse(message.into()).unwrap();
        let response = self.stack.answer(call.request(&self.catalogue, Caller::default().access_token(b"t"))).await.unwrap();
        String::from_utf8(call.answer(response).to_vec()).unwrap()
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_client_cannot_do_is_not_said_to_another() {
    let served = Served::by(Stack::new().coalesce(CoalesceLayer::new()), |nth, _| match nth {
        0 => r#""error":{"code":-32021,"message":"Missing required client capability"}"#.to_owned(),
        _ => r#""result":{"messages":[]}"#.to_owned(),
    });
    let ask = || served.ask("prompts/get", r#"{"name":"p"}"#);
    let (first, second) = tokio::join!(ask(), ask());
    assert!(first.contains("-32021") && second.contains("messages"), "{first} {second}");
    assert_eq!(served.reached(), 2);
}
