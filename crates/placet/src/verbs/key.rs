//! `placet key`: keys of agents, people and the operator.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use placet_jose::{Algorithm, KeySet};
use placet_json::{Value, object};

use crate::{
    admin::{ServerArgs, block_on, segment},
    failure::{Failure, OrFail},
    keyfile,
    output::{Answer, Format, pretty, print, show},
};

/// Make keys, show them, register a person's key
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a private key in a new file that only its owner can read
    #[command(after_help = "Example:\n  placet key generate maya.pem")]
    Generate {
        /// The file; it must not exist
        file: PathBuf,
        /// The kind of key
        #[arg(long, value_enum, default_value = "ed25519")]
        kind: Kind,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Print the public half of a private key
    #[command(after_help = "Example:\n  placet key show maya.pem --jwks > operators.jwks")]
    Show {
        /// The private key
        file: PathBuf,
        /// Print a JWK set
        #[arg(long)]
        jwks: bool,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Register the key with which a person signs administrative acts
    #[command(after_help = "Example:\n  placet key register maya maya.pem")]
    Register {
        /// The person
        human: String,
        /// Their private or public key: PEM, or a JWK
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256.
    P256,
}

impl Key {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Generate { file, kind, format } => {
                let algorithm = match kind {
                    Kind::Ed25519 => Algorithm::EdDsa,
                    Kind::P256 => Algorithm::Es256,
                };
                let key = keyfile::generate(&file, algorithm)?;
                let thumbprint = key.public().thumbprint().to_string();
                let document = Value::from(
                    object! { "file" => file.display().to_string(), "thumbprint" => thumbprint, "jwk" => key.public().to_jwk() },
                );
                show(format, &document, |_| {
                    format!("made `{}`, thumbprint {}", file.display(), key.public().thumbprint())
                })?;
            }
            Verb::Show { file, jwks, format } => {
                let key = keyfile::load(&file)?;
                if jwks {
                    print(&pretty(&KeySet::of(key.public()).to_jwks()))?;
                } else {
                    let document = Value::from(
                        object! { "thumbprint" => key.public().thumbprint().to_string(), "jwk" => key.public().to_jwk() },
                    );
                    show(format, &document, |_| {
                        format!("thumbprint {}\n{}", key.public().thumbprint(), key.public().to_jwk())
                    })?;
                }
            }
            Verb::Register { human, file, server, format } => {
                let jwk = public_jwk(&file)?;
                let admin = server.open()?;
                let body = Value::from(object! { "jwk" => jwk });
                let answer = block_on(admin.post(&format!("/v1/humans/{}/keys", segment(&human)), &body))?;
                show(format, &answer, |answer| {
                    let thumbprint = answer.get("thumbprint").and_then(Value::as_str).unwrap_or_default();
                    format!("{human} signs with {thumbprint} from now on")
                })?;
            }
        }
        Ok(Answer::Yes)
    }
}

fn public_jwk(file: &std::path::Path) -> Result<Value, Failure> {
    let what = || format!("`{}`", file.display());
    let bytes = std::fs::read(file).or_fail(what())?;
    if bytes.starts_with(b"-----BEGIN") {
        return Ok(keyfile::load(file)?.public().to_jwk());
    }
    let jwk = placet_json::parse(&bytes, &placet_json::Limits::MESSAGE).or_fail(what())?;
    Ok(placet_jose::PublicKey::from_jwk(&jwk).or_fail(what())?.to_jwk())
}
