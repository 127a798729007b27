//! `placet doctor`: find what is misconfigured, with the remedy.

use std::path::PathBuf;

use clap::Args;
use placet_json::{Value, object};
use placet_server::settings::Settings;
use placet_store::{Projection, Reader};

use super::{common::cell, serve::variable};
use crate::{
    admin::{DEFAULT_SERVER, ServerArgs, block_on},
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show},
};

/// Look at settings, data directory and server; make the search index anew
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet doctor\n  placet doctor --rebuild --config placet.toml")]
pub(crate) struct Doctor {
    /// The settings
    #[arg(long, env = "PLACET_CONFIG", default_value = "placet.toml", value_name = "FILE")]
    config: PathBuf,
    /// Make the search index anew from the journal
    #[arg(long)]
    rebuild: bool,
    /// Don't ask the server; databases that the settings name are looked at all the same
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// One thing that was looked at: what, and what is wrong with it.
struct Looked {
    what: String,
    problem: Option<String>,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let mut looked = Vec::new();
        let loaded = if self.config.exists() {
            Settings::load(&self.config, &variable)
        } else {
            Settings::defaults(std::path::Path::new(""), &variable)
        };
        let settings = match loaded {
            Ok(settings) => {
                looked.push(Looked { what: format!("settings `{}`", self.config.display()), problem: None });
                Some(settings)
            }
            Err(problems) => {
                looked.push(Looked { what: "settings".to_owned(), problem: Some(problems.to_string()) });
                None
            }
        };
        if let Some(settings) = &settings {
            let data = &settings.server.data;
            if self.rebuild {
                let reader = Reader::open(data).or_fail("can't read the journal")?;
                let rows = Projection::open(data)
                    .and_then(|mut index| index.rebuild(&reader, placet_audit::extract))
                    .or_fail("can't make the index")?;
                looked.push(Looked {
                    what: format!("search index: {rows} records indexed anew"),
                    problem: None,
                });
            }
            if data.exists() {
                looked.push(journal(data));
            }
            let databases = async { Ok(placet_server::databases::look(settings, &variable).await) };
            looked.extend(
                block_on(databases)?.into_iter().map(|(what, found)| Looked { what, problem: found.err() }),
            );
        }
        if !self.offline {
            looked.extend(self.ask(settings.as_ref()));
        }
        let fine = looked.iter().all(|looked| looked.problem.is_none());
        let checks = looked.iter().map(|looked| {
            Value::from(object! { "what" => looked.what.as_str(), "ok" => looked.problem.is_none(), "problem" => looked.problem.as_deref().map_or(Value::Null, Value::from) })
        });
        let document = Value::from(object! { "ok" => fine, "checks" => Value::Array(checks.collect()) });
        show(self.format, &document, |_| {
            looked.iter().fold(String::new(), |text, looked| match &looked.problem {
                None => text + &format!("{} {}\n", paint("fine", Colour::Green), looked.what),
                Some(problem) => {
                    text + &format!("{} {}: {problem}\n", paint("bad ", Colour::Red), looked.what)
                }
            })
        })?;
        Ok(Answer::of(fine))
    }

    fn ask(&self, settings: Option<&Settings>) -> Vec<Looked> {
        let mut server = self.server.clone();
        // Who names settings means their server, unless another is named.
        if let Some(settings) = settings.filter(|_| server.server == DEFAULT_SERVER) {
            server.server.clone_from(&settings.server.admin_url);
            if !server.key.exists() {
                server.key = settings.server.data.join("keys/operator.pem");
            }
        }
        let what = format!("server {}", server.server);
        let answer = server.open().and_then(|admin| {
            block_on(async {
                let status = admin.get("/v1/status").await?;
                let upstreams = admin.get("/v1/upstreams").await?;
                let waivers = admin.get("/v1/waivers").await?;
                let streams = admin.get("/v1/streams").await?;
                let databases = admin.get("/v1/databases").await?;
                Ok((status, upstreams, waivers, databases, streams))
            })
        });
        let (status, upstreams, waivers, databases, streams) = match answer {
            Ok(answer) => answer,
            Err(failure) => return vec![Looked { what, problem: Some(failure.to_string()) }],
        };
        let problem = match (
            status.get("ready").and_then(Value::as_bool),
            status.get("release").is_some_and(|release| !release.is_null()),
        ) {
            (Some(true), true) => None,
            (Some(true), false) => Some("no release is in force; `placet promote` one".to_owned()),
            _ => Some(cell(&status, "why")),
        };
        let mut looked = vec![Looked { what, problem }];
        looked.extend(fleet(&status, &databases));
        for upstream in upstreams.get("upstreams").and_then(Value::as_array).unwrap_or_default() {
            let answers = upstream.get("answers").and_then(Value::as_bool) == Some(true);
            looked.push(Looked {
                what: format!("upstream `{}`", cell(upstream, "name")),
                problem: (!answers).then(|| cell(upstream, "why")),
            });
        }
        for stream in streams.get("streams").and_then(Value::as_array).unwrap_or_default() {
            let failing = cell(stream, "state") == "failing";
            looked.push(Looked {
                what: format!("stream `{}`", cell(stream, "name")),
                problem: failing.then(|| {
                    format!(
                        "{}; {} records wait in the ledger, the oldest for {} ms",
                        cell(stream, "why"),
                        cell(stream, "lag"),
                        cell(stream, "lag_ms")
                    )
                }),
            });
        }
        for waiver in waivers.get("waivers").and_then(Value::as_array).unwrap_or_default() {
            if cell(waiver, "state") == "holds" {
                looked.push(Looked {
                    what: format!("{} `{}`", cell(waiver, "kind"), cell(waiver, "id")),
                    problem: Some(format!(
                        "what policy refuses to `{}` goes out to `{}` ({}) until {}",
                        cell(waiver, "agent"),
                        cell(waiver, "upstream"),
                        cell(waiver, "effect"),
                        cell(waiver, "ends")
                    )),
                });
            }
        }
        looked
    }
}

/// The gateways on one database: one whose release isn't this server's decides otherwise.
fn fleet(status: &Value, databases: &Value) -> Vec<Looked> {
    let ours = status.get("release").and_then(Value::as_str).unwrap_or_default();
    let gateways = databases.pointer("/journal/gateways").and_then(Value::as_array).unwrap_or_default();
    let one = |gateway: &Value| {
        let name = format!("gateway `{}` (lease {})", cell(gateway, "name"), cell(gateway, "lease"));
        let Some(version) = gateway.get("version").and_then(Value::as_str) else {
            let problem = Some("it doesn't say which release it has; is it of an older version?".to_owned());
            return Looked { what: name, problem };
        };
        let release = gateway.get("release").and_then(Value::as_str).unwrap_or("no release");
        let seconds = gateway.get("said_ms_ago").and_then(Value::as_u64).unwrap_or_default() / 1000;
        let problem = (release != ours).then(|| {
            let revision = cell(gateway, "revision");
            format!(
                "it has {release}, this server {}; it said so {seconds} s ago, at revision {revision}: if that stays, restart it and read its log",
                if ours.is_empty() { "none" } else { ours }
            )
        });
        Looked { what: format!("{name}: placet {version}, {release}"), problem }
    };
    gateways.iter().map(one).collect()
}

/// The whole journal is read: chain and frames are checked on the way.
fn journal(data: &std::path::Path) -> Looked {
    let what = format!("journal in `{}`", data.display());
    let read = Reader::open(data).map_err(|error| error.to_string()).and_then(|reader| {
        let last = reader.last();
        reader
            .range(1, last)
            .try_for_each(|record| record.map(drop))
            .map_err(|error| error.to_string())
            .map(|()| last)
    });
    match read {
        Ok(last) => Looked { what: format!("{what}: {last} records"), problem: None },
        Err(error) => Looked { what, problem: Some(error) },
    }
}
