//! Messages as bytes: over HTTP and over a pipe, with no SDK on the client's side.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use rmcp::{ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split};

use crate::road::{Era, Site};

/// A request of revision 2026-07-28: all that it needs is in it.
pub fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    legacy(id, method, params)
}

/// A request of an older revision.
pub fn legacy(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

pub fn initialize(version: &str) -> Value {
    let client = json!({ "name": "raw", "version": "0" });
    legacy("hello", "initialize", json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client }))
}

/// An HTTP response, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    /// The one JSON-RPC message in it, be it plain JSON or the last event of a stream.
    pub fn message(&self) -> Value {
        let mut events = self.body.lines().filter_map(|line| line.strip_prefix("data:"));
        let last_event = events.rfind(|data| !data.trim().is_empty());
        let text = last_event.unwrap_or(&self.body);
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// What has to be the same whoever answers.
    pub fn seen(&self) -> (u16, Option<&[u8]>, &str) {
        (self.status, self.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes()), &self.body)
    }
}

/// A client that posts bytes.
pub struct Poster {
    http: reqwest::Client,
    url: String,
    era: Era,
    session: Option<String>,
    token: Option<&'static str>,
    headers: HeaderMap,
}

impl Poster {
    pub fn modern(site: &Site) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: site.url(),
            era: Era::Modern,
            session: None,
            token: None,
            headers: HeaderMap::new(),
        }
    }

    /// The same, with an access token.
    pub fn with_token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same, with these headers on top.
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// No handshake and no session, in an older revision.
    pub fn sessionless(site: &Site) -> Self {
        Self { era: Era::Legacy, ..Self::modern(site) }
    }

    /// Opens a session of an older revision.
    pub async fn session(site: &Site) -> Self {
        let mut poster = Self::sessionless(site);
        let reply = poster.post(&initialize("2025-11-25")).await;
        let id = reply.headers.get("mcp-session-id").unwrap_or_else(|| panic!("{reply:?}"));
        poster.session = Some(id.to_str().unwrap().to_owned());
        let ready = poster.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        assert_eq!(ready.status, 202);
        poster
    }

    pub async fn post(&self, message: &Value) -> Reply {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = [&message["params"]["name"], &message["params"]["uri"]].map(text).concat();
        self.post_bytes(message.to_string(), &text(&message["method"]), &name).await
    }

    /// Posts whatever it is given, with the headers of a request of this method and name.
    pub async fn post_bytes(&self, body: impl Into<reqwest::Body>, method: &str, name: &str) -> Reply {
        let mut request = self.http.post(&self.url).header(ACCEPT, "application/json, text/event-stream");
        request = request.header(CONTENT_TYPE, "application/json").headers(self.headers.clone()).body(body);
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        if self.era == Era::Modern {
            request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
            if !name.is_empty() {
                request = request.header("mcp-name", name);
            }
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, body: response.text().await.unwrap() }
    }
}

/// A pipe to a server, line by line.
pub struct Pipe {
    near: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
}

impl Pipe {
    /// Connects in an older revision.
    pub async fn open(handler: impl ServerHandler) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { handler.serve(far).await.unwrap().waiting().await });
        let (read, write) = split(near);
        let mut pipe = Self { near: write, lines: BufReader::new(read).lines() };
        pipe.ask(&initialize("2025-11-25")).await;
        pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string()).await;
        pipe
    }

    pub async fn send(&mut self, line: &str) {
        self.near.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line that the server writes, as it is.
    pub async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("the server lives on")
    }

    pub async fn ask(&mut self, request: &Value) -> String {
        self.send(&request.to_string()).await;
        self.line().await
    }
}
