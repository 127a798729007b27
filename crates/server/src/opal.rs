//! OPAL, wired: sources that change facts through the ledger, candidates of releases, and the listener for fleets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use placet_core::{Digest, Facts as _, Name, Revision, TenantId};
use placet_facts::{Mode, Place, Source, Transaction, World};
use placet_gateway::{Act, Ledger, Refused};
use placet_jose::{Algorithm, SigningKey};
use placet_json::{Limits, Value, object};
use placet_policy::{Release, Severity, Tree};
use placet_record::Kind;
use placet_store::Commons;
use placet_sync::opal::{
    Host, Mapping, Owned, Pending, PolicyOf, Shown, SourceSettings, State, Untaken,
    fleet::{Fleet, FleetHost, FleetSettings, routes},
    run,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;

use crate::{
    keys::write_private,
    lifecycle::{Lifecycle, Way, facts},
    metrics::Metrics,
    settings::{OpalServer, OpalSource, Promote, ReleaseSource, Settings, Variables},
    tree,
};

/// The longest mapping file.
const MAX_MAPPING: u64 = 1 << 20;
/// The longest body of a fleet's request.
const MAX_BODY: usize = 1 << 20;

/// All of OPAL at this server.
#[derive(Debug, Default)]
pub struct Opal {
    sources: Mutex<BTreeMap<Name, (TenantId, Shown)>>,
    fleet: Option<Arc<Fleet>>,
    candidates: PathBuf,
}

impl Opal {
    /// The sources and how they are.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<Name, (TenantId, Shown)> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The server of clients, if there is one.
    #[must_use]
    pub fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.as_ref()
    }
    /// Releases that came of bundles, newest first.
    pub fn candidates(&self) -> Result<Vec<Value>, String> {
        let entries = match std::fs::read_dir(&self.candidates) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let read = |path: &Path| placet_json::parse(&std::fs::read(path).ok()?, &Limits::MESSAGE).ok();
        let mut all: Vec<Value> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| read(&path))
            .collect();
        let time = |value: &Value| value.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
        all.sort_by_key(|value| std::cmp::Reverse(time(value)));
        Ok(all)
    }
    /// Counts for `/metrics`.
    pub fn count(&self, metrics: &Metrics) {
        let sources = self.sources();
        let live = sources.values().filter(|(_, shown)| shown.state == State::Live).count();
        let sum = |of: fn(&Shown) -> u64| {
            sources.values().fold(0_u64, |sum, (_, shown)| sum.saturating_add(of(shown)))
        };
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        metrics.gauge("opal_sources", wide(sources.len()));
        metrics.gauge("opal_sources_live", wide(live));
        metrics.gauge("opal_updates", sum(|shown| shown.updates));
        metrics.gauge("opal_transactions", sum(|shown| shown.transactions));
        metrics.gauge("opal_unmapped", sum(|shown| u64::try_from(shown.unmapped.count).unwrap_or(u64::MAX)));
        metrics.gauge("opal_clients", self.fleet.as_ref().map_or(0, |fleet| wide(fleet.connected())));
    }
}

/// What runs: sources, and the routes of a listener for clients.
pub(crate) struct Started {
    pub(crate) opal: Arc<Opal>,
    pub(crate) sources: Vec<(SourceSettings, Arc<dyn Host>)>,
    pub(crate) app: Option<Router>,
}

/// Reads mappings and secrets. Nothing runs yet.
pub(crate) fn prepare(
    settings: &Settings,
    variables: Variables<'_>,
    lifecycle: &Lifecycle,
    metrics: &Arc<Metrics>,
    opal_url: Option<&str>,
    commons: Option<&Commons>,
) -> Result<Started, String> {
    let (data, ledger) = (&settings.server.data, lifecycle.ledger());
    let fleet = match (&settings.opal_server, opal_url) {
        (Some(server), Some(url)) => Some(fleet(server, url, data, variables, ledger, metrics)?),
        (_, _) => None,
    };
    let candidates = data.join("opal").join("candidates");
    let opal = Arc::new(Opal { sources: Mutex::default(), fleet, candidates });
    let mut sources = Vec::new();
    for source in &settings.opal {
        let host = SourceHost {
            ledger: ledger.clone(),
            lifecycle: lifecycle.clone(),
            opal: Arc::clone(&opal),
            tenant: source.tenant.clone(),
            base: match &settings.release {
                ReleaseSource::Dir(dir) => Some(dir.clone()),
                ReleaseSource::None | ReleaseSource::Archive(_) => None,
            },
            promote: source.promote,
            commons: commons.cloned(),
        };
        let wrong = |why: String| format!("`[[opal]] {}`: {why}", source.name);
        let read = one(source, data, variables).map_err(wrong)?;
        let declared = Source {
            name: label(&source.name).map_err(wrong)?,
            place: Place::Tenant(source.tenant.clone()),
            mode: Mode::Polled { bound_ms: source.stale_after_ms },
        };
        ledger.live().sources().declare(declared, ledger.now()).map_err(|error| wrong(error.to_string()))?;
        sources.push((read, Arc::new(host) as Arc<dyn Host>));
    }
    let app = opal.fleet.clone().map(routes);
    Ok(Started { opal, sources, app })
}

/// Starts what was prepared.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    started: Vec<(SourceSettings, Arc<dyn Host>)>,
    fleet: Option<Arc<Fleet>>,
    stopped: impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
) {
    for (settings, host) in started {
        let stopped = stopped();
        tasks.spawn(async move {
            let name = settings.name.clone();
            tokio::select! {
                ended = run(settings, host) => if let Err(error) = ended {
                    tracing::error!(source = %name, error, "the source can't be followed");
                },
                () = stopped => {}
            }
        });
    }
    if let Some(fleet) = fleet {
        let stopped = stopped();
        tasks.spawn(async move {
            tokio::select! {
                () = fleet.follow_releases() => {}
                () = stopped => {}
            }
        });
    }
}

/// The source of its transactions, and its name among the sources of facts.
fn label(name: &Name) -> Result<Name, String> {
    Name::new(&format!("opal:{name}")).map_err(|error| error.to_string())
}

fn one(source: &OpalSource, data: &Path, variables: Variables<'_>) -> Result<SourceSettings, String> {
    let shown = source.mapping.display();
    let size = std::fs::metadata(&source.mapping).map_err(|error| format!("`{shown}`: {error}"))?.len();
    if size > MAX_MAPPING {
        return Err(format!("`{shown}` has more than {MAX_MAPPING} bytes"));
    }
    let text = std::fs::read_to_string(&source.mapping).map_err(|error| format!("`{shown}`: {error}"))?;
    let mapping = Mapping::parse(&text).map_err(|error| format!("`{shown}`: {error}"))?;
    let token = match &source.token {
        None => SecretString::default(),
        Some(token) => {
            let secret = token.fetch(variables).map_err(|error| format!("{error}; {}", error.remedy()))?;
            SecretString::from(secret.expose_secret().trim())
        }
    };
    Ok(SourceSettings {
        name: source.name.clone(),
        tenant: source.tenant.clone(),
        url: source.url.clone(),
        token,
        scope: source.scope.clone(),
        topics: source.topics.clone(),
        policy: source.policy.clone(),
        fetch_from: source.fetch_from.clone(),
        shard: source.shard.clone(),
        report: source.report,
        mapping,
        snapshot: data.join("opal").join(format!("{}.json", source.name)),
    })
}

fn fleet(
    server: &OpalServer,
    url: &str,
    data: &Path,
    variables: Variables<'_>,
    ledger: &Ledger,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Fleet>, String> {
    let master = match &server.master_token {
        None => None,
        Some(source) => {
            let secret = source
                .fetch(variables)
                .map_err(|error| format!("`opal_server.master_token`: {error}; {}", error.remedy()))?;
            let text = secret.expose_secret().trim();
            if text.len() < 16 {
                return Err("`opal_server.master_token` has fewer than 16 characters".to_owned());
            }
            Some(SecretString::from(text))
        }
    };
    let path = data.join("keys").join("opal.pem");
    let key = fleet_key(&path).map_err(|why| format!("`{}`: {why}", path.display()))?;
    let narrow = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let settings = FleetSettings {
        url: format!("{url}/opal"),
        master,
        clients: narrow(server.clients),
        queue: narrow(server.queue),
        acknowledge: Duration::from_millis(server.acknowledge_ms),
        body_bytes: MAX_BODY,
    };
    let host = Served { ledger: ledger.clone(), metrics: Arc::clone(metrics), release: Mutex::new(None) };
    Ok(Fleet::new(settings, Arc::new(host), key))
}

/// Signs tokens of OPAL clients and nothing else. Made at the first start: who loses it gives out new tokens.
fn fleet_key(path: &Path) -> Result<SigningKey, String> {
    if !path.exists() {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        }
        let key = SigningKey::generate(Algorithm::EdDsa).map_err(|error| error.to_string())?;
        let pem = key.to_pkcs8_pem().map_err(|error| error.to_string())?;
        write_private(path, pem.as_bytes()).map_err(|error| error.to_string())?;
    }
    crate::settings::check_private(path).map_err(|error| error.to_string())?;
    let pem = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|error| error.to_string())
}

/// A source's way to the ledger.
struct SourceHost {
    ledger: Ledger,
    lifecycle: Lifecycle,
    opal: Arc<Opal>,
    tenant: TenantId,
    base: Option<PathBuf>,
    promote: Promote,
    commons: Option<Commons>,
}

/// The name of a source's task among the gateways.
fn task(source: &Name) -> String {
    format!("opal:{source}")
}

impl Host for SourceHost {
    fn world(&self) -> Arc<World> {
        self.ledger.live().world()
    }
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Untaken>> {
        Box::pin(async move {
            // A gateway that slept may have been replaced meanwhile: it must not undo what the other one wrote.
            if let Some(commons) = &self.commons {
                match commons.lead(transaction.source.as_str()).await {
                    Ok(true) => {}
                    Ok(false) => return Err(Untaken::Down("another gateway follows the source".to_owned())),
                    Err(error) => return Err(Untaken::Down(error.to_string())),
                }
            }
            self.ledger.transact(transaction).await.map_err(|refused| match refused {
                Refused::Change(error) => Untaken::Change(error),
                Refused::Down(why) => Untaken::Down(why),
                other @ Refused::Overtaken => Untaken::Down(other.to_string()),
            })
        })
    }
    fn owned(&self, source: &Name, tenant: &TenantId) -> Pending<'_, Result<Owned, String>> {
        let (ledger, source, tenant) = (self.ledger.clone(), source.clone(), tenant.clone());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || owned(&ledger, &source, &tenant))
                .await
                .map_err(|error| error.to_string())?
        })
    }
    fn leads(&self, source: &Name) -> Pending<'_, Result<bool, String>> {
        let source = task(source);
        Box::pin(async move {
            match &self.commons {
                Some(commons) => commons.lead(&source).await.map_err(|error| error.to_string()),
                None => Ok(true),
            }
        })
    }
    fn kept(&self, source: &Name) -> Pending<'_, Result<Option<Vec<u8>>, String>> {
        let source = task(source);
        Box::pin(async move {
            match &self.commons {
                Some(commons) => commons.kept(&source).await.map_err(|error| error.to_string()),
                None => Ok(None),
            }
        })
    }
    fn keep(&self, source: &Name, document: Vec<u8>) -> Pending<'_, Result<(), String>> {
        let source = task(source);
        Box::pin(async move {
            match &self.commons {
                Some(commons) => match commons.keep(&source, &document).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("another gateway follows the source".to_owned()),
                    Err(error) => Err(error.to_string()),
                },
                None => Ok(()),
            }
        })
    }
    fn left(&self, source: &Name) {
        self.opal.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
        // What this gateway missed is the other's to know; what it doesn't say any more ages.
        if let Ok(label) = label(source)
            && let Err(error) = self.ledger.live().sources().closed(&label)
        {
            tracing::error!(source = %label, %error, "the age of its facts can't be told");
        }
    }
    fn candidate(&self, policy: PolicyOf) -> Pending<'_, Result<String, String>> {
        Box::pin(self.take(policy))
    }
    fn status(&self, source: &Name, status: &Shown) {
        self.age(source, status);
        let mut sources = self.opal.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sources.get(source).is_some_and(|(_, known)| known == status);
        if !known {
            sources.insert(source.clone(), (self.tenant.clone(), status.clone()));
        }
    }
}

/// What a source's transactions left: read from the journal, which is the truth about who said what.
fn owned(ledger: &Ledger, source: &Name, tenant: &TenantId) -> Result<Owned, String> {
    let mut owned = Owned::default();
    for record in ledger.reader().range(1, ledger.live().world().revision().0) {
        let record = record.map_err(|error| error.to_string())?;
        if Kind::from_tag(record.kind) != Some(Kind::Facts) {
            continue;
        }
        let document =
            placet_json::parse(&record.payload, &Limits::RESULT).map_err(|error| error.to_string())?;
        let Some(transaction) = document.get("transaction") else { continue };
        if transaction.get("source").and_then(Value::as_str) != Some(source.as_str()) {
            continue;
        }
        let transaction = Transaction::from_value(transaction).map_err(|error| error.to_string())?;
        let here = match &transaction.place {
            Place::Organisation => true,
            Place::Tenant(id) => id == tenant,
        };
        if here {
            owned.note(&transaction);
        }
    }
    Ok(owned)
}

impl SourceHost {
    /// What the source's state means for the age of its tenant's facts: a live one was heard of just now, a lost
    /// connection ages until its bound, and what is missing makes it stale at once.
    fn age(&self, source: &Name, status: &Shown) {
        let Ok(label) = label(source) else { return };
        let sources = self.ledger.live().sources();
        let why = status.why.as_deref().unwrap_or("not connected yet");
        let noted = match status.state {
            State::Live => {
                // Other gateways may rest on what this one follows.
                let place = Place::Tenant(self.tenant.clone());
                self.ledger.source_seen(&label, &place, self.ledger.now(), &label);
                sources.closed(&label)
            }
            State::Connecting | State::Fetching => sources.broken(&label, why),
            State::Gap | State::Refused => sources.gap(&label, why),
        };
        if let Err(error) = noted {
            tracing::error!(source = %label, %error, "the age of its facts can't be told");
        }
    }

    /// Builds, tests, keeps and records a candidate; puts it in force if the settings say so.
    async fn take(&self, policy: PolicyOf) -> Result<String, String> {
        let (base, ledger) = (self.base.clone(), self.ledger.clone());
        let PolicyOf { source, hash, modules } = policy;
        let built = tokio::task::spawn_blocking(move || build(base.as_deref(), &ledger, modules))
            .await
            .map_err(|error| error.to_string())?;
        let by = label(&source)?;
        let act =
            |verb: String, refused, why: String| Act { by: by.clone(), verb, refused, why, tenant: None };
        let (release, failed, cases) = match built {
            Ok(built) => built,
            Err(why) => {
                let short: String = why.chars().take(1_000).collect();
                self.ledger
                    .act(act(format!("candidate release of the bundle {hash}"), true, short))
                    .await
                    .map_err(|refused| refused.to_string())?;
                return Err(why);
            }
        };
        let digest = release.digest();
        let name = release.name().to_string();
        let ledger = self.ledger.clone();
        tokio::task::spawn_blocking(move || ledger.archives().keep(&release, release.archive()))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|refused| refused.to_string())?;
        let green = failed.is_empty();
        let told = object! {
            "digest" => digest.to_string(), "name" => name, "source" => by.as_str(), "bundle" => hash.as_str(),
            "green" => green, "cases" => u64::try_from(cases).unwrap_or(u64::MAX),
            "failed" => Value::Array(failed.iter().take(32).map(|text| Value::from(text.as_str())).collect()),
            "time" => self.ledger.now().to_string(),
        };
        self.remember(digest, &told.into())
            .map_err(|error| format!("the candidate can't be listed: {error}"))?;
        let cases_text = format!("{} of {cases} cases passed", cases.saturating_sub(failed.len()));
        self.ledger
            .act(act(format!("candidate release {digest}"), false, format!("bundle {hash}: {cases_text}")))
            .await
            .map_err(|refused| refused.to_string())?;
        if green && self.promote == Promote::WhenGreen {
            let why = format!("bundle {hash}: {cases_text}");
            self.lifecycle.brought(digest, &by, &why).await.map_err(|refused| refused.to_string())?;
            match self.lifecycle.promote(digest, &by, &why, Way::Promotion).await {
                Ok(_) => return Ok(format!("{digest} is in force: {cases_text}")),
                Err(refused) => {
                    let why: String = refused.to_string().chars().take(1_000).collect();
                    self.ledger
                        .act(act(format!("promotion of release {digest}"), true, why))
                        .await
                        .map_err(|refused| refused.to_string())?;
                    return Ok(format!("{digest} is a candidate: {cases_text}; {refused}"));
                }
            }
        }
        Ok(format!("{digest} is a candidate: {cases_text}"))
    }

    fn remember(&self, digest: Digest, told: &Value) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.opal.candidates)?;
        let path = self.opal.candidates.join(format!("{}.json", digest.to_string().replace(':', "-")));
        let fresh = path.with_extension("partial");
        std::fs::write(&fresh, told.to_bytes())?;
        std::fs::rename(&fresh, &path)
    }
}

/// The release of a bundle: its Rego, and everything else from the release's directory, or else from the release in
/// force. Gives the cases that failed, and how many there are.
fn build(
    base: Option<&Path>,
    ledger: &Ledger,
    modules: BTreeMap<String, String>,
) -> Result<(Release, Vec<String>, usize), String> {
    let mut files: Tree = match (base, ledger.releases().current()) {
        (Some(dir), _) => tree::read(dir).map_err(|error| format!("`{}`: {error}", dir.display()))?,
        (None, Some(release)) => release.tree().clone(),
        (None, None) => {
            return Err(
                "there is no release to put the policy into: set `[release] dir`, or promote one".to_owned()
            );
        }
    };
    let is_rego = |path: &str| std::path::Path::new(path).extension().is_some_and(|kind| kind == "rego");
    files.retain(|path, _| !(path.starts_with("policies/") && is_rego(path)));
    for (path, rego) in modules {
        files.insert(format!("policies/{path}"), rego.into_bytes());
    }
    let release = Release::build(&files).map_err(|refused| {
        let errors = refused.findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    let report = release.test(&facts);
    let failed = report.results.iter().filter(|result| !result.passed);
    let failed = failed.map(|result| format!("{}: {}", result.file, result.name)).collect();
    Ok((release, failed, report.results.len()))
}

/// What clients are served of.
struct Served {
    ledger: Ledger,
    metrics: Arc<Metrics>,
    /// The last release that was loaded for a difference.
    release: Mutex<Option<Arc<Release>>>,
}

impl FleetHost for Served {
    fn world(&self) -> Arc<World> {
        self.ledger.live().world()
    }
    fn moved<'a>(&'a self, tenant: &'a TenantId, since: Revision) -> Pending<'a, ()> {
        self.ledger.live().moved(tenant, since)
    }
    fn release(&self) -> Option<Arc<Release>> {
        self.ledger.releases().current()
    }
    fn kept(&self, digest: Digest) -> Option<Arc<Release>> {
        if let Some(current) = self.release().filter(|release| release.digest() == digest) {
            return Some(current);
        }
        let mut last = self.release.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|release| release.digest() == digest) {
            return Some(Arc::clone(last));
        }
        let archive = std::fs::read(self.ledger.archive(digest)).ok()?;
        let release = Release::from_archive(&archive).ok().filter(|release| release.digest() == digest)?;
        let release = Arc::new(release);
        *last = Some(Arc::clone(&release));
        Some(release)
    }
    fn now(&self) -> u64 {
        self.ledger.now().secs()
    }
    fn counted(&self, what: &'static str) {
        self.metrics.refused(what);
    }
}

#[cfg(test)]
mod tests {
    use placet_store::{Notary, Options};

    use super::*;
    use crate::lifecycle::Rules;

    const MANIFEST: &str = "name = \"fleet\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"a\"]\n";
    const GOOD: &str =
        "package a\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.action == \"read\"\n";

    fn host(dir: &Path, promote: Promote) -> SourceHost {
        let (data, base) = (dir.join("data"), dir.join("release"));
        std::fs::create_dir_all(base.join("policies")).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(base.join("release.toml"), MANIFEST).unwrap();
        std::fs::write(base.join("policies/local.rego"), "package local\n").unwrap();
        let key = placet_ledger::checkpoint::SigningKey::from_seed(&[7; 32]).unwrap();
        let notary =
            Notary { organisation: "o".to_owned(), key: Arc::new(key), every: Duration::from_mins(1) };
        let (ledger, _) = Ledger::open(&data, Options::new(|| 1_800_000_000_000, notary)).unwrap();
        let lifecycle = Lifecycle::new(ledger.clone(), Rules::default());
        let opal = Arc::new(Opal { candidates: data.join("opal/candidates"), ..Opal::default() });
        SourceHost {
            ledger,
            lifecycle,
            opal,
            tenant: TenantId::new("acme").unwrap(),
            base: Some(base),
            promote,
            commons: None,
        }
    }
    fn policy(hash: &str, modules: &[(&str, &str)]) -> PolicyOf {
        let modules = modules.iter().map(|(path, rego)| ((*path).to_owned(), (*rego).to_owned())).collect();
        PolicyOf { source: Name::new("git").unwrap(), hash: hash.to_owned(), modules }
    }

    #[tokio::test]
    async fn a_bundle_becomes_a_candidate_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path(), Promote::Never);
        let says = host.take(policy("h1", &[("sub/a.rego", GOOD)])).await.unwrap();
        assert!(says.contains("is a candidate"), "{says}");
        let all = host.opal.candidates().unwrap();
        let [candidate] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(candidate.get("bundle").and_then(Value::as_str), Some("h1"));
        assert_eq!(candidate.get("source").and_then(Value::as_str), Some("opal:git"));
        assert_eq!(host.ledger.archives().list().unwrap().len(), 1);
        assert_eq!(host.ledger.release_in_journal(), None, "an operator promotes");
        let why = host.take(policy("h2", &[("sub/a.rego", "package a\n\nallow if {\n")])).await.unwrap_err();
        assert!(why.contains("policies/sub/a.rego"), "{why}");
        assert_eq!(
            (host.opal.candidates().unwrap().len(), host.ledger.archives().list().unwrap().len()),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn a_green_candidate_comes_into_force_where_the_settings_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path(), Promote::WhenGreen);
        let says = host.take(policy("h1", &[("a.rego", GOOD)])).await.unwrap();
        assert!(says.contains("is in force"), "{says}");
        let in_force = host.ledger.releases().current().unwrap();
        assert!(in_force.tree().contains_key("policies/a.rego"));
        assert!(!in_force.tree().contains_key("policies/local.rego"), "the bundle is all of the Rego");
        host.take(policy("h2", &[("a.rego", "not rego")])).await.unwrap_err();
        assert_eq!(host.ledger.release_in_journal(), Some(in_force.digest()));
    }

    #[tokio::test]
    async fn a_source_that_isnt_live_makes_its_tenants_facts_stale() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path(), Promote::Never);
        let (name, now) = (Name::new("hr").unwrap(), host.ledger.now());
        let sources = Arc::clone(host.ledger.live());
        let sources = sources.sources();
        let place = Place::Tenant(host.tenant.clone());
        let mode = Mode::Polled { bound_ms: 15_000 };
        sources.declare(Source { name: label(&name).unwrap(), place, mode }, now).unwrap();
        let mut status = placet_sync::opal::Status::default();
        let mut tell = |state: State, why: Option<&str>| {
            (status.state, status.why) = (state, why.map(str::to_owned));
            host.status(&name, &status.shown());
            host.ledger.live().sources().stale(now).map(|stale| stale.to_string())
        };
        assert!(tell(State::Connecting, None).is_some(), "nothing was heard yet");
        assert_eq!(tell(State::Live, None), None);
        let refused = tell(State::Refused, Some("the token is refused")).unwrap();
        assert!(refused.contains("opal:hr") && refused.contains("the token is refused"), "{refused}");
        assert!(tell(State::Fetching, None).is_some(), "a gap stays until all is there");
        assert_eq!(tell(State::Live, None), None);
    }
}
