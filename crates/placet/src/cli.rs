//! The command line's grammar. Each verb's arguments stand with the verb.

use clap::{Parser, Subcommand};

use crate::{failure::Failure, output::Answer, verbs};

/// Governs what AI agents may do: which tool, for whom, in which work, for which purpose.
///
/// Exit status: 0 yes (permitted, passed, done), 1 no (denied, failed, refused), 2 it could not be done.
#[derive(Debug, Parser)]
#[command(name = "placet", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(verbs::demo::Demo),
    Init(verbs::init::Init),
    Import(verbs::import::Import),
    Scan(verbs::scan::Scan),
    Serve(verbs::serve::Serve),
    Connect(verbs::connect::Connect),
    Tenant(verbs::people::Tenant),
    Agent(verbs::people::Agent),
    Delegate(verbs::authority::Delegate),
    Workflow(verbs::authority::Workflow),
    Approve(verbs::authority::Approve),
    Revoke(verbs::authority::Revoke),
    Freeze(verbs::authority::Freeze),
    Unfreeze(verbs::authority::Unfreeze),
    Observe(verbs::waivers::Observe),
    Enforce(verbs::waivers::Enforce),
    Exception(verbs::waivers::Exception),
    Facts(verbs::facts::Facts),
    Effects(verbs::effects::Effects),
    Erase(verbs::erase::Erase),
    Risk(verbs::risk::Risk),
    Totals(verbs::totals::Totals),
    Check(verbs::check::Check),
    Test(verbs::test::Test),
    Decide(verbs::decide::Decide),
    Explain(verbs::explain::Explain),
    Can(verbs::can::Can),
    Diff(verbs::diff::Diff),
    Release(verbs::release::ReleaseVerb),
    Promote(verbs::promote::Promote),
    Review(verbs::review::Review),
    Rollback(verbs::rollback::Rollback),
    Catalog(verbs::catalog::Catalog),
    Opal(verbs::opal::Opal),
    Vault(verbs::vault::Vault),
    Key(verbs::key::Key),
    Scim(verbs::scim::Scim),
    Stream(verbs::stream::Stream),
    ToolProxy(verbs::tool_proxy::ToolProxy),
    Probe(verbs::probe::Probe),
    Audit(verbs::audit::Audit),
    Backup(verbs::backup::Backup),
    Restore(verbs::backup::Restore),
    Doctor(verbs::doctor::Doctor),
    Bench(verbs::bench::Bench),
}

impl Cli {
    /// Does it.
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Demo(verb) => verb.run(),
            Verb::Init(verb) => verb.run(),
            Verb::Import(verb) => verb.run(),
            Verb::Scan(verb) => verb.run(),
            Verb::Serve(verb) => verb.run(),
            Verb::Connect(verb) => verb.run(),
            Verb::Tenant(verb) => verb.run(),
            Verb::Agent(verb) => verb.run(),
            Verb::Delegate(verb) => verb.run(),
            Verb::Workflow(verb) => verb.run(),
            Verb::Approve(verb) => verb.run(),
            Verb::Revoke(verb) => verb.run(),
            Verb::Freeze(verb) => verb.run(),
            Verb::Unfreeze(verb) => verb.run(),
            Verb::Observe(verb) => verb.run(),
            Verb::Enforce(verb) => verb.run(),
            Verb::Exception(verb) => verb.run(),
            Verb::Facts(verb) => verb.run(),
            Verb::Effects(verb) => verb.run(),
            Verb::Erase(verb) => verb.run(),
            Verb::Risk(verb) => verb.run(),
            Verb::Totals(verb) => verb.run(),
            Verb::Check(verb) => verb.run(),
            Verb::Test(verb) => verb.run(),
            Verb::Decide(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::Can(verb) => verb.run(),
            Verb::Diff(verb) => verb.run(),
            Verb::Release(verb) => verb.run(),
            Verb::Promote(verb) => verb.run(),
            Verb::Review(verb) => verb.run(),
            Verb::Rollback(verb) => verb.run(),
            Verb::Catalog(verb) => verb.run(),
            Verb::Opal(verb) => verb.run(),
            Verb::Vault(verb) => verb.run(),
            Verb::Key(verb) => verb.run(),
            Verb::Scim(verb) => verb.run(),
            Verb::Stream(verb) => verb.run(),
            Verb::ToolProxy(verb) => verb.run(),
            Verb::Probe(verb) => verb.run(),
            Verb::Audit(verb) => verb.run(),
            Verb::Backup(verb) => verb.run(),
            Verb::Restore(verb) => verb.run(),
            Verb::Doctor(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for verb in command.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                if verb.has_subcommands() {
                    walk(verb, &path);
                } else if verb.get_name() != "help" {
                    let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(after.contains(path.trim_start()), "`{path} --help` has no example");
                }
            }
        }
        walk(&Cli::command(), "placet");
    }
}
