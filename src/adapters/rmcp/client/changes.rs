//! What the server says has changed, for the stack.

use std::sync::Arc;

use ::rmcp::model::{ConstString, ServerNotification};

use crate::{catalogue::Catalogue, stack::Stack};

/// Who is to hear of changes: the stack that keeps answers of this upstream.
#[derive(Debug)]
pub(super) struct Changes {
    stack: Stack,
    catalogue: Arc<Catalogue>,
}

impl Changes {
    pub(super) fn new(stack: &Stack, catalogue: &Arc<Catalogue>) -> Self {
        Self { stack: stack.clone(), catalogue: catalogue.clone() }
    }

    pub(super) fn heard(&self, method: &str) {
        self.stack.notified(&self.catalogue, method);
    }
}

/// The method of a notification that says that something has changed.
pub(super) fn method_of(notification: &ServerNotification) -> Option<&str> {
    Some(match notification {
        ServerNotification::ToolListChangedNotification(said) => said.method.as_str(),
        ServerNotification::PromptListChangedNotification(said) => said.method.as_str(),
        ServerNotification::ResourceListChangedNotification(said) => said.method.as_str(),
        ServerNotification::ResourceUpdatedNotification(said) => said.method.as_str(),
        _ => return None,
    })
}
