//! JSON-RPC messages sent by hand, such as no client of rmcp's would send.

use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Value, json};

use crate::patience::within;

const REVISION: &str = "2026-07-28";

/// A POST: its headers and its body.
#[derive(Debug, Clone, Default)]
pub struct Message {
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Message {
    /// Anything.
    pub fn raw(body: impl Into<String>) -> Self {
        Self { headers: Vec::new(), body: body.into() }
    }

    /// A request as of any revision.
    pub fn request(id: u32, method: &str, params: Value) -> Self {
        Self::raw(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string())
    }

    /// A request as of 2026-07-28. What the body says, the headers say too.
    pub fn modern(method: &str, mut params: Value) -> Self {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!(REVISION);
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "tests/weather", "version": "1" });
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let name = params["name"].as_str().or(params["uri"].as_str()).map(|name| ("mcp-name", name.to_owned()));
        Self::request(1, method, params).modern_headers(method).with(name)
    }

    /// The headers of such a request around any body.
    pub fn modern_headers(self, method: &str) -> Self {
        self.with([("mcp-protocol-version", REVISION.to_owned()), ("mcp-method", method.to_owned())])
    }

    pub fn with(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Posts it, and reads the answer to its end.
    pub async fn answer(&self, url: &str) -> Answer {
        within("the answer to a message", async {
            let response = self.post(url).await;
            let status = response.status();
            let text = response.text().await.unwrap();
            // Of an event stream only the messages: its ids are its own.
            let messages: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect();
            Answer { status, body: if messages.is_empty() { text } else { messages.concat() } }
        })
        .await
    }

    pub async fn post(&self, url: &str) -> Response {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request =
            http.post(url).header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json, text/event-stream");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.body(self.body.clone()).send().await.unwrap()
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
}

/// A session as of 2025-11-25.
#[derive(Debug)]
pub struct Session {
    id: String,
}

impl Session {
    pub async fn open(url: &str) -> Self {
        let client = json!({ "name": "tests/weather", "version": "1" });
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let response = Message::request(0, "initialize", hello).post(url).await;
        let session = Self { id: response.headers()["mcp-session-id"].to_str().unwrap().to_owned() };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let accepted = Message::raw(ready.to_string()).with(session.headers()).post(url).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        session
    }

    /// What tells that a message belongs to it.
    pub fn headers(&self) -> [(&'static str, String); 2] {
        [("mcp-session-id", self.id.clone()), ("mcp-protocol-version", "2025-11-25".to_owned())]
    }
}
