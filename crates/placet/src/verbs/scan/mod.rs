//! `placet scan`: which agents, tools and standing credentials are on a machine. Reads files, changes nothing, calls
//! nobody, and prints no value.

mod clients;
mod collect;
mod files;
mod governed;
mod jsonc;
mod kube;
mod report;
mod sarif;
mod shapes;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use placet_jose::keys::random_id;

use super::serve::variable;
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, pretty, print},
};

use collect::{Collector, Place};
use governed::Governed;
use shapes::Shapes;

/// Find the agents, tools and standing credentials of this machine; nothing is changed, no value is printed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet scan\n  \
    placet scan --path . --path deploy/ --config placet.toml --format sarif > scan.sarif\n\n\
    Exit status: 0 no standing credential, 1 at least one, 2 it could not be done")]
pub(crate) struct Scan {
    /// A home: the configurations of its clients (Claude, Cursor, VS Code, Zed, Windsurf, …), its shells' and tools'
    /// files. Your own, if neither this nor `--path` is given
    #[arg(long, value_name = "DIR")]
    home: Vec<PathBuf>,
    /// A tree or file to read: projects' client configurations, environment files, Kubernetes manifests
    #[arg(long, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// This process's own environment, too
    #[arg(long)]
    environment: bool,
    /// Settings of a gateway: tells which credentials open an upstream that it governs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What fingerprints are made with; by default drawn anew, so that they say "the same" within one report only
    #[arg(long, value_name = "FILE")]
    salt: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Report,
}

/// How a scan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Report {
    /// For people.
    Text,
    /// One JSON document, stable.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// The shortest salt, in bytes: with one that can be guessed, weak secrets can be.
const MIN_SALT: usize = 16;

impl Scan {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let shapes = Shapes::new().or_fail("the forms of credentials")?;
        let governed = self.config.as_deref().map(Governed::read).transpose()?.unwrap_or_default();
        let mut found = Collector::new(shapes, governed, self.salt()?, clock::secs());
        let mut homes = self.home.clone();
        if homes.is_empty() && self.path.is_empty() {
            let home = variable("HOME").filter(|home| !home.is_empty());
            homes.push(home.map(PathBuf::from).ok_or_else(|| {
                Failure::new("there is no HOME").remedy("say what to read: `--home DIR` or `--path PATH`")
            })?);
        }
        for path in homes.iter().chain(&self.path) {
            std::fs::metadata(path).or_fail(format_args!("can't read `{}`", path.display()))?;
        }
        for home in &homes {
            files::home(home, &mut found);
        }
        for path in &self.path {
            files::tree(path, &mut found);
        }
        if self.environment {
            environment(&mut found);
        }
        let document = report::document(&found);
        print(&match self.format {
            Report::Text => report::page(&document),
            Report::Json => pretty(&document),
            Report::Sarif => pretty(&sarif::log(&document)),
        })?;
        Ok(Answer::of(!found.credentials.iter().any(|credential| found.standing(credential))))
    }

    fn salt(&self) -> Result<Vec<u8>, Failure> {
        let Some(path) = &self.salt else { return Ok(random_id().or_fail("no randomness")?.into_bytes()) };
        let salt = std::fs::read(path).or_fail(format_args!("can't read `{}`", path.display()))?;
        if salt.len() < MIN_SALT {
            return Err(Failure::new(format!("the salt in `{}` is too short", path.display())).remedy(
                "keep at least 16 random bytes in it, and to yourself: `openssl rand -out salt 32`",
            ));
        }
        Ok(salt)
    }
}

/// What any agent that is started from here would inherit.
fn environment(found: &mut Collector) {
    let place = Place {
        file: PathBuf::from("(environment)"),
        line: None,
        path: Vec::new(),
        modified: None,
        owner: None,
        user: Some("this process".to_owned()),
        governed: None,
    };
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned());
        found.judge(&name, &value, &Place { path: vec![name.clone()], ..place.clone() });
    }
}
