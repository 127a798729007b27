//! The new directory's first, short run: secrets go into its vault by the recorded way, and its upstreams say what they
//! offer. No release is in force meanwhile, and nobody is served: both listeners are on loopback, at ports that nobody
//! was told.

use std::{collections::BTreeMap, path::Path};

use placet_json::object;
use placet_server::{run, settings::Settings};

use super::{
    client::Server,
    project::{self, Kept},
};
use crate::{
    admin::ServerArgs,
    failure::{Failure, OrFail},
    verbs::{bulk::Offered, catalog, serve::variable},
};

/// What came of it.
#[derive(Default)]
pub(super) struct Seeded {
    pub(super) offered: Vec<Offered>,
    /// Upstreams that didn't say what they offer, and why.
    pub(super) silent: BTreeMap<String, String>,
    /// Files whose secret is in the vault now.
    pub(super) stored: Vec<String>,
}

/// Starts, fills, asks, ends.
pub(super) fn seed(
    dir: &Path,
    servers: &[Server],
    secrets: &[Kept<'_>],
    tenant: &str,
) -> Result<Seeded, Failure> {
    // What a client asks its user for isn't there now; such an upstream is left for later.
    let lacks = |server: &Server| super::needed(server).into_iter().find(|name| variable(name).is_none());
    let mut silent: BTreeMap<String, String> = BTreeMap::new();
    for server in servers {
        if let Some(name) = lacks(server) {
            silent.insert(server.name.clone(), format!("the variable {name} isn't set"));
        }
    }
    let text = format!(
        "[server]\nenvironment = \"dev\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\norganisation = \"{tenant}\"\n{}",
        project::upstreams(servers.iter().filter(|server| !silent.contains_key(&server.name)))
    );
    let settings = Settings::parse(&dir.join("placet.toml"), &text, &variable)
        .map_err(|problems| Failure::new(format!("the upstreams can't be started\n{problems}")))?;
    let key = settings.server.data.join("keys").join("operator.pem");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail("can't start")?;
    runtime.block_on(async {
        let running =
            run::serve(settings, &variable).await.map_err(|error| Failure::new(error.to_string()))?;
        let server = ServerArgs { server: running.admin_url.clone(), key, human: None };
        let asked = ask(&server, secrets, tenant).await;
        running.stop().await;
        asked.map(|mut seeded| {
            seeded.silent.append(&mut silent);
            seeded
        })
    })
}

async fn ask(server: &ServerArgs, secrets: &[Kept<'_>], tenant: &str) -> Result<Seeded, Failure> {
    let admin = server.open()?;
    let mut seeded = Seeded::default();
    for secret in secrets {
        let Some(upstream) = secret.vault else { continue };
        // The tenant's for its calls, the organisation's for listing the tools.
        for place in [tenant, "organisation"] {
            let body = object! {
                "tenant" => place, "upstream" => upstream, "secret" => secret.value,
                "why" => "imported from a client's configuration",
            };
            admin.post("/v1/vault", &body.into()).await?;
        }
        seeded.stored.push(secret.path.clone());
    }
    (seeded.offered, seeded.silent) = catalog::offered(&admin, None).await?;
    Ok(seeded)
}
