//! The stand-in and its faults, as the client sees them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Dice, Options, StandIn,
    api::{FORECAST, OBSERVATIONS, SEARCH},
    deck::{CARDS, Deck, FAULTS, Fault},
};
use crate::open_meteo::{ApiError, Endpoints, OpenMeteo, Place, Units};

const CALM: Options = Options { seed: 0, calm: true };

async fn start(options: Options) -> (StandIn, OpenMeteo) {
    let stand_in = StandIn::start(([127, 0, 0, 1], 0).into(), options).await.unwrap();
    let client = OpenMeteo::new(Endpoints::single(stand_in.url())).unwrap();
    (stand_in, client)
}

/// Options under which the first card of the chosen deck is `fault`.
fn dealing(fault: Fault, deck: impl Fn(Dice) -> Deck) -> Options {
    let seed = (0..).find(|seed| deck(Dice::from_seed(*seed)).draw() == Some(fault)).unwrap();
    Options { seed, calm: false }
}

fn somewhere() -> Place {
    let (latitude, longitude) = (59.91273, 10.74609);
    Place { name: "Oslo".into(), country: None, latitude, longitude, timezone: None }
}

fn throttled() -> ApiError {
    ApiError::Throttled { retry_after: Some(Duration::from_secs(1)) }
}

/// Runs a call that is dealt a hang, and drops it as soon as it hangs.
async fn abandoned<T>(stand_in: &StandIn, call: impl Future<Output = T>) {
    let mut hanging = stand_in.world.watch_hanging();
    tokio::select! {
        _ = call => panic!("a hanging call was answered"),
        seen = hanging.wait_for(|calls| *calls == 1) => assert!(seen.is_ok()),
    }
}

#[tokio::test]
async fn each_fault_of_a_report_is_told_and_has_its_effect_or_none() {
    for (fault, error, effects) in [
        (Fault::Throttled, throttled(), 0),
        (Fault::Unavailable, ApiError::Ambiguous, 0),
        (Fault::ResetBefore, ApiError::Ambiguous, 0),
        (Fault::ResetAfter, ApiError::Ambiguous, 1),
        (Fault::ErrorAfter, ApiError::Ambiguous, 1),
    ] {
        let (stand_in, client) = start(dealing(fault, |dice| dice.observations)).await;
        assert_eq!(client.report("Oslo", 1.0, "x").await, Err(error), "{fault:?}");
        assert_eq!(client.observations().await.unwrap().len(), effects, "{fault:?}");

        let stats = stand_in.stats();
        assert_eq!(stats.faults[OBSERVATIONS], BTreeMap::from([(fault.name(), 1)]));
        assert_eq!(stats.requests[OBSERVATIONS], 2, "one report, one look: no silent retry");
        assert_eq!(stats.effects, effects as u64);
    }
}

#[tokio::test]
async fn each_fault_of_a_forecast_is_told() {
    for (fault, error) in [
        (Fault::Throttled, throttled()),
        (Fault::Unavailable, ApiError::Ambiguous),
        (Fault::ResetBefore, ApiError::Ambiguous),
        (Fault::ResetAfter, ApiError::Ambiguous),
        (Fault::ErrorAfter, ApiError::Ambiguous),
    ] {
        let (stand_in, client) = start(dealing(fault, |dice| dice.forecasts)).await;
        assert_eq!(client.current(&somewhere(), Units::Metric).await, Err(error), "{fault:?}");
        assert_eq!(stand_in.stats().faults[FORECAST], BTreeMap::from([(fault.name(), 1)]));
        assert_eq!(stand_in.stats().requests[FORECAST], 1, "no silent retry");
    }
}

#[tokio::test]
async fn a_hang_ends_when_the_client_hangs_up() {
    let (stand_in, client) = start(dealing(Fault::Hang, |dice| dice.observations)).await;
    abandoned(&stand_in, client.report("Oslo", 1.0, "x")).await;

    let mut hanging = stand_in.world.watch_hanging();
    hanging.wait_for(|calls| *calls == 0).await.unwrap();
    let stats = stand_in.stats();
    assert_eq!((stats.hanging, stats.effects), (0, 0));
    assert_eq!(stats.faults[OBSERVATIONS], BTreeMap::from([("hang", 1)]));
}

#[tokio::test]
async fn stats_equal_what_a_hundred_calls_saw() {
    const SEED: u64 = 5;
    let (stand_in, client) = start(Options { seed: SEED, calm: false }).await;
    // The same seed foretells each fault.
    let mut foretold = Dice::from_seed(SEED).observations;
    let mut recorded = 0;
    for _ in 0..CARDS {
        let call = client.report("Oslo", 1.0, "x");
        match foretold.draw() {
            None => recorded = call.await.unwrap(),
            Some(Fault::Throttled) => assert_eq!(call.await, Err(throttled())),
            Some(Fault::Hang) => {
                abandoned(&stand_in, call).await;
                stand_in.world.watch_hanging().wait_for(|calls| *calls == 0).await.unwrap();
            }
            Some(_) => assert_eq!(call.await, Err(ApiError::Ambiguous)),
        }
    }
    let observations = client.observations().await.unwrap();
    let stats = stand_in.stats();
    let dealt = FAULTS.map(|(fault, count)| (fault.name(), count as u64));
    assert_eq!(stats.faults, [(OBSERVATIONS.to_owned(), BTreeMap::from(dealt))].into());
    assert_eq!(stats.requests, [(OBSERVATIONS.to_owned(), 101)].into());
    // 84 calls without a fault, and the six faults that come after the effect.
    assert_eq!((stats.effects, observations.len()), (90, 90));
    assert!(recorded <= 90 && observations.iter().map(|seen| seen.id).eq(1..=90));

    let told: Value = get(&stand_in, "/stats").await;
    assert_eq!(told, serde_json::to_value(stats).unwrap(), "looking does not count");
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_a_byte() {
    for fault in [Fault::ResetBefore, Fault::ResetAfter] {
        let (stand_in, _) = start(dealing(fault, |dice| dice.forecasts)).await;
        let mut stream = TcpStream::connect(stand_in.address).await.unwrap();
        // Even with another one waiting behind it, the first request takes the
        // connection down.
        stream.write_all(two_forecasts().as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let error = stream.read_to_end(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(bytes.is_empty());
        assert_eq!(stand_in.stats().requests[FORECAST], 1);
    }
}

#[tokio::test]
async fn a_stopped_stand_in_refuses_and_a_resumed_one_remembers() {
    let (mut stand_in, client) = start(CALM).await;
    assert_eq!(client.report("Oslo", 1.0, "before").await, Ok(1));

    stand_in.stop().await;
    stand_in.stop().await;
    assert_eq!(client.report("Oslo", 1.0, "between").await, Err(ApiError::NotSent));
    assert_eq!(client.geocode("Oslo").await, Err(ApiError::NotSent));
    assert_eq!(stand_in.stats().effects, 1);

    let url = stand_in.url();
    stand_in.resume().await.unwrap();
    stand_in.resume().await.unwrap();
    assert_eq!(stand_in.url(), url);
    assert_eq!(client.report("Oslo", 1.0, "after").await, Ok(2));
    let notes = client.observations().await.unwrap().into_iter().map(|seen| seen.note);
    assert!(notes.eq(["before", "after"]));
}

#[tokio::test]
async fn stopping_ends_calls_in_flight_and_keeps_the_decks() {
    let options = dealing(Fault::Hang, |dice| dice.observations);
    let (mut stand_in, client) = start(options).await;
    let mut hanging = stand_in.world.watch_hanging();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.report("Oslo", 1.0, "x").await }
    });
    hanging.wait_for(|calls| *calls == 1).await.unwrap();
    stand_in.stop().await;
    assert_eq!(stand_in.stats().hanging, 0, "stopping waits for the calls it ends");
    assert_eq!(call.await.unwrap(), Err(ApiError::Ambiguous));

    stand_in.resume().await.unwrap();
    let mut foretold = Dice::from_seed(options.seed).observations;
    foretold.draw();
    assert_eq!(client.report("Oslo", 1.0, "x").await.is_ok(), foretold.draw().is_none());
}

#[tokio::test]
async fn stopping_ends_a_hang_with_another_request_behind_it() {
    let (mut stand_in, _) = start(dealing(Fault::Hang, |dice| dice.forecasts)).await;
    let mut hanging = stand_in.world.watch_hanging();
    let mut stream = TcpStream::connect(stand_in.address).await.unwrap();
    stream.write_all(two_forecasts().as_bytes()).await.unwrap();
    hanging.wait_for(|calls| *calls == 1).await.unwrap();
    stand_in.stop().await;
    assert_eq!(stand_in.stats().hanging, 0);
    assert_eq!(stand_in.stats().requests[FORECAST], 1);
}

#[tokio::test]
async fn dropping_ends_everything() {
    let (stand_in, client) = start(dealing(Fault::Hang, |dice| dice.observations)).await;
    let mut hanging = stand_in.world.watch_hanging();
    let call = tokio::spawn(async move { client.report("Oslo", 1.0, "x").await });
    hanging.wait_for(|calls| *calls == 1).await.unwrap();
    drop(stand_in);
    assert_eq!(call.await.unwrap(), Err(ApiError::Ambiguous));
    // The last connection takes the state with it, and the sender therein.
    while hanging.changed().await.is_ok() {}
}

#[tokio::test]
async fn calm_deals_no_faults() {
    let (stand_in, client) = start(CALM).await;
    let done = AtomicUsize::new(0);
    // Ten at a time, for speed.
    let turns = async || {
        for _ in 0..CARDS / 10 {
            client.report("Oslo", 1.0, "x").await.unwrap();
            client.current(&somewhere(), Units::Metric).await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(turns(), turns(), turns(), turns(), turns(), turns(), turns(), turns(), turns(), turns());
    assert_eq!(done.into_inner(), CARDS);
    assert!(stand_in.stats().faults.is_empty());
    assert_eq!(stand_in.stats().effects, CARDS as u64);
}

#[tokio::test]
async fn cities_are_found_by_name() {
    let (stand_in, client) = start(CALM).await;
    let place = client.geocode(" new yORK").await.unwrap();
    assert_eq!(place.name, "New York");
    assert_eq!(place.country.as_deref(), Some("United States"));
    assert_eq!(place.timezone.as_deref(), Some("America/New_York"));

    let unknown = client.geocode("Atlantis").await.unwrap_err();
    assert_eq!(unknown, ApiError::UnknownCity("Atlantis".to_owned()));
    let nothing = get(&stand_in, &format!("{SEARCH}?name=Atlantis")).await;
    assert_eq!(nothing.get("results"), None);
    let found = get(&stand_in, &format!("{SEARCH}?name=oslo&count=3")).await;
    assert_eq!(found["results"][0]["country_code"], "NO");
}

#[tokio::test]
async fn weather_depends_on_the_place_and_the_units() {
    let (stand_in, client) = start(CALM).await;
    let oslo = client.geocode("Oslo").await.unwrap();
    let lima = client.geocode("Lima").await.unwrap();
    let now = client.current(&oslo, Units::Metric).await.unwrap();
    assert_eq!(now, client.current(&oslo, Units::Metric).await.unwrap());
    assert_ne!(now.temperature, client.current(&lima, Units::Metric).await.unwrap().temperature);

    let imperial = client.current(&oslo, Units::Imperial).await.unwrap();
    assert_eq!((now.temperature_unit.as_str(), imperial.temperature_unit.as_str()), ("°C", "°F"));
    assert!((now.temperature * 1.8 + 32.0 - imperial.temperature).abs() < 0.2);

    let week = client.forecast(&oslo, 7, Units::Metric).await.unwrap();
    assert_eq!(week.days.len(), 7);
    assert!(week.days.iter().all(|day| day.low < day.high && day.sky.is_some()));
    let long = client.forecast(&oslo, 16, Units::Metric).await.unwrap();
    assert_eq!(long.days[..7], week.days);

    let query = format!("{FORECAST}?latitude=19.07&longitude=72.88&timezone=auto");
    let mumbai = get(&stand_in, &query).await;
    assert_eq!(mumbai["timezone_abbreviation"], "GMT+5:30");
    assert_eq!(mumbai["utc_offset_seconds"], 19_800);
    assert_eq!(mumbai.get("current"), None, "only what is asked for");
}

#[tokio::test]
async fn nonsense_is_rejected_with_a_reason() {
    let (stand_in, client) = start(CALM).await;
    let rejected = |result| match result {
        Err(ApiError::Rejected { status: 400, reason }) => reason,
        other => panic!("not rejected: {other:?}"),
    };
    let nowhere = Place { latitude: 91.0, ..somewhere() };
    let reason = rejected(client.current(&nowhere, Units::Metric).await.map(drop));
    assert_eq!(reason, "Latitude must be in range of -90 to 90°. Given: 91.");
    let reason = rejected(client.forecast(&somewhere(), 17, Units::Metric).await.map(drop));
    assert!(reason.starts_with("Forecast days is invalid."), "{reason}");
    rejected(client.report(" ", 1.0, "x").await.map(drop));
    rejected(client.report("Oslo", 71.0, "x").await.map(drop));
    rejected(client.report("Oslo", f64::NAN, "x").await.map(drop));
    rejected(client.report("Oslo", 1.0, &"x".repeat(20_000)).await.map(drop));
    assert_eq!(stand_in.stats().effects, 0);

    let query = format!("{FORECAST}?latitude=1&longitude=1&current=foo");
    let refusal = get(&stand_in, &query).await;
    assert_eq!(refusal["error"], json!(true));
    assert!(refusal["reason"].as_str().unwrap().contains("foo"));
}

#[tokio::test]
async fn errors_name_no_hosts() {
    let (mut stand_in, client) = start(CALM).await;
    stand_in.stop().await;
    let error = client.geocode("Oslo").await.unwrap_err().to_string();
    assert_eq!(error, "the weather service cannot be reached; nothing was sent");
    assert_eq!(throttled().to_string(), "the weather service is busy; try again in 1 s");
}

/// Two requests to be sent at once, on one connection.
fn two_forecasts() -> String {
    format!("GET {FORECAST}?latitude=1&longitude=1 HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2)
}

/// What a plain GET answers, whatever its status.
async fn get(stand_in: &StandIn, path: &str) -> Value {
    let url = format!("{}{path}", stand_in.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().json().await.unwrap()
}
