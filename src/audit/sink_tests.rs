use std::{fs, io};

use tower::{Layer, Service};

use super::{AuditLayer, FileSink};
use crate::{
    call::{Request, Response},
    error::BoxError,
    testing::tool,
};

#[tokio::test]
async fn a_file_is_appended_to_and_reopened() {
    let directory = std::env::temp_dir().join(format!("buttress-audit-{:x}", fastrand::u64(..)));
    fs::create_dir(&directory).unwrap();
    let (path, moved) = (directory.join("audit.jsonl"), directory.join("audit.1.jsonl"));
    fs::write(&path, "older\n").unwrap();
    let layer = AuditLayer::new(FileSink::open(&path).unwrap()).unwrap();
    let (trail, mut service, target) =
        (layer.handle(), layer.layer(tower::service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())))), tool("t"));
    let mut call = async || {
        service.call(Request::new(target.clone(), ())).await.unwrap();
        trail.flush().await;
    };
    call().await;
    fs::rename(&path, &moved).unwrap();
    call().await;
    trail.reopen();
    call().await;
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&moved), lines(&path)), (3, 1));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    // Where it cannot be reopened, it goes on.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    trail.reopen();
    call().await;
    assert!(!trail.is_failing());
    fs::remove_dir_all(&directory).unwrap();
}

#[cfg(unix)]
#[test]
fn the_standard_output_is_refused_by_whatever_name() {
    use std::os::fd::AsRawFd;

    assert!(FileSink::open("/dev/stdout").is_err());
    assert!(FileSink::open(format!("/dev/fd/{}", io::stdout().as_raw_fd())).is_err());
}
