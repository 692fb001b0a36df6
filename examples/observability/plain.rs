//! A client without an SDK, which asks several times at once and wants to hear of no progress: only calls that nobody wants to
//! hear of may be shared, and rmcp's client always asks.

use std::time::Duration;

use buttress::rmcp::Server;
use rmcp::ServiceExt;
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt, copy, sink, split},
    time::interval,
};

use crate::weather::Weather;

/// One of these cities at a time.
const CITIES: [&str; 3] = ["Oslo", "Lima", "Tokyo"];

/// Asks for the forecast of one city, two calls at a time, until the server has left.
pub async fn ask(server: Server<Weather>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        if let Ok(running) = server.serve(far).await {
            let _ = running.waiting().await;
        }
    });
    let (mut answers, mut questions) = split(near);
    // What they say is no matter here.
    tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
    let mut beat = interval(Duration::from_millis(250));
    for round in 0_usize.. {
        beat.tick().await;
        let city = CITIES[round % CITIES.len()];
        let pair = [forecast(2 * round, city), forecast(2 * round + 1, city)].concat();
        if questions.write_all(pair.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A request of revision 2026-07-28, in a line of its own: all that it needs is in it.
fn forecast(id: usize, city: &str) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "acme/plain", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "get_forecast", "arguments": { "city": city }, "_meta": meta });
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
}
