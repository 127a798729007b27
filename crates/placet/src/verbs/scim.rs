//! `placet scim`: tokens for identity feeds.

use clap::{Args, Subcommand};
use placet_core::Digest;
use placet_jose::keys::random_id;
use placet_json::object;

use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

/// Tokens for identity feeds: SCIM providers, and transmitters and receivers of Shared Signals
#[derive(Debug, Args)]
pub(crate) struct Scim {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a bearer token; it is shown once, and the settings keep its hash only
    #[command(after_help = "Example:\n  placet scim token")]
    Token {
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

impl Scim {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let Verb::Token { format } = self.verb;
        // Twice 128 bits: nobody guesses it, so that a plain hash is as good as a slow one.
        let half = || random_id().or_fail("can't make a token");
        let token = format!("pft_{}{}", half()?, half()?);
        let hash = Digest::of(token.as_bytes()).to_string();
        let document = object! { "token" => token.as_str(), "token_hash" => hash.as_str() }.into();
        show(format, &document, |_| {
            format!(
                "the provider's token, shown this once:\n  {token}\n\nfor the settings:\n  token_hash = \"{hash}\""
            )
        })?;
        Ok(Answer::Yes)
    }
}
