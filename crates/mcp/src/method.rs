//! Every method of every revision.

use std::fmt;

use crate::{Era, Revision};
use Revision::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

/// Whether a method wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It does.
    Request,
    /// It does not.
    Notification,
}

/// What a method does to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Moves data or has an effect: decided call by call.
    Governed,
    /// Shows what there is: filtered.
    Listing,
    /// Asks the client for data, which its answer brings to the server: question and answer are decided.
    Answer,
    /// Keeps the conversation going: answered or checked by the gateway itself.
    Protocol,
}

/// A method that does not exist, or not that way or not in that revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown method")]
pub struct UnknownMethod;

/// Which method `name` is when sent in this `direction` in this `revision`. Names are compared exactly.
pub fn classify(name: &str, direction: Direction, revision: Revision) -> Result<Method, UnknownMethod> {
    let method = Method::from_name(name).ok_or(UnknownMethod)?;
    if method.exists(direction, revision) { Ok(method) } else { Err(UnknownMethod) }
}

/// Which question `name` is inside `inputRequests` of a modern result.
pub fn classify_input(name: &str) -> Result<Method, UnknownMethod> {
    Method::from_name(name).filter(|method| method.class() == Class::Answer).ok_or(UnknownMethod)
}

type Range = Option<(Revision, Revision)>;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $name:literal $kind:ident $class:ident
        to_server $server:expr, to_client $client:expr;)+) => {
        /// A method. Match it exhaustively: what a new one may do must be thought about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Method {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Request or notification.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }

            /// What it does to data.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class),+ }
            }

            /// The method of that name, whatever its direction and revision.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            /// First and last revision in which it is sent to the server, and to the client.
            const fn ranges(self) -> (Range, Range) {
                match self { $(Self::$variant => ($server, $client)),+ }
            }
        }
    };
}

const NEVER: Range = None;
const ALWAYS: Range = Some((V2025_03_26, V2026_07_28));
const LEGACY: Range = Some((V2025_03_26, V2025_11_25));
const MODERN: Range = Some((V2026_07_28, V2026_07_28));
const ONLY_2025_11_25: Range = Some((V2025_11_25, V2025_11_25));

methods! {
    /// Versions, capabilities, instructions:
    Discover "server/discover" Request Protocol to_server MODERN, to_client NEVER;
    /// The handshake:
    Initialize "initialize" Request Protocol to_server LEGACY, to_client NEVER;
    /// The end of the handshake:
    Initialized "notifications/initialized" Notification Protocol to_server LEGACY, to_client NEVER;
    /// Are you there:
    Ping "ping" Request Protocol to_server LEGACY, to_client LEGACY;
    /// Tool definitions:
    ToolsList "tools/list" Request Listing to_server ALWAYS, to_client NEVER;
    /// Any effect:
    ToolsCall "tools/call" Request Governed to_server ALWAYS, to_client NEVER;
    /// Resource names and URIs:
    ResourcesList "resources/list" Request Listing to_server ALWAYS, to_client NEVER;
    /// URI templates:
    ResourceTemplatesList "resources/templates/list" Request Listing to_server ALWAYS, to_client NEVER;
    /// Data out:
    ResourcesRead "resources/read" Request Governed to_server ALWAYS, to_client NEVER;
    /// When resources and lists change:
    SubscriptionsListen "subscriptions/listen" Request Governed to_server MODERN, to_client NEVER;
    /// When a resource changes:
    ResourcesSubscribe "resources/subscribe" Request Governed to_server LEGACY, to_client NEVER;
    /// No longer:
    ResourcesUnsubscribe "resources/unsubscribe" Request Governed to_server LEGACY, to_client NEVER;
    /// Prompt names:
    PromptsList "prompts/list" Request Listing to_server ALWAYS, to_client NEVER;
    /// Data and text for the model:
    PromptsGet "prompts/get" Request Governed to_server ALWAYS, to_client NEVER;
    /// Leaks values by their prefix:
    Complete "completion/complete" Request Governed to_server ALWAYS, to_client NEVER;
    /// Least severity of log messages; modern requests say it in `_meta`:
    LoggingSetLevel "logging/setLevel" Request Protocol to_server LEGACY, to_client NEVER;
    /// State, in the extension also the result, of an earlier call:
    TasksGet "tasks/get" Request Governed to_server Some((V2025_11_25, V2026_07_28)), to_client ONLY_2025_11_25;
    /// Result of an earlier call:
    TasksResult "tasks/result" Request Governed to_server ONLY_2025_11_25, to_client ONLY_2025_11_25;
    /// Input to a running call (extension):
    TasksUpdate "tasks/update" Request Governed to_server MODERN, to_client NEVER;
    /// End of a running call:
    TasksCancel "tasks/cancel" Request Governed to_server Some((V2025_11_25, V2026_07_28)), to_client ONLY_2025_11_25;
    /// Running calls, perhaps of others:
    TasksList "tasks/list" Request Listing to_server ONLY_2025_11_25, to_client ONLY_2025_11_25;
    /// Stops the sender's own request:
    Cancelled "notifications/cancelled" Notification Protocol to_server ALWAYS, to_client ALWAYS;
    /// How far a request is:
    Progress "notifications/progress" Notification Protocol to_server LEGACY, to_client ALWAYS;
    /// A log message:
    LogMessage "notifications/message" Notification Protocol to_server NEVER, to_client ALWAYS;
    /// The client's directories changed:
    RootsListChanged "notifications/roots/list_changed" Notification Protocol to_server LEGACY, to_client NEVER;
    /// Asks the human, by a form or a page. Modern servers ask inside a result:
    Elicit "elicitation/create" Request Answer to_server NEVER, to_client Some((V2025_06_18, V2025_11_25));
    /// Text into the client's model. Modern servers ask inside a result:
    Sample "sampling/createMessage" Request Answer to_server NEVER, to_client LEGACY;
    /// The client's directories. Modern servers ask inside a result:
    RootsList "roots/list" Request Answer to_server NEVER, to_client LEGACY;
    /// The page was completed:
    ElicitationComplete "notifications/elicitation/complete" Notification Protocol
        to_server NEVER, to_client ONLY_2025_11_25;
    /// Tools changed:
    ToolsListChanged "notifications/tools/list_changed" Notification Protocol to_server NEVER, to_client ALWAYS;
    /// Resources changed:
    ResourcesListChanged "notifications/resources/list_changed" Notification Protocol
        to_server NEVER, to_client ALWAYS;
    /// Prompts changed:
    PromptsListChanged "notifications/prompts/list_changed" Notification Protocol to_server NEVER, to_client ALWAYS;
    /// A resource changed:
    ResourcesUpdated "notifications/resources/updated" Notification Protocol to_server NEVER, to_client ALWAYS;
    /// What a subscription covers:
    SubscriptionsAcknowledged "notifications/subscriptions/acknowledged" Notification Protocol
        to_server NEVER, to_client MODERN;
    /// A task with its result (extension):
    TasksNotification "notifications/tasks" Notification Governed to_server NEVER, to_client MODERN;
    /// A task's state:
    TasksStatus "notifications/tasks/status" Notification Governed
        to_server ONLY_2025_11_25, to_client ONLY_2025_11_25;
}

impl Method {
    /// Whether it is sent in this direction in this revision.
    #[must_use]
    pub fn exists(self, direction: Direction, revision: Revision) -> bool {
        let (to_server, to_client) = self.ranges();
        let range = match direction {
            Direction::ToServer => to_server,
            Direction::ToClient => to_client,
        };
        range.is_some_and(|(first, last)| (first..=last).contains(&revision))
    }

    /// Whether it is sent in any direction in this era.
    #[must_use]
    pub fn in_era(self, era: Era) -> bool {
        Revision::ALL.into_iter().filter(|revision| revision.era() == era).any(|revision| {
            self.exists(Direction::ToServer, revision) || self.exists(Direction::ToClient, revision)
        })
    }

    /// Whether a modern server may answer it with `input_required`.
    #[must_use]
    pub fn may_ask(self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }

    /// Whether its modern result carries `ttlMs` and `cacheScope`.
    #[must_use]
    pub fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ToolsList
                | Self::ResourcesList
                | Self::ResourceTemplatesList
                | Self::ResourcesRead
                | Self::PromptsList
        )
    }

    /// Member of `params` that the header `Mcp-Name` mirrors.
    #[must_use]
    pub fn name_param(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some("taskId"),
            Self::Discover
            | Self::Initialize
            | Self::Initialized
            | Self::Ping
            | Self::ToolsList
            | Self::ResourcesList
            | Self::ResourceTemplatesList
            | Self::SubscriptionsListen
            | Self::ResourcesSubscribe
            | Self::ResourcesUnsubscribe
            | Self::PromptsList
            | Self::Complete
            | Self::LoggingSetLevel
            | Self::TasksResult
            | Self::TasksList
            | Self::Cancelled
            | Self::Progress
            | Self::LogMessage
            | Self::RootsListChanged
            | Self::Elicit
            | Self::Sample
            | Self::RootsList
            | Self::ElicitationComplete
            | Self::ToolsListChanged
            | Self::ResourcesListChanged
            | Self::PromptsListChanged
            | Self::ResourcesUpdated
            | Self::SubscriptionsAcknowledged
            | Self::TasksNotification
            | Self::TasksStatus => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_exact() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name()), Some(*method));
            assert!(method.in_era(Era::Legacy) || method.in_era(Era::Modern), "{method} exists nowhere");
        }
        for name in [
            "Tools/call",
            "tools/call ",
            "tools/Call",
            "tool\u{17f}/call",
            "tools/call\0",
            "",
            "rpc.discover",
        ] {
            for revision in Revision::ALL {
                assert_eq!(classify(name, Direction::ToServer, revision), Err(UnknownMethod), "{name}");
            }
        }
    }

    #[test]
    fn mcp_5_modern_servers_send_no_requests() {
        for method in Method::ALL.iter().filter(|method| method.kind() == Kind::Request) {
            assert!(!method.exists(Direction::ToClient, V2026_07_28), "{method}");
        }
        assert_eq!(classify_input("elicitation/create"), Ok(Method::Elicit));
        assert_eq!(classify_input("tools/call"), Err(UnknownMethod));
    }

    #[test]
    fn what_asks_the_client_is_an_answer() {
        let asking: Vec<_> = Method::ALL.iter().filter(|method| method.class() == Class::Answer).collect();
        assert_eq!(asking, [&Method::Elicit, &Method::Sample, &Method::RootsList]);
    }
}
