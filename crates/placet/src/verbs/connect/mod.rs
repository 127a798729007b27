//! `placet connect`: a stdio MCP server, or an HTTP API on loopback, for a local client that can't hold a key.
//!
//! It holds the agent's key, gets tokens, signs a proof for each request and speaks to the gateway over HTTP. It
//! decides nothing and keeps nothing but the key; whoever starts it is who it serves.

mod agent;
mod http;
mod relay;
mod stdio;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;

use crate::{
    failure::{Failure, OrFail},
    output::Answer,
};

pub(crate) use agent::{Held, workflow_token};

use agent::Agent;

/// Serve MCP over stdio for a local client, as an enrolled agent of a gateway
#[derive(Debug, Args)]
#[command(after_help = "Example, as a client's whole configuration:\n  \
    { \"command\": \"placet\", \"args\": [\"connect\", \"--key\", \"agent.pem\", \"--workflow\", \"acme/wf-9\"] }\n\n\
    The first time, with the code that `placet agent enrol` printed:\n  \
    placet connect --key agent.pem --enrol placet_enrol_… --workflow acme/wf-9\n\n\
    For an HTTP client, an HTTP API by its own paths:\n  \
    placet connect --key agent.pem --workflow acme/wf-9 --upstream cases --http 127.0.0.1:8720")]
pub(crate) struct Connect {
    /// The gateway's public URL
    #[arg(long, env = "PLACET_GATEWAY", default_value = "http://127.0.0.1:8717", value_name = "URL")]
    server: String,
    /// The agent's private key; made with `--enrol` where it isn't there yet
    #[arg(long, env = "PLACET_AGENT_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The agent's id; known after enrolment
    #[arg(long, env = "PLACET_AGENT", value_name = "ID")]
    agent: Option<String>,
    /// Enrol the key with this code first; does nothing where the key is enrolled already
    #[arg(long, env = "PLACET_ENROL", value_name = "CODE", hide_env_values = true)]
    enrol: Option<String>,
    /// The workflow, as TENANT/WORKFLOW; needed where the agent has several delegations
    #[arg(long, env = "PLACET_WORKFLOW", value_name = "TENANT/WORKFLOW")]
    workflow: Option<String>,
    /// The delegation; needed where the agent has several in the workflow
    #[arg(long, env = "PLACET_DELEGATION", value_name = "ID")]
    delegation: Option<String>,
    /// The intent of every call; needed where the workflow has several
    #[arg(long, env = "PLACET_INTENT", value_name = "NAME")]
    intent: Option<String>,
    /// Only this upstream's tools, under their own names
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Instead of MCP, serve the HTTP API of `--upstream` here, on loopback; its address is printed
    #[arg(long, value_name = "ADDRESS:PORT", requires = "upstream")]
    http: Option<SocketAddr>,
}

impl Connect {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .or_fail("can't start")?;
        let served = runtime.block_on(async {
            let agent = Agent::open(&self).await?;
            match (self.http, &self.upstream) {
                (Some(address), Some(upstream)) => http::serve(agent, address, upstream).await,
                _ => relay::serve(Arc::new(agent)).await,
            }
        });
        // Reading standard input can't be interrupted; whoever waits for it would wait for ever.
        runtime.shutdown_background();
        served.map(|()| Answer::Yes)
    }
}
