//! A scripted MCP client on `rmcp`: an agent without a model.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, ErrorData,
    Implementation, PingRequest, ProgressNotificationParam, ProgressToken, ProtocolVersion, ServerResult,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Error;
use crate::scenario::{Call, Failure, Mode, Outcome, Progress, Report, Scenario, Step, StepResult, judge};

/// The version of `rmcp` that the workspace pins.
const CLIENT: &str = "rmcp 3.11.0";

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A command line to start as a stdio server. It gets this process's environment.
    Command(Vec<String>),
    /// A Streamable HTTP endpoint.
    Url(String),
}

/// Connects, runs the scenario's steps one after the other, and tells what happened.
pub async fn run(target: &Target, scenario: &Scenario) -> Result<Report, Error> {
    let mut session = Session::connect(
        target,
        scenario.mode,
        &scenario.headers,
        Duration::from_millis(scenario.timeout_ms),
    )
    .await?;
    let mut report = Report {
        client: CLIENT.to_owned(),
        protocol_version: session.protocol_version().to_owned(),
        server: session.server(),
        tools: Vec::new(),
        results: Vec::with_capacity(scenario.steps.len()),
        as_expected: true,
    };
    for step in &scenario.steps {
        let started = Instant::now();
        let mut result = match step {
            Step::ListTools { .. } => session.list_tools().await,
            Step::Call(call) => session.call(call).await,
            Step::Ping {} => session.ping().await,
        };
        result.ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        result.unexpected = judge(step, &result);
        result.as_expected = result.unexpected.is_none();
        report.as_expected &= result.as_expected;
        if let Some(tools) = &result.tools {
            report.tools.clone_from(tools);
        }
        report.results.push(result);
    }
    session.close().await;
    Ok(report)
}

/// A connected client.
#[derive(Debug)]
pub struct Session {
    service: RunningService<RoleClient, Handler>,
    protocol_version: String,
    timeout: Duration,
}

impl Session {
    /// Starts the command or opens the endpoint and agrees on a revision.
    pub async fn connect(
        target: &Target,
        mode: Mode,
        headers: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let modern = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle = match mode {
            Mode::Auto => ClientLifecycleMode::Auto {
                preferred_versions: modern,
                legacy_version: Some(ProtocolVersion::V_2025_11_25),
            },
            Mode::Legacy => ClientLifecycleMode::Initialize,
            Mode::Modern => ClientLifecycleMode::Discover { preferred_versions: modern },
        };
        let handler = Handler::default();
        let connect = async {
            match target {
                Target::Command(command) => {
                    handler.serve_with_lifecycle(child(command)?, lifecycle).await.map_err(protocol)
                }
                Target::Url(url) => {
                    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                        .custom_headers(header_map(headers)?);
                    let transport = StreamableHttpClientTransport::from_config(config);
                    handler.serve_with_lifecycle(transport, lifecycle).await.map_err(protocol)
                }
            }
        };
        let service = Box::pin(tokio::time::timeout(timeout, connect)).await.map_err(protocol)??;
        let protocol_version = service
            .peer_info()
            .map(|server| server.protocol_version.as_str().to_owned())
            .ok_or_else(|| Error::Protocol("the server told no revision".to_owned()))?;
        Ok(Self { service, protocol_version, timeout })
    }

    /// The revision agreed on.
    #[must_use]
    pub fn protocol_version(&self) -> &str {
        &self.protocol_version
    }

    /// Name and version as the server tells them.
    #[must_use]
    pub fn server(&self) -> Option<Value> {
        let info = self.service.peer_info()?.server_info.clone()?;
        Some(json!({ "name": info.name, "version": info.version }))
    }

    /// `tools/list`, all pages, never from a cache.
    pub async fn list_tools(&mut self) -> StepResult {
        let listing = async {
            let mut names = Vec::new();
            let mut request = rmcp::model::PaginatedRequestParams::default();
            loop {
                let page = rmcp::model::ListToolsRequest::with_param(request.clone());
                let ServerResult::ListToolsResult(page) =
                    self.ask(ClientRequest::ListToolsRequest(page)).await?
                else {
                    return Err(ServiceError::UnexpectedResponse);
                };
                names.extend(page.tools.into_iter().map(|tool| tool.name.into_owned()));
                if page.next_cursor.is_none() {
                    return Ok(names);
                }
                request = request.with_cursor(page.next_cursor);
            }
        };
        match listing.await {
            Ok(names) => StepResult { tools: Some(names), ..StepResult::new("list_tools", Outcome::Ok) },
            Err(why) => failed("list_tools", &why),
        }
    }

    /// `ping`, where the revision has it.
    pub async fn ping(&mut self) -> StepResult {
        if self.protocol_version.as_str() >= ProtocolVersion::V_2026_07_28.as_str() {
            return StepResult::new("ping", Outcome::Skipped);
        }
        match self.ask(ClientRequest::PingRequest(PingRequest::default())).await {
            Ok(_) => StepResult::new("ping", Outcome::Ok),
            Err(why) => failed("ping", &why),
        }
    }

    /// `tools/call`. Nothing is judged here.
    pub async fn call(&mut self, call: &Call) -> StepResult {
        let params = CallToolRequestParams::new(call.tool.clone()).with_arguments(call.args.clone());
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let mut options = PeerRequestOptions::with_timeout(self.timeout).reset_timeout_on_progress();
        if !call.meta.is_empty() {
            options = options.with_meta(call.meta.clone().into());
        }
        let mut result = match self.service.send_cancellable_request(request, options).await {
            Ok(handle) => {
                let token = handle.progress_token.clone();
                let result = answer(handle, call.cancel_after_ms).await;
                let progress = self.service.service().take(&token);
                StepResult { progress: call.progress.then_some(progress), ..result }
            }
            Err(why) => failed("call", &why),
        };
        result.tool = Some(call.tool.clone());
        result
    }

    /// Closes the connection; a started command ends.
    pub async fn close(mut self) {
        // What matters was answered before; a server that doesn't end in time is killed by the transport.
        drop(self.service.close_with_timeout(Duration::from_secs(8)).await);
    }

    async fn ask(&self, request: ClientRequest) -> Result<ServerResult, ServiceError> {
        let options = PeerRequestOptions::with_timeout(self.timeout);
        self.service.send_cancellable_request(request, options).await?.await_response().await
    }
}

type Handle = rmcp::service::RequestHandle<RoleClient>;

async fn answer(mut handle: Handle, cancel_after_ms: Option<u64>) -> StepResult {
    let answered = match cancel_after_ms {
        None => handle.await_response().await,
        Some(after) => match tokio::time::timeout(Duration::from_millis(after), &mut handle.rx).await {
            Ok(answered) => answered.unwrap_or(Err(ServiceError::TransportClosed)),
            Err(_) => {
                return match handle.cancel(Some("no longer needed".to_owned())).await {
                    Ok(()) => StepResult::new("call", Outcome::Cancelled),
                    Err(why) => failed("call", &why),
                };
            }
        },
    };
    let result = match answered {
        Ok(ServerResult::CallToolResult(result)) => result,
        Ok(_) => return failed("call", &ServiceError::UnexpectedResponse),
        Err(why) => return failed("call", &why),
    };
    let outcome = if result.is_error == Some(true) { Outcome::ToolError } else { Outcome::Ok };
    let texts: Vec<&str> =
        result.content.iter().filter_map(|block| block.as_text().map(|text| text.text.as_str())).collect();
    StepResult {
        text: Some(texts.join("\n")),
        structured: result.structured_content.clone(),
        ..StepResult::new("call", outcome)
    }
}

fn failed(op: &'static str, why: &ServiceError) -> StepResult {
    let (outcome, error) = if let ServiceError::McpError(error) = why {
        let ErrorData { code, message, data } = error;
        let (code, message) = (Some(i64::from(code.0)), message.clone().into_owned());
        (Outcome::ProtocolError, Failure { code, message, data: data.clone() })
    } else {
        (Outcome::Failed, Failure { code: None, message: why.to_string(), data: None })
    };
    StepResult { error: Some(error), ..StepResult::new(op, outcome) }
}

fn child(command: &[String]) -> Result<TokioChildProcess, Error> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Error::Protocol("an empty command line".to_owned()))?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    Ok(TokioChildProcess::new(command)?)
}

fn header_map(headers: &BTreeMap<String, String>) -> Result<HashMap<HeaderName, HeaderValue>, Error> {
    let parse = |(name, value): (&String, &String)| {
        let name = HeaderName::try_from(name.as_str()).map_err(protocol)?;
        Ok((name, HeaderValue::try_from(value.as_str()).map_err(protocol)?))
    };
    headers.iter().map(parse).collect()
}

fn protocol(why: impl std::fmt::Display) -> Error {
    Error::Protocol(why.to_string())
}

/// Keeps the progress of each call until somebody asks for it.
#[derive(Debug, Clone, Default)]
struct Handler {
    progress: Arc<Mutex<Vec<(ProgressToken, Progress)>>>,
}

impl Handler {
    fn take(&self, token: &ProgressToken) -> Vec<Progress> {
        let mut seen = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extract_if(.., |(of, _)| of == token).map(|(_, progress)| progress).collect()
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("peer-rmcp", "1.0.0"))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let ProgressNotificationParam { progress_token, progress, total, message, .. } = params;
        let mut seen = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((progress_token, Progress { progress, total, message }));
    }
}
