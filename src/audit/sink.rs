//! Where records go.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// Where records go: whole lines, written by one thread that may block.
///
/// `io::Stdout` is none on purpose: over stdio, standard output is the protocol's. For a writer of your own, an empty `impl`
/// will do.
pub trait Sink: io::Write + Send + 'static {
    /// Begins anew where this sink writes to, after [`AuditHandle::reopen`](super::AuditHandle::reopen).
    ///
    /// # Errors
    ///
    /// Whatever keeps it from doing so; it then goes on as before.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stderr {}
impl Sink for io::Sink {}

/// A file that is only ever appended to. On Unix, a new one can be read by its owner alone (0600); one that is there keeps its
/// mode.
///
/// To rotate it, move it away and ask for it to be [reopened](super::AuditHandle::reopen).
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    /// The file at this path, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// That of opening it; and [`InvalidInput`](io::ErrorKind::InvalidInput) where it is this process's standard output, by
    /// whatever name (Unix).
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = open(&path)?;
        Ok(Self { path, file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if is_stdout(&file)? {
        let what = format!("{} is the standard output, which may be the protocol's", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(file)
}

#[cfg(unix)]
fn is_stdout(file: &File) -> io::Result<bool> {
    use std::os::{fd::AsFd, unix::fs::MetadataExt};

    // Closed, it is nobody's.
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned().map(File::from) else { return Ok(false) };
    let (one, other) = (file.metadata()?, stdout.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

impl io::Write for FileSink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.file.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for FileSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }
}
