//! `placet demo`: the whole product on embedded defaults, told as a story.
//!
//! Real parts, one machine: this binary's own server, tool-proxies and agents' connectors as processes, three MCP
//! servers with their own databases, an MCP client that knows nothing of Placet. Only the agent is played: a script
//! stands for a model that believes a poisoned ticket. What came out is judged by the tools' databases and by the
//! ledger, never by what was printed.

mod agent;
mod evidence;
mod files;
mod more;
mod scenes;
mod stage;
mod tell;
mod thief;

use std::path::PathBuf;

use clap::Args;

use crate::{
    failure::{Failure, OrFail},
    output::Answer,
};
use stage::Stage;
use tell::Teller;

/// See it: an agent without Placet, with Placet, why, and stop
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet demo\n  placet demo --all\n  placet demo --keep --data /tmp/placet-demo"
)]
pub(crate) struct Demo {
    /// Also what attackers, other tenants and accidents try
    #[arg(long)]
    all: bool,
    /// Leave it running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Leave the data directory here; it must be empty or not there yet
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .or_fail("can't start")?;
        runtime.block_on(self.play())
    }

    async fn play(self) -> Result<Answer, Failure> {
        let mut tell = Teller::new();
        tell.title("Placet: the model proposes, Placet decides");
        tell.aside("Real MCP servers (CRM, billing, chat) with their own databases; a real MCP client. The model is played by a");
        tell.aside("script that believes what a poisoned ticket says, and its people's keys were made by the operator: you.");

        scenes::without(&mut tell).await?;
        let mut stage = Stage::build(self.data.clone()).await?;
        scenes::with(&mut tell, &mut stage).await?;
        scenes::why(&mut tell, &mut stage).await?;
        scenes::stop(&mut tell, &mut stage).await?;
        if self.all {
            more::all(&mut tell, &mut stage).await?;
        }
        let evidence = stage.evidence().await?;
        let judged = evidence.judge(if self.all { evidence::Told::All } else { evidence::Told::Four });
        tell.verdict(&judged, &evidence);
        if judged.is_empty() {
            tell.next(self.all, stage.data());
        }
        if self.keep {
            Teller::running(&stage);
            tokio::signal::ctrl_c().await.or_fail("can't wait")?;
        }
        stage.end().await;
        Ok(Answer::of(judged.is_empty() && tell.came_out_as_told()))
    }
}
