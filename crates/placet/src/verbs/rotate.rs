//! `placet audit vkey` and `placet audit rotate-key`: the key that signs checkpoints, and its successor.

use std::path::PathBuf;

use clap::Args;
use placet_audit::Old;
use placet_core::Timestamp;
use placet_json::{Value, object};
use placet_ledger::checkpoint::origin;

use super::audit::{Directory, Signer};
use crate::{
    clock,
    failure::{Failure, OrFail},
    keyfile::{fresh_checkpoint_key, read_checkpoint_key},
    output::{Answer, show},
};

#[derive(Debug, Args)]
pub(super) struct Vkey {
    /// Of this tree only; by default one key for all trees of the organisation
    #[arg(long)]
    tree: Option<String>,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    signer: Signer,
}

impl Vkey {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let (organisation, key) = self.signer.of(&self.directory.data)?;
        if organisation.is_empty() {
            return Err(Failure::new("nothing is signed yet, so the organisation isn't known")
                .remedy("name it with `--organisation`"));
        }
        let keys = placet_audit::keys(&self.directory.data, &organisation, key)
            .or_fail("can't read the handovers")?;
        let name = origin(&organisation, self.tree.as_deref().unwrap_or_default());
        let vkey = keys.newest.vkey(&name);
        let document = Value::from(object! { "name" => name, "vkey" => vkey.as_str() });
        show(self.directory.format, &document, |_| vkey)?;
        Ok(Answer::Yes)
    }
}

#[derive(Debug, Args)]
pub(super) struct RotateKey {
    /// The new key's file; made where it doesn't exist
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// The old key's file, by default the data directory's; of a lost one whatever tells its public half
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// The old key is lost: nobody vouches for the new one, and every verification says so
    #[arg(long)]
    lost: bool,
    /// Why
    #[arg(long)]
    why: String,
    #[command(flatten)]
    directory: Directory,
    /// The organisation that the checkpoints name; by default the one that they do
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
}

impl RotateKey {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let data = &self.directory.data;
        let named = match self.organisation {
            Some(organisation) => Some(organisation),
            None => placet_audit::organisation(data).or_fail("can't read the checkpoints")?,
        };
        let organisation = named.ok_or_else(|| {
            Failure::new("nothing is signed yet: no key has to hand anything over")
                .remedy("name the new key in the settings, `keys.checkpoint`")
        })?;
        let path = self.old.unwrap_or_else(|| data.join("keys/checkpoint.key"));
        let private;
        let old = if self.lost {
            Old::Lost(placet_audit::read_key(&path).map_err(|error| Failure::new(error.to_string()))?)
        } else {
            private = read_checkpoint_key(&path).map_err(|failure| {
                failure.remedy("name the old key with `--old`; with `--lost` its public half is enough")
            })?;
            Old::Here(&private)
        };
        let new = if self.new.exists() {
            read_checkpoint_key(&self.new)?
        } else {
            fresh_checkpoint_key(&self.new)?
        };
        let now = Timestamp::from_millis(clock::millis());
        let trees = placet_audit::rotate(data, &organisation, &old, &new, &self.why, now)
            .or_fail("the key isn't changed")?;
        let vkey = new.public().vkey(&origin(&organisation, ""));
        let document = Value::from(
            object! { "trees" => trees, "key" => self.new.display().to_string(), "vkey" => vkey.as_str(), "lost" => self.lost },
        );
        show(self.directory.format, &document, |_| {
            format!(
                "{trees} trees are signed by the new key, too; now name `{}` in the settings (`keys.checkpoint`), add this line to the witnesses' logs, and start the server:\n{vkey}",
                self.new.display()
            )
        })?;
        Ok(Answer::Yes)
    }
}
