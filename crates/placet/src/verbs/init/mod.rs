//! `placet init`: a small, complete, passing governance project, or one of the templates of `examples/`.

mod templates;

use std::path::{Path, PathBuf};

use clap::Args;
use placet_json::{Value, object};

use self::templates::{SMALL, TEMPLATES, Template};
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// Write a small, complete, passing governance project
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet init desk && cd desk && placet check release && placet test release && placet serve\n  placet init shop --template coding-agent\n  placet init --list"
)]
pub(crate) struct Init {
    /// The directory; it must be empty or not there
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    dir: Option<PathBuf>,
    /// Begin with one of the templates instead of the small desk
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    template: Option<String>,
    /// List the templates
    #[arg(long)]
    list: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Init {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match (&self.dir, &self.template) {
            (Some(dir), None) => self.scaffold(dir, &SMALL),
            (Some(dir), Some(name)) => {
                let template = templates::named(name).ok_or_else(|| {
                    let known: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
                    Failure::new(format!("there is no template `{name}`"))
                        .remedy(format!("there are: {}", known.join(", ")))
                })?;
                self.scaffold(dir, template)
            }
            (None, _) => self.told(),
        }
    }

    fn told(&self) -> Result<Answer, Failure> {
        let all = TEMPLATES
            .iter()
            .map(|template| Value::from(object! { "name" => template.name, "tells" => template.tells }));
        show(self.format, &object! { "templates" => Value::Array(all.collect()) }.into(), |_| {
            let row = |template: &Template| vec![template.name.to_owned(), template.tells.to_owned()];
            table(&["TEMPLATE", "IN IT"], &TEMPLATES.iter().map(row).collect::<Vec<_>>())
        })?;
        Ok(Answer::Yes)
    }

    fn scaffold(&self, dir: &Path, template: &Template) -> Result<Answer, Failure> {
        let taken = dir.exists()
            && std::fs::read_dir(dir)
                .or_fail(format_args!("can't read `{}`", dir.display()))?
                .next()
                .is_some();
        if taken {
            return Err(Failure::new(format!("`{}` is not empty", dir.display()))
                .remedy("nothing was written; name another directory"));
        }
        for (path, content) in template.files {
            write(&dir.join(path), content)?;
        }
        let files = Value::Array(template.files.iter().map(|(path, _)| Value::from(*path)).collect());
        let [agent, of] = template.agent;
        show(
            self.format,
            &object! { "dir" => dir.display().to_string(), "template" => template.name, "files" => files }
                .into(),
            |_| {
                format!(
                    "wrote {} files below `{}`\n\nnext:\n  cd {}\n  placet check release\n  placet test release\n  placet serve &\n  placet facts apply facts.json\n  placet agent enrol {agent} --type {of} --owner maya",
                    template.files.len(),
                    dir.display(),
                    dir.display()
                )
            },
        )?;
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
