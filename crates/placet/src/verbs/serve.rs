//! `placet serve`: the whole product in one process.

use std::path::{Path, PathBuf};

use clap::Args;
use placet_server::{
    log, run,
    settings::{Environment, Settings},
};

use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, pretty, print},
};

/// Serve gateway, token service and administration
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet serve --config placet.toml")]
pub(crate) struct Serve {
    /// The settings; without it `placet.toml` here, or defaults for development where there is none
    #[arg(long, env = "PLACET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what is in force and where each value came from, and end
    #[arg(long)]
    print_config: bool,
    /// How `--print-config` prints
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Serve {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let settings = self.settings()?;
        if self.print_config {
            print(&match self.format {
                Format::Text => settings.print(),
                Format::Json => pretty(&settings.print_json()),
            })?;
            return Ok(Answer::Yes);
        }
        // The last traces are sent when this is dropped, after the server's end.
        let _started = log::start(&settings).map_err(Failure::new)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail("can't start")?;
        runtime.block_on(async {
            let (environment, data) = (settings.server.environment, settings.server.data.clone());
            let running =
                run::serve(settings, &variable).await.map_err(|error| Failure::new(error.to_string()))?;
            eprintln!(
                "placet serves agents at {} and administrators at {}",
                running.public_url, running.admin_url
            );
            if environment == Environment::Dev {
                eprintln!("  the operator's key: {}", data.join("keys").join("operator.pem").display());
            }
            running.until(super::shutdown()).await;
            Ok(Answer::Yes)
        })
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let default = Path::new("placet.toml");
        let settings = match &self.config {
            Some(file) => Settings::load(file, &variable),
            None if default.exists() => Settings::load(default, &variable),
            None => Settings::defaults(Path::new(""), &variable),
        };
        settings.map_err(|problems| Failure::new(format!("the settings can't be used\n{problems}")))
    }
}

/// A variable of this process' environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the settings' own reading of the environment, handed in from the rim"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
