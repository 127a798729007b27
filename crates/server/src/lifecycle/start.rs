//! The release at a start: the one that was in force, or the settings' where none was; in dev the settings' whenever it
//! differs. Outside dev the settings' needs its signatures like any other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use placet_core::Name;
use placet_gateway::Ledger;
use placet_policy::Release;

use super::{Lifecycle, NotInForce, Way};
use crate::{
    run::StartError,
    settings::{Environment, ReleaseSource, Settings},
    tree,
};

/// Puts it in force.
pub(crate) async fn put_in_force(
    ledger: &Ledger,
    lifecycle: &Lifecycle,
    settings: &Settings,
) -> Result<(), StartError> {
    let dev = settings.server.environment == Environment::Dev;
    let before = ledger.release_in_journal();
    let there = ledger.releases().current().map(|release| release.digest());
    if let Some(digest) = before {
        if before != there {
            let path = ledger.archive(digest);
            let refused = |why: String| StartError::Release { from: path.display().to_string(), why };
            let archive = std::fs::read(&path).map_err(|error| refused(error.to_string()))?;
            let release = Release::from_archive(&archive).map_err(|error| refused(error.to_string()))?;
            if release.digest() != digest {
                return Err(refused("the archive was changed".to_owned()));
            }
            ledger.resume(Arc::new(release));
        }
        if !dev {
            return Ok(());
        }
    }
    let (from, built) = match &settings.release {
        ReleaseSource::None => return Ok(()),
        ReleaseSource::Dir(dir) => (dir, Release::build(&tree::read(dir).map_err(|error| io(dir, &error))?)),
        ReleaseSource::Archive(path) => {
            (path, Release::from_archive(&std::fs::read(path).map_err(|error| io(path, &error))?))
        }
    };
    let refused = |why: String| StartError::Release { from: format!("`{}`", from.display()), why };
    let release = Arc::new(built.map_err(|error| refused(error.to_string()))?);
    let digest = release.digest();
    if before == Some(digest) {
        return Ok(());
    }
    let by = Name::new("settings").map_err(|error| refused(error.to_string()))?;
    let why = "named by the settings";
    let asks = lifecycle.rules().signatures > 0;
    if !asks {
        ledger.promote(release, &by, why).await.map_err(|error| refused(error.to_string()))?;
        return Ok(());
    }
    let kept = ledger.archives().keep(&release, release.archive());
    kept.map_err(|error| refused(error.to_string()))?;
    lifecycle.brought(digest, &by, why).await.map_err(|error| refused(error.to_string()))?;
    let envelope = settings.promotion.envelope.clone().unwrap_or_else(|| beside(from));
    let signed = std::fs::read(&envelope).map_err(|error| {
        NotInForce::Envelope(format!("the envelope `{}` can't be read: {error}", envelope.display()))
    });
    let outcome = match signed {
        Ok(signed) => match lifecycle.sign(digest, &signed, &by).await {
            Ok(_) => lifecycle.promote(digest, &by, why, Way::Start).await.map(drop),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let Err(error) = outcome else { return Ok(()) };
    let act = placet_gateway::Act {
        by,
        verb: format!("promotion of release {digest}"),
        refused: true,
        why: error.to_string().chars().take(500).collect(),
        tenant: None,
    };
    ledger.act(act).await.map_err(|down| refused(down.to_string()))?;
    // In dev the one that was in force stays; a server that never had one doesn't start on a refused one.
    if before.is_some() {
        tracing::error!(%error, release = %digest, "the settings' release is refused; the one in force stays");
        return Ok(());
    }
    Err(refused(error.to_string()))
}

/// `support.tar` has its envelope in `support.tar.dsse.json`, a directory likewise beside it.
fn beside(from: &Path) -> PathBuf {
    let mut name = from.file_name().unwrap_or_default().to_owned();
    name.push(".dsse.json");
    from.with_file_name(name)
}

fn io(path: &Path, error: &std::io::Error) -> StartError {
    StartError::Release { from: format!("`{}`", path.display()), why: error.to_string() }
}
