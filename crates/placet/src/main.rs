//! `placet`: the command line.
//!
//! One file a verb ([`verbs`]). Pure verbs (`check`, `test`, `decide`, `release build`) need no server; those that act
//! on a server sign each request with the operator's or a person's key. Exit status: 0 yes, 1 no, 2 it could not be
//! done, with one message on standard error.

mod admin;
mod cli;
mod clock;
mod failure;
mod http;
mod keyfile;
mod memory;
mod output;
mod verbs;

use std::process::ExitCode;

/// Evaluating a policy is thousands of small allocations among large facts, where glibc's allocator took twice the time;
/// see `docs/benchmarks.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    memory::measure();
    let cli = <cli::Cli as clap::Parser>::parse();
    match cli.run() {
        Ok(answer) => answer.into(),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.status())
        }
    }
}
