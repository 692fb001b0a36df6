//! State lives in the layer: layering twice finds the same.

use super::{Checked, ensure};
use crate::{
    drive::{Driven, Subject},
    meter::Meter,
    stage::{Act, Stage},
};

/// Two services of one layer count in the same series, by the same handles: the second asks the recorder for none. `event` is
/// what makes the layer count at all.
pub async fn shares_its_handles(layer: impl Subject, event: Act) -> Checked {
    let meter = Meter::default();
    let _installed = metrics::set_default_local_recorder(&meter);
    let stage = Stage::new();
    let services = [layer.layer(stage.probe()), layer.clone().layer(stage.probe())];
    let mut seen = Vec::new();
    for service in services {
        stage.script([event]);
        let mut call = Driven::new(service, stage.request());
        // A layer that lets the panic through is unwound, as its caller would be.
        let poll = std::panic::AssertUnwindSafe(|| call.poll().is_pending());
        if std::panic::catch_unwind(poll).is_ok_and(|pending| pending) {
            tokio::time::advance(std::time::Duration::from_secs(90)).await;
            let _ended = call.poll();
        }
        seen.push((meter.handles(), meter.counts()));
    }
    let [(handles, once), (handles_of_both, twice)] = &seen[..] else { return Ok(()) };
    ensure!(handles == handles_of_both, "the second service made {} handles of its own", handles_of_both - handles);
    for (series, count) in once {
        ensure!(twice.get(series) == Some(&(2 * count)), "{series} is {count} after one call, {:?} after two", twice.get(series));
    }
    Ok(())
}
