use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::ConcurrencyLayer;
use crate::{
    call::{Admission, Request, Response, Target},
    error::{BoxError, Reason, Rejected},
    testing::{Outcome, Script, Step, tool},
};

fn hang() -> Script {
    Script::new([Step::Hang])
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.as_ref().err()?.downcast_ref().map(Rejected::reason)
}

fn request(target: &Arc<Target>) -> Request<()> {
    Request::new(target.clone(), ())
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_the_order_of_coming() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let service = {
        let order = order.clone();
        service_fn(move |call: Request<u32>| {
            order.lock().unwrap().push(call.params);
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, BoxError>(Response::new(()))
            }
        })
    };
    let service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(9).layer(service);
    let target = tool("t");
    let calls: Vec<_> = (0..10).map(|n| tokio::spawn(service.clone().oneshot(Request::new(target.clone(), n)))).collect();
    let began = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_queue_and_without_leave_to_wait_a_call_is_refused() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(hang());
    let target = tool("t");
    let running = service.call(request(&target));
    let waiting = service.call(request(&target));
    assert_eq!(reason(&service.call(request(&target)).await), Some(Reason::QueueFull));
    let mut retry = request(&target);
    retry.head.admission = Admission::NoWait;
    assert_eq!(reason(&service.call(retry).await), Some(Reason::NoSlot));
    drop(running);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_and_gives_the_place_back() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(hang());
    let target = tool("t");
    let _running = service.call(request(&target));
    for _ in 0..3 {
        let mut late = request(&target);
        late.head.deadline.soft = Some(Instant::now() + Duration::from_secs(2));
        let began = Instant::now();
        assert_eq!(reason(&service.call(late).await), Some(Reason::Deadline));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}

/// What would begin at its deadline could only be cut off at once, and its outcome would not be known.
#[tokio::test(start_paused = true)]
async fn a_slot_that_comes_free_at_the_deadline_comes_too_late() {
    let five = Duration::from_secs(5);
    let script = Script::new([Step::After(five, Ok(Response::new("first")))]);
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).layer(script.clone());
    let target = tool("t");
    let first = service.call(request(&target));
    let mut late = request(&target);
    late.head.deadline.soft = Some(Instant::now() + five);
    let (first, second) = tokio::join!(first, service.call(late));
    assert!(first.is_ok());
    assert_eq!((reason(&second), script.calls()), (Some(Reason::Deadline), 1));
}

#[tokio::test(start_paused = true)]
async fn targets_do_not_take_each_others_slots() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(0).layer(hang());
    let (one, other) = (tool("one"), tool("other"));
    let _running = service.call(request(&one));
    assert!(service.call(request(&other)).await.is_ok());
}

/// Waiting does not eat the attempt's own time.
#[tokio::test(start_paused = true)]
async fn an_attempt_begins_when_it_has_its_slot() {
    let service = service_fn(async |call: Request<()>| {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<_, BoxError>(Response::new(call.head.attempt_at))
    });
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).layer(service);
    let target = tool("t");
    let began = Instant::now();
    let (first, second) = tokio::join!(service.call(request(&target)), service.call(request(&target)));
    assert_eq!(first.unwrap().result, Ok(began));
    assert_eq!(second.unwrap().result, Ok(began + Duration::from_secs(3)));
}
