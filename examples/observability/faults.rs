//! What goes wrong, and when: in rounds of forty seconds, so that every layer has something to do in each.

use std::time::Duration;

use buttress::fault::{Fault, FaultHandle, Lost, Plan, Trouble, TroubleError};
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

/// What any backend does now and then.
fn weekday() -> Result<Trouble, TroubleError> {
    let throttled = Fault::Throttled { retry_after: Some(200 * MS) };
    let faults = [
        (throttled, 0.02),
        (Fault::Reset(Lost::Request), 0.01),
        (Fault::Unavailable(Lost::Answer), 0.02),
        (Fault::Hang(Lost::Request), 0.004),
        (Fault::Panic(Lost::Request), 0.004),
    ];
    Trouble::new(faults)?.slow(0.03, 300 * MS, 900 * MS)
}

/// The radar fails, and what it still makes takes long.
fn radar_is_sick() -> Result<Plan, TroubleError> {
    let sick = Trouble::new([(Fault::Unavailable(Lost::Request), 0.7)])?.slow(1.0, 100 * MS, 400 * MS)?;
    Ok(Plan::all(weekday()?).target("get_radar", sick))
}

/// Nobody listens where the backend was.
fn nobody_is_there() -> Result<Plan, TroubleError> {
    Ok(Plan::all(Trouble::new([(Fault::NotSent, 1.0)])?))
}

/// What goes wrong, and for how many seconds.
type Stage = (fn() -> Result<Plan, TroubleError>, u64);

/// Breaks the server in turns, for as long as it is polled.
pub async fn come_and_go(faults: FaultHandle) {
    let stages: [Stage; 4] =
        [(|| weekday().map(Plan::all), 8), (radar_is_sick, 10), (|| weekday().map(Plan::all), 7), (nobody_is_there, 3)];
    // It ends on a quiet stage, long enough for the breakers to close.
    let calm: Stage = (|| weekday().map(Plan::all), 12);
    for (plan, seconds) in stages.into_iter().chain([calm]).cycle() {
        match plan() {
            Ok(plan) => faults.inject(plan),
            Err(error) => return tracing::error!(%error, "no such trouble"),
        }
        sleep(Duration::from_secs(seconds)).await;
    }
}
