//! `placet init`: a small, complete, passing governance project.

use std::path::{Path, PathBuf};

use clap::Args;
use placet_json::{Value, object};

use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

/// Write a small, complete, passing governance project
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet init desk && cd desk && placet check release && placet test release && placet serve"
)]
pub(crate) struct Init {
    /// The directory; it must be empty or not there
    dir: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

macro_rules! files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../assets/init/", $path)))),*] };
}

const FILES: &[(&str, &str)] = files![
    "placet.toml",
    "facts.json",
    "release/release.toml",
    "release/reasons.toml",
    "release/relations.toml",
    "release/policies/desk.rego",
    "release/policies/desk_test.rego",
    "release/catalog/desk.toml",
    "release/workflow_types/support_case.toml",
    "release/tests/desk.yaml",
    "release/tests/facts/desk.json",
    "release/tests/facts/inactive.json",
];

impl Init {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let dir = &self.dir;
        let taken = dir.exists()
            && std::fs::read_dir(dir)
                .or_fail(format_args!("can't read `{}`", dir.display()))?
                .next()
                .is_some();
        if taken {
            return Err(Failure::new(format!("`{}` is not empty", dir.display()))
                .remedy("nothing was written; name another directory"));
        }
        for (path, content) in FILES {
            write(&dir.join(path), content)?;
        }
        let files = Value::Array(FILES.iter().map(|(path, _)| Value::from(*path)).collect());
        show(self.format, &object! { "dir" => dir.display().to_string(), "files" => files }.into(), |_| {
            format!(
                "wrote {} files below `{}`\n\nnext:\n  cd {}\n  placet check release\n  placet test release\n  placet serve &\n  placet facts apply facts.json\n  placet agent enrol desk-1 --type support_agent --owner maya",
                FILES.len(),
                dir.display(),
                dir.display()
            )
        })?;
        Ok(Answer::Yes)
    }
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let what = || format!("can't write `{}`", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).or_fail(what())?;
    }
    std::fs::write(path, content).or_fail(what())
}
