//! A client behind the stack, by either seam, and what passes on its wire.

use std::{sync::Arc, time::Duration};

use buttress::{
    Stack,
    call::TargetPolicy,
    catalogue::Catalogue,
    deadline::{Limits, Settings},
    rmcp::client::{Client, ClientLayer, watched},
};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient, ServerHandler, ServiceExt,
    model::{CallToolRequestParams, CallToolResult},
    service::{RunningService, ServiceError},
    transport::IntoTransport,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tower::Layer;

use crate::{
    caller::Caller,
    probe::TOOL,
    road::Era,
    tape::{Line, Tap, Tape, Who},
};

pub const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];
pub const SEAMS: [Seam; 2] = [Seam::Peer, Seam::Transport];

/// Where the stack stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seam {
    Peer,
    Transport,
}

/// A connected client.
pub struct Rig<H: ClientHandler = Caller> {
    pub connection: RunningService<RoleClient, H>,
    /// The handle, at the seam that has one.
    pub client: Option<Client>,
    pub tape: Tape,
}

/// A layer whose one tool may be repeated by the operator's word.
pub fn safe(stack: &Stack) -> ClientLayer {
    let policy = TargetPolicy::default().idempotent(true);
    ClientLayer::with_catalogue(Arc::new(Catalogue::new("up").tool(TOOL, policy)), stack).expect("a catalogue that fits")
}

/// A stack whose calls end after a second of silence, and after ten in any case.
pub fn hasty() -> Stack {
    let second = Duration::from_secs(1);
    let settings = Settings { soft: Some(second), idle: Some(second), hard: Some(10 * second) };
    Stack::new().deadline(Limits::try_new(settings).expect("limits that hold"))
}

pub async fn connect<H, T, E, A>(seam: Seam, era: Era, handler: H, transport: T, layer: &ClientLayer) -> Rig<H>
where
    H: ClientHandler,
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let tape = Tape::default();
    let tap = Tap { inner: transport.into_transport(), tape: tape.clone() };
    let lifecycle = match era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover { preferred_versions: vec![era.version()] },
    };
    let connection = match seam {
        Seam::Peer => handler.serve_with_lifecycle(watched(tap), lifecycle).await,
        Seam::Transport => handler.serve_with_lifecycle(layer.transport(tap), lifecycle).await,
    };
    let connection = connection.expect("the client connects");
    let client = (seam == Seam::Peer).then(|| layer.layer(connection.peer().clone()));
    Rig { connection, client, tape }
}

/// Over a pipe in this process. The server's task ends with its connection, or is ended by the test.
pub async fn over_duplex(seam: Seam, era: Era, server: impl ServerHandler, layer: &ClientLayer) -> (Rig, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving = serve(server, far);
    (connect(seam, era, Caller(era.version()), near, layer).await, serving)
}

pub fn serve(server: impl ServerHandler, far: tokio::io::DuplexStream) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Ok(server) = server.serve(far).await {
            let _ = server.waiting().await;
        }
    })
}

impl<H: ClientHandler> Rig<H> {
    pub async fn call(&self) -> Result<CallToolResult, ServiceError> {
        let params = CallToolRequestParams::new(TOOL);
        match &self.client {
            Some(client) => client.call_tool(params).await,
            None => self.connection.peer().call_tool(params).await,
        }
    }

    /// What the client has sent by this method, in order.
    pub async fn sent(&self, method: &str) -> Vec<Value> {
        let lines = self.tape.wait(0, |_| true).await;
        sent(&lines, method)
    }

    /// Waits until the client has sent `count` messages by this method.
    pub async fn until_sent(&self, method: &str, count: usize) -> Vec<Value> {
        let lines = self.tape.wait(0, |lines| sent(lines, method).len() >= count).await;
        sent(&lines, method)
    }
}

fn sent(lines: &[Line], method: &str) -> Vec<Value> {
    let by_method = |line: &&Line| line.who == Who::Client && line.method() == method;
    lines.iter().filter(by_method).map(|line| line.what.clone()).collect()
}
