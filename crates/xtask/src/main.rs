//! Chores of the house: `cargo run -p xtask -- tidy | docs | peers | opal-bench | fuzz`.

mod docs;
mod fuzz;
mod opal;
mod peers;
mod tidy;

use std::process::ExitCode;

/// What a chore says: nothing, or everything that is wrong.
type Outcome = Result<(), Vec<String>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["docs", "--check"] => docs::run(docs::Mode::Check),
        ["docs"] => docs::run(docs::Mode::Write),
        ["peers", rest @ ..] => peers::run(rest),
        ["opal-bench", rest @ ..] => opal::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        _ => Err(vec!["usage: xtask tidy | docs [--check] | peers [NAME…] | opal-bench [--release] | fuzz [--seconds N]".to_owned()]),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in &problems {
                eprintln!("xtask: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}
