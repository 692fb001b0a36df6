//! Waiting for conditions, never for times.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Only a safety net: what takes this long will never come.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks.
pub const TICK: Duration = Duration::from_millis(5);

/// Waits for `future`, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Looks until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(TICK).await;
        }
    })
    .await
}
