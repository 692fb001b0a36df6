//! The methods of MCP.

use std::{fmt, sync::Arc};

macro_rules! methods {
    ($( $(#[$doc:meta])* $name:ident = $wire:literal $($trait:ident)*; )*) => {
        /// A method of MCP: the known ones of all revisions, and any other by its name.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $( $(#[$doc])* $name, )*
            /// A method that no revision defines.
            Custom(Arc<str>),
        }

        impl Method {
            /// The methods that the specification defines, in the order of their declaration.
            pub const KNOWN: &'static [Self] = &[$( Self::$name, )*];

            /// The method with this name on the wire.
            pub fn from_wire(name: &str) -> Self {
                match name {
                    $( $wire => Self::$name, )*
                    other => Self::Custom(other.into()),
                }
            }

            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$name => $wire, )*
                    Self::Custom(name) => name,
                }
            }

            /// The value of the `mcp_method_name` label: the name, or `_OTHER` for a method that no revision defines, since
            /// such a name is the caller's invention.
            pub const fn label(&self) -> &'static str {
                match self {
                    $( Self::$name => $wire, )*
                    Self::Custom(_) => "_OTHER",
                }
            }

            /// Where this method stands in [`KNOWN`](Self::KNOWN); a custom one stands behind them all.
            pub(crate) fn index(&self) -> usize {
                Self::KNOWN.iter().position(|known| known == self).unwrap_or(Self::KNOWN.len())
            }

            const fn has(&self, wanted: Trait) -> bool {
                match self {
                    $( Self::$name => false $(|| matches!(wanted, Trait::$trait))*, )*
                    Self::Custom(_) => false,
                }
            }
        }
    };
}

enum Trait {
    Read,
    Idempotent,
    Lifecycle,
    Waits,
}

methods! {
    /// Calls a tool.
    ToolsCall = "tools/call";
    /// Lists the tools.
    ToolsList = "tools/list" Read;
    /// Expands a prompt.
    PromptsGet = "prompts/get" Read;
    /// Lists the prompts.
    PromptsList = "prompts/list" Read;
    /// Reads a resource.
    ResourcesRead = "resources/read" Read;
    /// Lists the resources.
    ResourcesList = "resources/list" Read;
    /// Lists the resource templates.
    ResourcesTemplatesList = "resources/templates/list" Read;
    /// Lists the children of a directory resource (skills extension).
    ResourcesDirectoryRead = "resources/directory/read" Read;
    /// Subscribes to a resource (revisions up to 2025-11-25).
    ResourcesSubscribe = "resources/subscribe" Idempotent;
    /// Ends such a subscription.
    ResourcesUnsubscribe = "resources/unsubscribe" Idempotent;
    /// Completes an argument.
    CompletionComplete = "completion/complete" Read;
    /// Sets the level of log messages (revisions up to 2025-11-25).
    LoggingSetLevel = "logging/setLevel" Idempotent;
    /// The handshake (revisions up to 2025-11-25).
    Initialize = "initialize" Lifecycle;
    /// What the server can do (2026-07-28).
    ServerDiscover = "server/discover" Read Lifecycle;
    /// Whether the peer is there.
    Ping = "ping" Read Lifecycle;
    /// A stream of notifications (2026-07-28): a service of its own, not an ordinary call.
    SubscriptionsListen = "subscriptions/listen";
    /// The state of a task.
    TasksGet = "tasks/get" Read;
    /// The result of a task, once there is one (2025-11-25).
    TasksResult = "tasks/result" Read Waits;
    /// The tasks (2025-11-25).
    TasksList = "tasks/list" Read;
    /// Answers what a task asks.
    TasksUpdate = "tasks/update";
    /// Ends a task.
    TasksCancel = "tasks/cancel" Idempotent;
    /// Lists the skills (skills extension).
    SkillsList = "skills/list" Read;
    /// One skill (skills extension).
    SkillsGet = "skills/get" Read;
}

impl Method {
    /// Whether the method only reads, by its definition: repeating it is safe whoever serves it.
    pub const fn is_read(&self) -> bool {
        self.has(Trait::Read)
    }

    /// Whether a second call has no effect beyond the first, by the method's definition: it only reads, or it sets what it
    /// would set again.
    pub const fn is_repeatable(&self) -> bool {
        self.is_read() || self.has(Trait::Idempotent)
    }

    /// Whether the method waits for work that goes on elsewhere, by its definition: how long it takes says nothing of who serves
    /// it. Such a call has the hard end only, and no attempt of it is given up before that.
    pub const fn waits(&self) -> bool {
        self.has(Trait::Waits)
    }

    /// Whether the method keeps the connection itself alive (`initialize`, `server/discover`, `ping`). Such calls are exempt
    /// from limits: an error there ends the connection, not the call.
    pub const fn is_lifecycle(&self) -> bool {
        self.has(Trait::Lifecycle)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
