use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};

use super::AttemptLayer;
use crate::{
    call::{ErrorObject, Request, Response, Verdict, Word},
    error::BoxError,
    metrics::CLIENT_DURATION,
    outcome,
    testing::{Script, Step, tool},
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

#[tokio::test(start_paused = true)]
async fn how_long_each_attempt_took_is_recorded_by_how_it_ended() {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let second = Duration::from_secs(1);
    let handler = Script::new([Step::After(second, Ok(Response::new("done"))), Step::Hang]);
    let (service, target) = (AttemptLayer::new().layer(handler), tool("t"));
    service.clone().oneshot(Request::new(target.clone(), ())).await.unwrap();
    timeout(2 * second, service.oneshot(Request::new(target, ()))).await.unwrap_err();
    let took = |error: &str| -> Vec<f64> {
        let labelled = |key: &metrics::Key| key.labels().any(|label| label.key() == "error_type" && label.value() == error);
        let all = recorder.snapshotter().snapshot().into_vec().into_iter();
        let mut of = all.filter(|(key, ..)| key.key().name() == CLIENT_DURATION.name && labelled(key.key()));
        match of.next() {
            Some((.., DebugValue::Histogram(samples))) => samples.into_iter().map(|sample| sample.into_inner()).collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(took("cancelled"), [2.0]);
}
