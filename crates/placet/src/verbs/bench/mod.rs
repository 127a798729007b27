//! `placet bench`: what a governed call costs, measured on this machine beside what it can't cost less than.

mod cost;
mod decide;
mod gateway;
mod journal;
mod load;
mod numbers;
mod release;
mod revocation;
mod rig;
mod subject;

use clap::{Args, Subcommand};

use crate::{failure::Failure, output::Answer};

/// Measure on this machine
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    verb: BenchVerb,
}

#[derive(Debug, Subcommand)]
enum BenchVerb {
    Gateway(gateway::Gateway),
    Decide(decide::Decide),
    Journal(journal::Journal),
    Revocation(revocation::Revocation),
}

impl Bench {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            BenchVerb::Gateway(verb) => verb.run(),
            BenchVerb::Decide(verb) => verb.run(),
            BenchVerb::Journal(verb) => verb.run(),
            BenchVerb::Revocation(verb) => verb.run(),
        }
    }
}
