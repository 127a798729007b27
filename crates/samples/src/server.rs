//! A sample as an MCP server over Streamable HTTP or stdio.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use rusqlite::Connection;
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use crate::control::Control;
use crate::database::{Error, open};
use crate::tool::Fault;
use crate::{Kind, billing, chat, crm};

/// A sample server with its database open. Clones share both.
#[derive(Debug, Clone)]
pub struct Sample {
    kind: Kind,
    connection: Arc<Mutex<Connection>>,
    control: Control,
}

impl Sample {
    /// Opens a sample on a file that [`seed`](crate::seed) made.
    pub fn open(kind: Kind, database: &Path) -> Result<Self, Error> {
        let connection = Arc::new(Mutex::new(open(database)?));
        Ok(Self { kind, connection, control: Control::default() })
    }

    /// The strings behind it.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves Streamable HTTP at `/mcp` until [`Control::stop`]: 2026-07-28 without sessions, older revisions
    /// with them. With a `key`, every request needs `Authorization: Bearer KEY`: the standing key of a tool
    /// that knows no better.
    pub async fn serve_http(self, listener: TcpListener, key: Option<String>) -> Result<(), Error> {
        let control = self.control();
        let config =
            StreamableHttpServerConfig::default().with_cancellation_token(control.stopped().child_token());
        let service: StreamableHttpService<Self, LocalSessionManager> =
            StreamableHttpService::new(move || Ok(self.clone()), Arc::default(), config);
        let mut router = axum::Router::new().nest_service("/mcp", service);
        if let Some(key) = key {
            let guard = Guard { expected: format!("Bearer {key}").into(), control: control.clone() };
            router = router.layer(middleware::from_fn_with_state(guard, require_key));
        }
        let stopped = control.stopped().clone();
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopped.cancelled().await })
            .await?;
        Ok(())
    }

    /// Serves this process's standard input and output until the client closes them.
    pub async fn serve_stdio(self) -> Result<(), Error> {
        let stopped = self.control.stopped().clone();
        let running = self
            .serve_with_ct(rmcp::transport::stdio(), stopped)
            .await
            .map_err(|why| Error::Protocol(why.to_string()))?;
        running.waiting().await.map_err(|why| Error::Protocol(why.to_string()))?;
        Ok(())
    }

    fn tools(&self) -> Vec<Tool> {
        self.control.described(match self.kind {
            Kind::Crm => crm::tools(),
            Kind::Billing => billing::tools(),
            Kind::Chat => chat::tools(),
        })
    }

    /// Runs a tool where SQLite may block.
    async fn run(&self, tool: String, arguments: JsonObject) -> Result<Result<Value, Fault>, ErrorData> {
        let (kind, connection) = (self.kind, Arc::clone(&self.connection));
        let run = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            match kind {
                Kind::Crm => crm::call(&connection, &tool, arguments),
                Kind::Billing => billing::call(&mut connection, &tool, arguments),
                Kind::Chat => chat::call(&connection, &tool, arguments),
            }
        };
        tokio::task::spawn_blocking(run).await.map_err(|why| ErrorData::internal_error(why.to_string(), None))
    }
}

impl ServerHandler for Sample {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(self.kind.name(), env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.control.count_call(&request.name);
        let tool = request.name.into_owned();
        let result = match self.run(tool.clone(), request.arguments.unwrap_or_default()).await? {
            Ok(value) => CallToolResult::structured(value),
            Err(Fault::Unknown) => {
                return Err(ErrorData::invalid_params(format!("unknown tool: {tool}"), None));
            }
            Err(fault @ (Fault::Refused(_) | Fault::Database(_))) => {
                CallToolResult::error(vec![ContentBlock::text(fault.to_string())])
            }
        };
        Ok(result.into())
    }
}

#[derive(Clone)]
struct Guard {
    expected: Arc<str>,
    control: Control,
}

async fn require_key(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if bool::from(given.ct_eq(guard.expected.as_bytes())) {
        return next.run(request).await;
    }
    guard.control.count_turned_away();
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
}
