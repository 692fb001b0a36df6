use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{Asking, Notify, Peer, Progress};
use crate::error::BoxError;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<f64>>>);

impl Notify for Heard {
    fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        self.0.lock().unwrap().push(progress.progress);
        Box::pin(std::future::ready(Ok(())))
    }
}

fn step(progress: f64) -> Progress {
    Progress { progress, total: None, message: None }
}

#[tokio::test(start_paused = true)]
async fn a_dead_attempt_is_not_heard_and_progress_only_grows() {
    let heard = Heard::default();
    let first = Peer::new(heard.clone());
    assert_eq!((first.is_committed(), first.last_progress()), (false, None));

    tokio::time::advance(Duration::from_secs(3)).await;
    first.progress(step(2.0)).await.unwrap();
    assert!(first.is_committed());
    assert_eq!(first.last_progress(), Some(Instant::now()));

    let second = first.next_attempt();
    first.progress(step(9.0)).await.unwrap();
    second.progress(step(1.0)).await.unwrap();
    second.progress(step(f64::NAN)).await.unwrap();
    second.progress(step(3.0)).await.unwrap();
    second.silence();
    second.progress(step(4.0)).await.unwrap();
    assert_eq!(*heard.0.lock().unwrap(), [2.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn the_clocks_stand_still_while_anything_is_asked() {
    let s = Duration::from_secs;
    let peer = Peer::unheard();
    let one = peer.ask();
    assert!(peer.is_committed());
    tokio::time::advance(s(1)).await;
    let other = peer.ask();
    tokio::time::advance(s(2)).await;
    drop(one);
    tokio::time::advance(s(4)).await;
    assert!(peer.is_asking(Waker::noop()));
    assert_eq!(peer.stood_still().0, s(7));
    drop(other);
    tokio::time::advance(s(8)).await;
    assert!(!peer.is_asking(Waker::noop()));
    assert_eq!(peer.stood_still().0, s(7));
    drop(peer.ask());
    assert_eq!(peer.stood_still().0, s(7));
}

#[tokio::test(start_paused = true)]
async fn the_last_progress_moves_with_clocks_that_stood_still_since() {
    let peer = Peer::new(Heard::default());
    drop_after(peer.ask(), 3).await;
    peer.progress(step(1.0)).await.unwrap();
    let heard = Instant::now();
    drop_after(peer.ask(), 5).await;
    assert_eq!(peer.stood_still().1, Some(heard + Duration::from_secs(5)));
}

/// A handler's own task may outlive its attempt.
#[tokio::test(start_paused = true)]
async fn a_dead_attempt_neither_asks_nor_commits() {
    let first = Peer::unheard();
    first.silence();
    let second = first.next_attempt();
    first.commit();
    let asking = first.ask();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(!second.is_committed() && !second.is_asking(Waker::noop()));
    assert_eq!(second.stood_still().0, Duration::ZERO);
    let own = second.ask();
    drop(asking);
    assert!(second.is_asking(Waker::noop()), "what never was a question ends none");
    drop(own);
    assert!(!second.is_asking(Waker::noop()));
}

/// The wire is read by one task, which asks once and reads on.
#[tokio::test]
async fn a_step_that_finds_nobody_before_it_is_told_at_once() {
    let heard = Heard::default();
    let peer = Peer::new(heard.clone());
    // The runtime's patience is at its end.
    while tokio::task::consume_budget().now_or_never().is_some() {}
    assert!(peer.progress(step(1.0)).now_or_never().is_some());
    assert_eq!(*heard.0.lock().unwrap(), [1.0]);
}

/// A transport that takes the longer for a step the smaller it is.
struct Slow(Heard);

impl Notify for Slow {
    fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(10).div_f64(progress.progress)).await;
            self.0.progress(progress).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_told_at_once_arrive_in_their_order_and_none_after_the_end() {
    let heard = Heard::default();
    let peer = Peer::new(Slow(heard.clone()));
    let (one, two) = tokio::join!(peer.progress(step(1.0)), peer.progress(step(2.0)));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(*heard.0.lock().unwrap(), [1.0, 2.0]);
    let late = tokio::spawn({
        let peer = peer.clone();
        async move { peer.progress(step(5.0)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.silence();
    late.await.unwrap().unwrap();
    assert_eq!(*heard.0.lock().unwrap(), [1.0, 2.0]);
}

async fn drop_after(asking: Asking, seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
    drop(asking);
}
