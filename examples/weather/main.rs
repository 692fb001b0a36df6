//! A short tour of the two modules: a stand-in with faults, asked a few things.

mod open_meteo;
mod stand_in;

use std::{error::Error, fmt::Debug, time::Duration};

use open_meteo::{ApiError, Endpoints, OpenMeteo, Units};
use stand_in::{Options, StandIn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options { seed: 7, calm: false };
    let mut stand_in = StandIn::start(([127, 0, 0, 1], 0).into(), options).await?;
    let client = OpenMeteo::new(Endpoints::single(stand_in.url()))?;

    let oslo = client.geocode("Oslo").await?;
    tell("now", client.current(&oslo, Units::Metric)).await;
    tell("soon", client.forecast(&oslo, 3, Units::Imperial)).await;
    for _ in 0..5 {
        tell("report", client.report("Oslo", 12.5, "a tour")).await;
    }

    stand_in.stop().await;
    tell("while stopped", client.geocode("Oslo")).await;
    stand_in.resume().await?;
    println!("{} observations", client.observations().await?.len());
    println!("{:?}", stand_in.stats());

    // The same client asks the real service once it is given its addresses.
    let _real = OpenMeteo::new(Endpoints::open_meteo())?;
    Ok(())
}

/// Prints how a call ends. Only a limit of the caller's ends one that hangs.
async fn tell<T: Debug>(what: &str, call: impl Future<Output = Result<T, ApiError>>) {
    match tokio::time::timeout(Duration::from_millis(500), call).await {
        Ok(Ok(answer)) => println!("{what}: {answer:?}"),
        Ok(Err(error)) => println!("{what}: {error}"),
        Err(_) => println!("{what}: no answer in time"),
    }
}
