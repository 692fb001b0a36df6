//! The thread that writes.

use std::{io, sync::Arc, thread};

use super::{
    Sink,
    entry::Entry,
    layer::{Handles, lost},
    line,
    queue::{Lost, Numbered, Queue},
};
use crate::call::Slot;

/// How many records are written at once.
const BATCH: usize = 256;

/// Starts the thread. It ends when the queue is closed and empty.
pub(super) fn spawn(queue: Arc<Queue<Box<Entry>>>, sink: impl Sink, slot: Slot<Handles>) -> io::Result<()> {
    thread::Builder::new().name("buttress-audit".to_owned()).spawn(move || {
        let mut hand = Hand { queue: &queue, batch: Vec::with_capacity(BATCH), slot };
        let mut writer = Writer { sink, lines: Vec::new(), ends: Vec::new(), torn: false, failing: false };
        while let Some(orders) = queue.take(&mut hand.batch, BATCH) {
            if orders.reopen {
                writer.reopen();
            }
            let works = (!hand.batch.is_empty()).then(|| {
                let written = writer.write(&hand.batch);
                hand.batch.drain(..written);
                hand.lose(Lost::WriteFailed);
                !writer.failing
            });
            queue.settle(&orders, works);
        }
    })?;
    Ok(())
}

/// What the thread has in hand. Also where a sink panics, it is accounted for, and nobody waits for a writer that is gone.
struct Hand<'a> {
    queue: &'a Queue<Box<Entry>>,
    batch: Vec<Numbered<Box<Entry>>>,
    slot: Slot<Handles>,
}

impl Hand<'_> {
    fn lose(&mut self, why: Lost) {
        for (_, entry) in self.batch.drain(..) {
            lost(&entry, self.slot, why);
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("audit records are lost from now on: the writer has panicked");
        }
        self.batch.extend(self.queue.end());
        self.lose(Lost::WriterGone);
        self.queue.settle_all();
    }
}

struct Writer<K> {
    sink: K,
    lines: Vec<u8>,
    /// Where each record of the batch ends in `lines`.
    ends: Vec<usize>,
    /// Whether the last thing written is a part of a line.
    torn: bool,
    failing: bool,
}

impl<K: Sink> Writer<K> {
    /// Writes a batch; says how many records of it are out.
    fn write(&mut self, batch: &[Numbered<Box<Entry>>]) -> usize {
        self.lines.clear();
        self.ends.clear();
        if self.torn {
            // What was torn stays unreadable, and takes no other line with it.
            self.lines.push(b'\n');
        }
        for (number, entry) in batch {
            line::write(*number, entry, &mut self.lines);
            self.ends.push(self.lines.len());
        }
        let (out, result) = self.put();
        if out > 0 {
            self.torn = self.lines[out - 1] != b'\n';
        }
        match result {
            Err(error) if !self.failing => {
                tracing::error!(%error, "audit records are lost: the write failed");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                tracing::info!("audit records are written again");
                self.failing = false;
            }
            _ => {}
        }
        self.ends.iter().take_while(|end| **end <= out).count()
    }

    /// Writes all lines as far as it can: how many bytes are out, and what stopped it.
    fn put(&mut self) -> (usize, io::Result<()>) {
        let mut out = 0;
        while out < self.lines.len() {
            match self.sink.write(&self.lines[out..]) {
                Ok(0) => return (out, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => out += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (out, Err(error)),
            }
        }
        match self.sink.flush() {
            Ok(()) => (out, Ok(())),
            // Nobody knows how much of it is out.
            Err(error) => (0, Err(error)),
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => self.torn = false,
            Err(error) => tracing::error!(%error, "the audit trail cannot be reopened, and goes on where it was"),
        }
    }
}
