use std::time::Duration;

use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::AttemptLayer;
use crate::{
    call::{ErrorObject, Request, Response, Verdict, Word},
    error::BoxError,
    outcome,
    testing::tool,
};

async fn classified(response: Response<()>, said: Option<Word>) -> Response<()> {
    let handler = service_fn(move |_: Request<()>| {
        let response = response.clone();
        async move {
            match said {
                Some(Word::Throttled { retry_after }) => outcome::throttled(retry_after),
                Some(Word::NotSent) => outcome::not_sent(),
                Some(Word::Ambiguous) => outcome::ambiguous(),
                None => {}
            }
            // Another poll, on which the word is still known.
            sleep(Duration::from_secs(1)).await;
            Ok::<_, BoxError>(response)
        }
    });
    AttemptLayer::new().layer(handler).oneshot(Request::new(tool("t"), ())).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_judged_by_the_handlers_word_then_by_its_look() {
    let began = Instant::now();
    let plain = classified(Response::new(()), None).await;
    assert_eq!(plain.verdict, Some(Verdict::Ok));
    assert_eq!(plain.completed, Some(began + Duration::from_secs(1)));
    let error = || Response::from_error(ErrorObject::new(-32603, "failed"));
    assert_eq!(classified(error(), None).await.verdict, Some(Verdict::AMBIGUOUS));
    let throttled = Word::Throttled { retry_after: Some(Duration::from_secs(2)) };
    assert_eq!(classified(error(), Some(throttled)).await.verdict, Some(throttled.verdict()));
    assert_eq!(classified(Response::new(()), Some(Word::NotSent)).await.verdict, Some(Verdict::NotSent));
    // The response's own word is the last one said; but doubt outlasts it.
    let says = |word| Response::new(()).with_word(word);
    assert_eq!(classified(says(Word::NotSent), Some(throttled)).await.verdict, Some(Verdict::NotSent));
    assert_eq!(classified(says(Word::NotSent), Some(Word::Ambiguous)).await.verdict, Some(Verdict::AMBIGUOUS));
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_on_one_thread_do_not_hear_each_other() {
    let (one, other) = tokio::join!(classified(Response::new(()), Some(Word::NotSent)), classified(Response::new(()), None));
    assert_eq!((one.verdict, other.verdict), (Some(Verdict::NotSent), Some(Verdict::Ok)));
}
