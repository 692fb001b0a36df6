//! Who calls the server: agents of three tenants, each with a habit and a rate that does not wait for answers.

use std::{error::Error, sync::Arc, time::Duration};

use buttress::{
    call::{IDEMPOTENCY_KEY, TIMEOUT_KEY},
    rmcp::Server,
};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, Peer, RoleClient, ServiceExt,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, GetPromptRequestParams,
        Implementation, MetaObject, ProtocolVersion, RequestMetaObject, SubscriptionFilter,
    },
    service::{PeerRequestOptions, RunningService, ServiceError},
};
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    plain,
    weather::{NOWHERE, Weather},
};

/// What an agent waits for at most; beyond, it makes no calls until an answer comes.
const OPEN_CALLS: usize = 64;

const CITIES: [&str; 8] = ["Berlin", "Lima", "London", "Mumbai", "Nairobi", "Oslo", "Sydney", "Tokyo"];

/// What an agent does all day.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// Asks for the weather of any city.
    Read,
    /// Asks for tomorrow's.
    Plan,
    /// Watches the radar, one frame after the other.
    Watch,
    /// Reports under an idempotency key, and sends some reports again.
    Report,
    /// Asks for cities that do not exist, each several times.
    Insist,
    /// All that is rare: lists, prompts, tools that are not there, calls that come too late or are taken back.
    Rest,
}

/// Name, habit, calls a second.
const AGENTS: [(&str, Habit, u32); 10] = [
    ("acme/reader-1", Habit::Read, 15),
    ("acme/reader-2", Habit::Read, 15),
    ("acme/planner-1", Habit::Plan, 12),
    ("acme/planner-2", Habit::Plan, 12),
    ("umbrella/watcher-1", Habit::Watch, 18),
    ("umbrella/watcher-2", Habit::Watch, 18),
    ("umbrella/reporter", Habit::Report, 8),
    ("umbrella/stubborn", Habit::Insist, 2),
    ("umbrella/odd", Habit::Rest, 6),
    // More than the quota allows one tenant.
    ("hog/reader", Habit::Read, 100),
];

/// Lets all agents call, for as long as it is polled. Ends only in an error.
pub async fn run(server: Server<Weather>) -> Result<(), Box<dyn Error>> {
    let mut agents = JoinSet::new();
    for (name, habit, rate) in AGENTS {
        let client = connect(server.clone(), name).await?;
        agents.spawn(async move {
            // Lists are where the server's tools, and their annotations, are learned from.
            let _ = client.list_all_tools().await;
            let _subscription = client.listen(SubscriptionFilter::builder().tools_list_changed().build()).await;
            work(client.peer(), habit, rate).await;
        });
    }
    agents.spawn(plain::ask(server));
    match agents.join_next().await {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

async fn connect(server: Server<Weather>, name: &str) -> Result<RunningService<RoleClient, ClientConfig>, Box<dyn Error>> {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        if let Ok(running) = server.serve(far).await {
            let _ = running.waiting().await;
        }
    });
    let config = ClientConfig::new(ClientCapabilities::default(), Implementation::new(name, "1"));
    let lifecycle = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    Ok(config.serve_with_lifecycle(near, lifecycle).await?)
}

async fn work(peer: &Peer<RoleClient>, habit: Habit, rate: u32) {
    let open = Arc::new(Semaphore::new(OPEN_CALLS));
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        beat.tick().await;
        let Ok(place) = open.clone().acquire_owned().await else { return };
        let peer = peer.clone();
        tokio::spawn(async move {
            // Whatever became of it, the metrics tell.
            let _ = call(&peer, habit, number).await;
            drop(place);
        });
    }
}

async fn call(peer: &Peer<RoleClient>, habit: Habit, number: u64) -> Result<(), ServiceError> {
    let city = CITIES[fastrand::usize(..CITIES.len())];
    match habit {
        Habit::Read => peer.call_tool(tool("get_weather", json!({ "city": city }))).await.map(drop),
        Habit::Plan => peer.call_tool(tool("get_forecast", json!({ "city": city }))).await.map(drop),
        Habit::Watch => peer.call_tool(tool("get_radar", json!({ "frame": number }))).await.map(drop),
        Habit::Insist => {
            peer.call_tool(tool("get_weather", json!({ "city": format!("{NOWHERE} {}", number / 40) }))).await.map(drop)
        }
        Habit::Report => report(peer, number).await,
        Habit::Rest => rest(peer, number).await,
    }
}

async fn report(peer: &Peer<RoleClient>, number: u64) -> Result<(), ServiceError> {
    // One in six is sent once more under the same key, before or after it is answered; and one says something else then.
    let (key, note) = match number % 12 {
        6 => (number - 1, number - 1),
        9 => (number - 6, number - 6),
        11 => (number - 3, number),
        _ => (number, number),
    };
    let mut call = tool("report_observation", json!({ "note": format!("cloud {note}") }));
    call.meta = Some(meta(json!({ IDEMPOTENCY_KEY: format!("report {key}") })));
    peer.call_tool(call).await.map(drop)
}

async fn rest(peer: &Peer<RoleClient>, number: u64) -> Result<(), ServiceError> {
    match number % 6 {
        0 => peer.list_tools(None).await.map(drop),
        1 => peer
            .get_prompt(GetPromptRequestParams::new("packing_list").with_arguments(object(json!({ "city": "Oslo" }))))
            .await
            .map(drop),
        2 => peer.call_tool(tool("get_tides", json!({}))).await.map(drop),
        3 => {
            let mut late = tool("get_forecast", json!({ "city": "Oslo" }));
            late.meta = Some(meta(json!({ TIMEOUT_KEY: 0 })));
            peer.call_tool(late).await.map(drop)
        }
        4 => peer.list_prompts(None).await.map(drop),
        _ => {
            let call = CallToolRequest::new(tool("get_forecast", json!({ "city": "Lima" })));
            let taken_back =
                peer.send_cancellable_request(ClientRequest::CallToolRequest(call), PeerRequestOptions::no_options()).await?;
            sleep(Duration::from_millis(20)).await;
            taken_back.cancel(None).await
        }
    }
}

fn tool(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(object(arguments))
}

fn meta(value: Value) -> RequestMetaObject {
    RequestMetaObject(MetaObject(object(value)))
}

fn object(value: Value) -> rmcp::model::JsonObject {
    value.as_object().cloned().unwrap_or_default()
}
