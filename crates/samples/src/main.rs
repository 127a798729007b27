//! Serves a sample, or plays a scenario, from a command line:
//!
//! ```text
//! placet-sample crm|billing|chat DATABASE                    over stdio; a missing database is seeded
//! placet-sample crm|billing|chat DATABASE ADDRESS [KEY]      over HTTP at http://ADDRESS/mcp
//! placet-sample desk ADDRESS [KEY]                           an HTTP API at http://ADDRESS/v1
//! placet-sample desk openapi                                 prints what that API says of itself
//! placet-sample client [--scenario FILE] (URL | -- COMMAND ARGS…)    prints the report; reads stdin without FILE
//! ```

use std::path::Path;
use std::process::ExitCode;

use placet_samples::client::{Target, run};
use placet_samples::scenario::Scenario;
use placet_samples::{Error, Kind, Sample, seed};
use tokio::net::TcpListener;

const USAGE: &str = "usage: placet-sample crm|billing|chat DATABASE [ADDRESS [KEY]]
       placet-sample desk ADDRESS [KEY] | desk openapi
       placet-sample client [--scenario FILE] (URL | -- COMMAND ARGS…)";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["client", "--scenario", file, target @ ..] => Box::pin(play(Some(file), target)).await,
        ["client", target @ ..] => Box::pin(play(None, target)).await,
        ["desk", "openapi"] => {
            print!("{}", placet_samples::desk::DESCRIPTION);
            Ok(ExitCode::SUCCESS)
        }
        ["desk", address, key @ ..] if key.len() <= 1 => desk(address, key.first().copied()).await,
        [kind, database, rest @ ..] if rest.len() <= 2 => match Kind::from_name(kind) {
            Some(kind) => serve(kind, Path::new(database), rest).await,
            None => Err(USAGE.to_owned()),
        },
        _ => Err(USAGE.to_owned()),
    };
    done.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

async fn desk(address: &str, key: Option<&str>) -> Result<ExitCode, String> {
    let listener = TcpListener::bind(address).await.map_err(|why| format!("{address}: {why}"))?;
    let served = placet_samples::desk::Desk::new().serve(listener, key.map(str::to_owned)).await;
    served.map(|()| ExitCode::SUCCESS).map_err(|why| why.to_string())
}

async fn play(file: Option<&str>, target: &[&str]) -> Result<ExitCode, String> {
    let target = match target {
        ["--", command @ ..] if !command.is_empty() => {
            Target::Command(command.iter().map(|word| (*word).to_owned()).collect())
        }
        [url] if url.starts_with("http") => Target::Url((*url).to_owned()),
        _ => return Err(USAGE.to_owned()),
    };
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?,
        None => std::io::read_to_string(std::io::stdin()).map_err(|why| why.to_string())?,
    };
    let scenario: Scenario = serde_json::from_str(&text).map_err(|why| format!("scenario: {why}"))?;
    let report = run(&target, &scenario).await.map_err(|why| why.to_string())?;
    println!("{}", serde_json::to_string(&report).map_err(|why| why.to_string())?);
    Ok(if report.as_expected { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn serve(kind: Kind, database: &Path, http: &[&str]) -> Result<ExitCode, String> {
    let told = |why: Error| why.to_string();
    if !database.exists() {
        seed(kind, database).map_err(told)?;
    }
    let sample = Sample::open(kind, database).map_err(told)?;
    match http {
        [address, key @ ..] => {
            let listener = TcpListener::bind(address).await.map_err(|why| format!("{address}: {why}"))?;
            let key = key.first().map(|key| (*key).to_owned());
            sample.serve_http(listener, key).await.map_err(told)?;
        }
        [] => sample.serve_stdio().await.map_err(told)?,
    }
    Ok(ExitCode::SUCCESS)
}
