//! Sinks that are slow, tear lines, panic, or outlive the layer.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    sync::mpsc,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::Value;
use tower::{Layer, Service};

use super::{
    AuditLayer, OnFull, Sink,
    tests::{Counted, Memory, Said, echo, known, reason},
};
use crate::{
    call::Request,
    error::Reason,
    testing::{Script, Step},
};

/// A sink that waits for leave to write.
struct Slow(Memory, mpsc::Receiver<()>);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever lets go of the other end lets all through.
        let _leave = self.1.recv();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Slow {}

/// Says that it has been given something to write.
struct Heard(Slow, mpsc::Sender<()>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _nobody_listens = self.1.send(());
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Heard {}

#[tokio::test]
async fn a_full_queue_drops_records_and_not_calls() {
    let counted = Counted::new();
    let (sink, (leave, left)) = (Memory::default(), mpsc::channel());
    let layer = AuditLayer::with_capacity(Slow(sink.clone(), left), NonZeroUsize::new(2).unwrap()).unwrap();
    let (trail, target) = (layer.handle(), known("t"));
    let mut service = layer.layer(echo());
    for _ in 0..5 {
        assert!(service.call(Request::new(target.clone(), Said::default())).await.is_ok());
    }
    // What the writer has in hand counts too, whether it has come by yet or not.
    assert_eq!(trail.backlog(), 2);
    drop(leave);
    trail.flush().await;
    assert!(service.call(Request::new(target, Said::default())).await.is_ok());
    let seqs: Vec<_> = sink.lines(&trail).await.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [0, 1, 5]);
    assert_eq!(counted.take()["buttress_audit_dropped_total:queue_full"], 3);
}

/// Takes some bytes and then fails, once.
struct Tears(Memory, Option<usize>);

impl Write for Tears {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.1 {
            None => self.0.write(bytes),
            Some(0) => {
                self.1 = None;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(most) => {
                let taken = most.min(bytes.len());
                self.1 = Some(most - taken);
                self.0.write(&bytes[..taken])
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Tears {}

#[tokio::test]
async fn what_waits_for_a_sink_that_hangs_is_seen() {
    let recorder = DebuggingRecorder::new();
    let _installed = metrics::set_default_local_recorder(&recorder);
    // Since it was last asked.
    let change = || {
        let all = recorder.snapshotter().snapshot().into_vec();
        let of = all.into_iter().filter(|(key, ..)| key.key().name() == "buttress_audit_backlog");
        let values: Vec<f64> =
            of.map(|(.., value)| if let DebugValue::Gauge(value) = value { value.into_inner() } else { f64::NAN }).collect();
        let [value] = values[..] else { panic!("{values:?}") };
        value
    };
    let ((leave, left), (heard, hears)) = (mpsc::channel(), mpsc::channel());
    let sink = Heard(Slow(Memory::default(), left), heard);
    let layer = AuditLayer::with_capacity(sink, NonZeroUsize::new(3).unwrap()).unwrap();
    let (trail, mut service, target) = (layer.handle(), layer.layer(echo()), known("t"));
    for _ in 0..5 {
        service.call(Request::new(target.clone(), Said::default())).await.unwrap();
    }
    hears.recv().unwrap();
    assert_eq!(change(), 3.0, "what the writer has taken is not written yet; and those that were lost do not wait");
    drop(leave);
    trail.flush().await;
    assert_eq!(change(), -3.0);
}

#[tokio::test]
async fn a_torn_line_takes_no_other_with_it() {
    let counted = Counted::new();
    let sink = Memory::default();
    let layer = AuditLayer::new(Tears(sink.clone(), Some(40))).unwrap();
    let (trail, mut service, target) = (layer.handle(), layer.layer(echo()), known("t"));
    for _ in 0..3 {
        service.call(Request::new(target.clone(), Said::default())).await.unwrap();
        trail.flush().await;
    }
    let text = sink.text();
    let (torn, whole) = text.split_once('\n').unwrap();
    assert_eq!(torn.len(), 40);
    let seqs: Vec<_> = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone()).collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(counted.take()["buttress_audit_dropped_total:write_failed"], 1);
    assert!(!trail.is_failing());
}

/// Panics when it is to write.
struct Bomb;

impl Write for Bomb {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        panic!("planted")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Bomb {}

#[tokio::test]
async fn a_writer_that_is_gone_harms_no_call_and_is_waited_for_by_nobody() {
    let counted = Counted::new();
    let layer = AuditLayer::new(Bomb).unwrap();
    let (trail, mut service, target) = (layer.handle(), layer.layer(echo()), known("t"));
    for _ in 0..3 {
        assert!(service.call(Request::new(target.clone(), Said::default())).await.is_ok());
        trail.flush().await;
    }
    trail.reopen();
    trail.flush().await;
    assert!(trail.is_failing());
    assert_eq!(counted.take()["buttress_audit_dropped_total:writer_gone"], 3);
    let refused = layer.on_full(OnFull::FailClosed).layer(Script::default()).call(Request::new(target, ())).await;
    assert_eq!(reason(&refused), Some(("audit", Reason::Unrecorded)));
}

/// Says when it is dropped.
struct Last(Memory, #[expect(dead_code, reason = "dropped with the sink")] tokio::sync::oneshot::Sender<()>);

impl Write for Last {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Last {}

#[tokio::test]
async fn the_thread_ends_with_the_last_layer_when_all_is_written() {
    let (sink, (told, ended)) = (Memory::default(), tokio::sync::oneshot::channel());
    let layer = AuditLayer::new(Last(sink.clone(), told)).unwrap();
    let (trail, mut service, target) = (layer.handle(), layer.layer(Script::new([Step::Hang])), known("t"));
    drop(layer);
    let running = service.call(Request::new(target.clone(), ()));
    service.call(Request::new(target, ())).await.unwrap();
    drop(service);
    drop(running);
    assert!(ended.await.is_err());
    assert_eq!(sink.lines(&trail).await.len(), 2);
}
