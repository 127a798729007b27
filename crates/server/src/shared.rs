//! Several gateways on one database: joining them, and what is done beside serving.

use std::{path::Path, sync::Arc, time::Duration};

use placet_core::Digest;
use placet_gateway::Ledger;
use placet_store::{Commons, DatabaseError, OpenError, OpenReport, Options, Postgres, Subjects};
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::{
    keys::Keyring,
    run::StartError,
    settings::{Environment, Settings, Variables},
    vault::VaultFile,
};

/// How often warrants of gateways are looked for that are gone.
const LAPSE: Duration = Duration::from_secs(1);
/// How often the vault is looked at where nobody says that it changed.
const VAULT: Duration = Duration::from_secs(5);

/// Connects to the database of the settings, if they name one, and holds this gateway against the others: whatever must
/// be alike is, or nothing starts.
pub(crate) async fn connect(
    settings: &Settings,
    variables: Variables<'_>,
    keyring: &Keyring,
) -> Result<Option<Commons>, StartError> {
    let journal = &settings.journal;
    let Some(source) = &journal.postgres else { return Ok(None) };
    let url = source.fetch(variables).map_err(StartError::Database)?;
    let plain = settings.server.environment == Environment::Dev;
    let mut database =
        Postgres::new(url.expose_secret(), journal.gateway.as_str(), journal.ca.as_deref(), plain)
            .map_err(OpenError::from)?;
    database.lease = Duration::from_millis(journal.lease_ms);
    let commons = blocking(move || Commons::open(database)).await?.map_err(OpenError::from)?;
    for (name, value) in alike(settings, keyring) {
        commons.agree(name, &value).await.map_err(OpenError::from)?;
    }
    Ok(Some(commons))
}

/// What every gateway must have alike, as digests.
fn alike(settings: &Settings, keyring: &Keyring) -> Vec<(&'static str, String)> {
    let server = &settings.server;
    let digest = |text: &[u8]| Digest::of(text).to_string();
    let token = keyring.token.public().thumbprint().to_string();
    // A key of 32 random bytes can't be found from its digest.
    let session = [&b"placet session key\0"[..], keyring.session.as_slice()].concat();
    let master = keyring.master.as_ref().map_or_else(|| "none".to_owned(), |master| master.id().to_string());
    vec![
        ("server.organisation", server.organisation.to_string()),
        ("server.environment", server.environment.as_str().to_owned()),
        ("server.public_url", server.public_url.clone()),
        ("keys.token", token),
        ("keys.checkpoint", digest(&keyring.checkpoint.public().0)),
        ("keys.session", digest(&session)),
        ("vault.master_key", master),
    ]
}

/// Opens the ledger: the data directory's own, or the one that is shared.
pub(crate) async fn ledger(
    data: &Path,
    options: Options,
    commons: Option<&Commons>,
    master: Option<&[u8; 32]>,
) -> Result<(Ledger, OpenReport), StartError> {
    let subjects = subjects(data, commons, master).await?;
    let Some(commons) = commons else { return Ok(Ledger::open_sealing(data, options, subjects)?) };
    let (data, commons) = (data.to_owned(), commons.clone());
    Ok(blocking(move || Ledger::open_shared(&data, options, &commons, subjects)).await??)
}

/// The keys under which what is personal is sealed; without a master key there are none.
async fn subjects(
    data: &Path,
    commons: Option<&Commons>,
    master: Option<&[u8; 32]>,
) -> Result<Subjects, StartError> {
    match (master, commons) {
        (None, _) => {
            tracing::warn!(
                "without `[vault] master_key` nothing that is personal is sealed, or can be erased"
            );
            Ok(Subjects::none())
        }
        (Some(master), None) => Ok(Subjects::open(data, master)?),
        (Some(master), Some(commons)) => {
            let (commons, master) = (commons.clone(), Zeroizing::new(*master));
            Ok(blocking(move || Subjects::open_shared(&commons, &master)).await??)
        }
    }
}

/// Ends what gateways left open that are gone, and keeps the vault as new as the others'. Runs until it is dropped.
pub(crate) async fn attend(commons: Commons, ledger: Ledger, vault: Option<Arc<VaultFile>>) {
    let changed = Arc::new(Notify::new());
    let notice = Arc::clone(&changed);
    commons.on_vault(move || notice.notify_one());
    let lapsed = async {
        loop {
            tokio::time::sleep(LAPSE).await;
            match ledger.close_lapsed().await {
                Ok(0) => {}
                Ok(closed) => tracing::warn!(closed, "warrants of a gateway that is gone ended as unknown"),
                Err(error) => tracing::debug!(error, "lapsed warrants can't be looked for now"),
            }
        }
    };
    let secrets = async {
        loop {
            // Whichever comes first.
            drop(tokio::time::timeout(VAULT, changed.notified()).await);
            let Some(vault) = vault.clone() else { continue };
            match tokio::task::spawn_blocking(move || vault.refresh()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the vault can't be read anew"),
                Err(error) => tracing::error!(%error, "the vault can't be read anew"),
            }
        }
    };
    tokio::join!(lapsed, secrets);
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| OpenError::from(DatabaseError::Failed(error.to_string())).into())
}
