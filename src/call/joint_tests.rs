use std::time::Duration;

use tokio::time::Instant;

use super::{Deadline, Joint};

#[tokio::test(start_paused = true)]
async fn the_latest_deadline_counts_and_none_is_the_latest() {
    let at = |seconds| Deadline { hard: Some(Instant::now() + Duration::from_secs(seconds)), ..Deadline::default() };
    let joint = Joint::new(at(5));
    joint.join(at(3));
    assert_eq!(joint.deadline(), at(5));
    joint.join(at(9));
    assert_eq!(joint.deadline(), at(9));
    joint.join(Deadline::default());
    joint.join(at(20));
    assert_eq!(joint.deadline(), Deadline::default());
}
