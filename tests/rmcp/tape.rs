//! What happened in a conversation, in order: on the client's side of the wire, and in the handler.

use std::{future::Future, time::Duration};

use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

/// Only a safety net: a test that waits for what never comes should fail, not hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `future` comes to, unless it takes for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("waited in vain")
}

/// Who was seen doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The client sent this message.
    Client,
    /// The client received this message.
    Server,
    /// The handler was called like this.
    Handler,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    pub who: Who,
    pub what: Value,
}

impl Line {
    /// The method of a message or of a handler's call; empty for answers.
    pub fn method(&self) -> &str {
        self.what["method"].as_str().unwrap_or_default()
    }
}

/// A shared record that can be waited on.
#[derive(Debug, Clone, Default)]
pub struct Tape(watch::Sender<Vec<Line>>);

impl Tape {
    pub fn write(&self, who: Who, what: &impl Serialize) {
        let what = serde_json::to_value(what).unwrap();
        self.0.send_modify(|lines| lines.push(Line { who, what }));
    }

    /// Waits until `enough` says so of what has happened from line `from` on, and returns that.
    pub async fn wait(&self, from: usize, enough: impl Fn(&[Line]) -> bool) -> Vec<Line> {
        let mut tape = self.0.subscribe();
        let waited = tokio::time::timeout(PATIENCE, tape.wait_for(|lines| enough(&lines[from..]))).await;
        assert!(waited.is_ok(), "waited in vain; so far: {:#?}", &self.0.borrow()[from..]);
        self.0.borrow()[from..].to_vec()
    }
}

/// A client's transport that writes down all that passes.
pub struct Tap<T> {
    pub inner: T,
    pub tape: Tape,
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(&mut self, message: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.tape.write(Who::Client, &message);
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let message = self.inner.receive().await?;
        self.tape.write(Who::Server, &message);
        Some(message)
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
