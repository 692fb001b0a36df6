//! A disk for the audit trail that loses a record now and then, so that one can see that it is noticed.

use std::io::{self, Write};

use buttress::audit::{FileSink, Sink};

/// One write in so many fails.
const FAILS: u32 = 1000;

pub struct FlakyDisk {
    file: FileSink,
    writes: u32,
}

impl FlakyDisk {
    pub const fn new(file: FileSink) -> Self {
        Self { file, writes: 0 }
    }
}

impl Write for FlakyDisk {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writes = self.writes.wrapping_add(1);
        if self.writes.is_multiple_of(FAILS) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for FlakyDisk {}
