//! The adapters against rmcp, an independent implementation, in both eras and over both transports.

use std::borrow::Cow;
use std::sync::Arc;

use placet_core::authority::{Answer, Ending};
use placet_json::Value;
use placet_mcp::Era;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};

use crate::world::{Wish, World, at, call, json, name, played};

/// Says what it was told.
#[derive(Debug, Clone)]
pub(crate) struct Echo;

/// The same, and knows only the legacy era.
#[derive(Debug, Clone)]
struct Old;

fn info() -> ServerConfig {
    ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
        .with_server_info(Implementation::new("echo", "1"))
}

fn tools() -> ListToolsResult {
    let schema = serde_json::json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    let schema = schema.as_object().unwrap().clone();
    ListToolsResult::with_all_items(vec![Tool::new("echo", "Says what it was told.", schema)])
}

fn echo(request: &CallToolRequestParams) -> Result<CallToolResponse, ErrorData> {
    let Some(text) =
        request.arguments.as_ref().and_then(|all| all.get("text")).and_then(|text| text.as_str())
    else {
        return Err(ErrorData::invalid_params("no text", Some(serde_json::json!({ "n": 1 }))));
    };
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
}

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        info()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(tools())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        echo(&request)
    }
}

impl ServerHandler for Old {
    fn get_info(&self) -> ServerConfig {
        info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2025_11_25])
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(tools())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        echo(&request)
    }
}

async fn serve<S: ServerHandler + Clone>(server: S) -> String {
    let config = StreamableHttpServerConfig::default();
    let service: StreamableHttpService<S, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let router = axum::Router::new().nest_service("/mcp", service);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn converses(world: World, era: Era) {
    let upstream = name("peer");
    world.upstreams.sync(&upstream).await.unwrap();
    let tools = world.upstreams.tools(&upstream).unwrap();
    assert_eq!(tools.era, era);
    assert!(tools.get("echo").is_some());
    for tenant in ["acme", "globex"] {
        for text in ["hello", "grüß dich"] {
            let wish = Wish { tenant, progress: Some(Value::from("p")), ..Wish::default() };
            let arguments = format!(r#"{{"text":"{text}"}}"#);
            let (outcome, _) = world.run_with(call("peer", "echo", &arguments), wish).await.unwrap();
            assert_eq!(outcome.ending, Ending::Done, "{}", outcome.detail);
            let Answer::Result(result) = outcome.answer else { panic!("no result") };
            assert_eq!(result.pointer("/content/0/text"), Some(&Value::from(text)));
        }
    }
    let outcome = world.run(call("peer", "echo", "{}")).await.unwrap();
    assert_eq!(outcome.ending, Ending::Failed);
    let Answer::Error(error) = outcome.answer else { panic!("no error") };
    assert_eq!(error.get("data"), Some(&json(r#"{"n":1}"#)));
}

#[tokio::test]
async fn rmcp_over_http_modern() {
    let url = serve(Echo).await;
    converses(World::new(vec![at("peer", &url)]), Era::Modern).await;
}

#[tokio::test]
async fn rmcp_over_http_legacy_as_the_settings_say() {
    let url = serve(Echo).await;
    let mut config = at("peer", &url);
    config.era = Some(Era::Legacy);
    converses(World::new(vec![config]), Era::Legacy).await;
}

#[tokio::test]
async fn rmcp_over_http_legacy_only() {
    let url = serve(Old).await;
    converses(World::new(vec![at("peer", &url)]), Era::Legacy).await;
}

#[tokio::test]
async fn rmcp_over_stdio() {
    converses(World::new(vec![played("peer", "rmcp")]), Era::Modern).await;
    let mut config = played("peer", "rmcp");
    config.era = Some(Era::Legacy);
    converses(World::new(vec![config]), Era::Legacy).await;
}
