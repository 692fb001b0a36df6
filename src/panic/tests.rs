use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tower::{Layer, ServiceExt, service_fn};

use super::PanicLayer;
use crate::{
    call::{Request, Response},
    error::{BoxError, Panicked},
    testing::tool,
};

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_panic_while_polled_is_an_error_and_the_future_is_dropped_at_once() {
    let dropped = Arc::new(AtomicBool::new(false));
    let held = SetOnDrop(dropped.clone());
    let mut held = Some(held);
    let handler = service_fn(move |_: Request<()>| {
        let held = held.take();
        async move {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("as handlers do");
            #[expect(unreachable_code, reason = "tells the type of the answer")]
            Ok::<Response<()>, BoxError>(Response::new(()))
        }
    });
    let mut call = Box::pin(PanicLayer::new().layer(handler).oneshot(Request::new(tool("t"), ())));
    assert!(call.as_mut().await.unwrap_err().is::<Panicked>());
    // The call's own future is still there; the handler's is not.
    assert!(dropped.load(Ordering::Relaxed));
    drop(call);
}

#[tokio::test]
async fn a_panic_before_there_is_a_future_is_an_error_too() {
    let handler = service_fn(|call: Request<u32>| {
        let quotient = 12 / call.params;
        async move { Ok::<_, BoxError>(Response::new(quotient)) }
    });
    let service = PanicLayer::new().layer(handler);
    let error = service.clone().oneshot(Request::new(tool("t"), 0)).await.unwrap_err();
    assert!(error.is::<Panicked>());
    assert_eq!(service.oneshot(Request::new(tool("t"), 3)).await.unwrap().result, Ok(4));
}
