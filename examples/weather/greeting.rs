//! What is told at the start: where everything is, and what to try.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::server;

/// The revision in which one request says all: no handshake, no session.
const REVISION: &str = "2026-07-28";

/// Tells where everything is, on stderr.
pub fn greet(mcp: Option<SocketAddr>, admin: SocketAddr, stand_in: Option<&str>) {
    match mcp {
        Some(mcp) => eprintln!("MCP       {}", mcp_url(mcp)),
        None => eprintln!("MCP       stdin and stdout"),
    }
    eprintln!("metrics   http://{admin}/metrics");
    eprintln!("status    http://{admin}/");
    if let Some(url) = stand_in {
        eprintln!("stand-in  {url}/stats");
    }
    if let Some(mcp) = mcp {
        let call = json!({ "name": "get_weather", "arguments": { "city": "Oslo", "units": "metric" } });
        eprintln!("\nTry these: list the tools, call one, look at the metrics.\n");
        eprintln!("{}\n", curl(mcp, "tools/list", None, json!({})));
        eprintln!("{}\n", curl(mcp, "tools/call", Some("get_weather"), call));
        eprintln!("curl -s http://{admin}/metrics | grep ^mcp_server\n");
    }
}

/// Where MCP is served.
pub fn mcp_url(mcp: SocketAddr) -> String {
    format!("http://{mcp}{}", server::PATH)
}

/// One request, for a shell. What the headers say, the body says too: the first is for those who route, the second for those
/// who answer.
fn curl(mcp: SocketAddr, method: &str, name: Option<&str>, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": { "name": "curl", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let name = name.map_or_else(String::new, |name| format!(" -H 'Mcp-Name: {name}'"));
    format!(
        "curl -s {} -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
         -H 'MCP-Protocol-Version: {REVISION}' -H 'Mcp-Method: {method}'{name} -d '{body}'",
        mcp_url(mcp)
    )
}
