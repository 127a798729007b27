//! Credentials, made for one call and kept nowhere: a call token of ours, or the upstream's own secret from the vault.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use placet_core::{
    Call, Envelope, Facts as _, Name, TenantId, Timestamp,
    authority::{CredentialNote, chain},
};
use placet_facts::Live;
use placet_jose::{
    SigningKey, Stamp,
    digest::ContentDigest,
    dpop,
    htu::Htu,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, CallDetail, CallToken, ResourceRef, SignedRequest},
};
use placet_oauth::vault::{Holder, MasterKey, Place, Vault};
use placet_upstream::{
    CredentialError, Credentials as Maker, Errand, Made, Partition, Pays, Purpose, Target,
};
use secrecy::SecretString;

use crate::InForce;

/// The life of a call token in seconds.
const CALL_TOKEN_LIFE: u64 = 30;

/// Whom a call token names that is for nobody's call.
const OURSELVES: &str = "placet";

/// How an upstream wants its own secret.
#[derive(Debug, Clone)]
pub struct Injection {
    /// The header.
    pub header: HeaderName,
    /// What stands before the secret, for instance `Bearer `.
    pub prefix: String,
    /// The parameter of the query that it is instead, of an HTTP API that wants it there.
    pub query: Option<String>,
}

/// What the tool list of an upstream is read with.
#[derive(Debug, Clone)]
pub enum Service {
    /// Nothing.
    Nothing,
    /// A call token for nobody's call.
    CallToken,
    /// The secret of the organisation's own account.
    Vault(Name),
}

/// What settings say of an upstream's credentials.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// Whom call tokens are for: the tool's own identifier.
    pub audience: String,
    /// How a secret of the vault is handed over.
    pub injection: Injection,
    /// With what its tools are listed.
    pub service: Service,
}

/// Reads the vault; the newest secret of a place.
pub trait VaultAccess: Send + Sync {
    /// The secret and its version; the error is for operators.
    fn open(&self, place: &Place) -> Result<(SecretString, u64), String>;
    /// The version of the newest secret, without opening it.
    fn version(&self, place: &Place) -> Result<u64, String>;
}

/// A vault in memory with its master key, replaced whole when a secret changes.
pub struct OpenVault {
    vault: arc_swap::ArcSwap<Vault>,
    master: MasterKey,
}

impl std::fmt::Debug for OpenVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenVault")
    }
}

impl OpenVault {
    /// A vault under its master key.
    #[must_use]
    pub fn new(vault: Vault, master: MasterKey) -> Self {
        Self { vault: arc_swap::ArcSwap::from_pointee(vault), master }
    }
    /// The vault as it is.
    #[must_use]
    pub fn vault(&self) -> Arc<Vault> {
        self.vault.load_full()
    }
    /// The key.
    #[must_use]
    pub fn master(&self) -> &MasterKey {
        &self.master
    }
    /// Puts a changed vault in its place.
    pub fn replace(&self, vault: Vault) {
        self.vault.store(Arc::new(vault));
    }
}

impl VaultAccess for OpenVault {
    fn open(&self, place: &Place) -> Result<(SecretString, u64), String> {
        let vault = self.vault.load();
        let secret = vault.open(&self.master, place).map_err(|error| {
            format!("the vault's secret for `{}` of `{}`: {error}", place.upstream, place.tenant)
        })?;
        Ok((SecretString::from(secret.expose().to_owned()), version_in(&vault, place)?))
    }
    fn version(&self, place: &Place) -> Result<u64, String> {
        version_in(&self.vault.load(), place)
    }
}

fn version_in(vault: &Vault, place: &Place) -> Result<u64, String> {
    let found = vault.list().find(|(at, _, _)| *at == place);
    found
        .map(|(_, version, _)| version)
        .ok_or_else(|| format!("the vault has no secret for `{}` of `{}`", place.upstream, place.tenant))
}

/// Everything that credentials are made of.
pub struct Credentials {
    /// Our issuer.
    pub issuer: String,
    /// The key that signs call tokens.
    pub tokens: SigningKey,
    /// The gateway's sender key: what a call token is bound to.
    pub sender: SigningKey,
    /// By upstream.
    pub schemes: BTreeMap<Name, Scheme>,
    /// The vault.
    pub vault: Arc<dyn VaultAccess>,
    /// The release in force, whose catalog says what a tool takes.
    pub releases: Arc<InForce>,
    /// The facts, for the chain of agents.
    pub live: Arc<Live>,
    /// Now, for what isn't made for a call.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Whose call a token is for.
struct Subject {
    human: String,
    actors: Vec<String>,
    jti: String,
    decision: String,
    detail: CallDetail,
}

impl Credentials {
    fn scheme(&self, upstream: &Name) -> Result<&Scheme, CredentialError> {
        self.schemes
            .get(upstream)
            .ok_or_else(|| CredentialError(format!("the settings know no upstream `{upstream}`")))
    }

    fn call_token(
        &self,
        scheme: &Scheme,
        subject: Subject,
        target: &Target<'_>,
        now: u64,
    ) -> Result<Made, CredentialError> {
        let Target::Http { method, url, body, .. } = target else {
            return Err(CredentialError(
                "a call token needs an HTTP upstream; use `process` for a stdio one".to_owned(),
            ));
        };
        let fault = |what: &dyn std::fmt::Display| {
            CredentialError(format!("the call token couldn't be made: {what}"))
        };
        // A query is no part of `htu` (RFC 9449 §4.2); the token names its digest.
        let query = url.query().map(|query| ContentDigest::of(query.as_bytes()));
        let whole = url.as_str();
        let htu = Htu::parse(whole.split_once('?').map_or(whole, |(place, _)| place));
        let htu = htu.map_err(|error| fault(&error))?;
        let Subject { human, actors, jti, decision, detail } = subject;
        let actors = actors.into_iter().map(|sub| Actor { sub, sub_profile: None }).collect();
        let digest = ContentDigest::of(body);
        let header = digest.to_string();
        let expires_at = now.saturating_add(CALL_TOKEN_LIFE);
        let claims = CallToken {
            sub: human,
            act: ActorChain::new(actors).map_err(|error| fault(&error))?,
            jti: jti.clone(),
            txn: decision,
            key: self.sender.public().thumbprint(),
            req: SignedRequest { htm: (*method).to_owned(), htu: htu.clone(), query, digest },
            detail,
        };
        let stamp = Stamp { issuer: &self.issuer, audience: &scheme.audience, issued_at: now, expires_at };
        let token = mint(&self.tokens, &stamp, &claims).map_err(|error| fault(&error))?;
        let proof_id = random_id().map_err(|error| fault(&error))?;
        let proof = dpop::prove(&self.sender, &proof_id, method, &htu, now, Some(&token), None)
            .map_err(|error| fault(&error))?;
        Ok(Made {
            headers: vec![
                (http::header::AUTHORIZATION, SecretString::from(format!("DPoP {token}"))),
                (HeaderName::from_static("dpop"), SecretString::from(proof)),
                (HeaderName::from_static("content-digest"), SecretString::from(header)),
            ],
            query: None,
            meta: Vec::new(),
            note: CredentialNote::CallToken {
                jti,
                audience: scheme.audience.clone(),
                expires: Timestamp::from_secs(expires_at),
            },
            scan: Vec::new(),
            spent: vec![SecretString::from(token)],
        })
    }

    fn secret(&self, scheme: &Scheme, name: &Name, tenant: &str) -> Result<Made, CredentialError> {
        let (secret, version) = self.vault.open(&place(name, tenant)).map_err(CredentialError)?;
        let mut made = Made::nothing(CredentialNote::Vault { name: name.clone(), version });
        match &scheme.injection.query {
            Some(parameter) => made.query = Some((parameter.clone(), secret.clone())),
            None => {
                let secret = secrecy::ExposeSecret::expose_secret(&secret);
                let value = SecretString::from(format!("{}{secret}", scheme.injection.prefix));
                made.headers.push((scheme.injection.header.clone(), value));
            }
        }
        made.scan.push(secret);
        Ok(made)
    }
}

impl Credentials {
    /// How the catalog of the release in force pays for this call.
    fn kind(&self, call: &Call) -> Result<placet_catalog::Credential, CredentialError> {
        let release = self.releases.current().filter(|release| release.digest() == call.release);
        let release = release.ok_or_else(|| CredentialError("another release is in force".to_owned()))?;
        let entry = release
            .catalog()
            .tool(&call.upstream, &call.tool)
            .ok_or_else(|| CredentialError("the catalog entry is gone".to_owned()))?;
        Ok(entry.credential().clone())
    }

    /// Whose connections a call may use: those of its tenant with the same credential.
    pub(crate) fn partition(&self, call: &Call, envelope: &Envelope) -> Result<Partition, CredentialError> {
        self.partition_for(&self.kind(call)?, envelope.tenant(), envelope.human().as_str())
    }

    /// Whose connections a reading of the gateway's own may use.
    pub(crate) fn partition_of_errand(
        &self,
        credential: &placet_catalog::Credential,
        tenant: &TenantId,
    ) -> Result<Partition, CredentialError> {
        self.partition_for(credential, tenant, OURSELVES)
    }

    fn partition_for(
        &self,
        credential: &placet_catalog::Credential,
        tenant: &TenantId,
        whose: &str,
    ) -> Result<Partition, CredentialError> {
        use placet_catalog::Credential;
        let credential = match credential {
            Credential::Vault(name) => {
                let place = place(name, tenant.as_str());
                format!("vault:{name}:{}", self.vault.version(&place).map_err(CredentialError)?)
            }
            Credential::CallToken => format!("call-token:{whose}"),
            Credential::Process => "process".to_owned(),
            Credential::None => "none".to_owned(),
        };
        let credential = Name::new(&credential).map_err(|error| CredentialError(error.to_string()))?;
        Ok(Partition::Tenant { tenant: tenant.clone(), credential })
    }
}

fn place(name: &Name, tenant: &str) -> Place {
    Place { tenant: tenant.to_owned(), upstream: name.as_str().to_owned(), holder: Holder::Tenant }
}

impl Maker for Credentials {
    fn make(&self, call: &Call, envelope: &Envelope, target: &Target<'_>) -> Result<Made, CredentialError> {
        use placet_catalog::Credential;
        let scheme = self.scheme(&call.upstream)?;
        match self.kind(call)? {
            Credential::Vault(name) => self.secret(scheme, &name, envelope.tenant().as_str()),
            Credential::Process => Ok(Made::nothing(CredentialNote::Process)),
            Credential::None => Ok(Made::nothing(CredentialNote::Unneeded)),
            Credential::CallToken => {
                let jti = match target {
                    Target::Http { purpose: Purpose::Session, .. } => {
                        random_id().map_err(|error| CredentialError(error.to_string()))?
                    }
                    Target::Http { purpose: Purpose::Call, .. } | Target::Stdio { .. } => {
                        call.id.as_str().to_owned()
                    }
                };
                let facts = self
                    .live
                    .snapshot(envelope.tenant())
                    .map_err(|error| CredentialError(error.to_string()))?;
                let mut actors: Vec<String> =
                    chain(&*facts, envelope).iter().map(|agent| agent.as_str().to_owned()).collect();
                actors.reverse();
                let resource = call
                    .resources
                    .first()
                    .map(|r| ResourceRef { kind: r.kind.as_str().to_owned(), id: r.id.as_str().to_owned() });
                let amount = call.amount().map(|amount| amount.to_string());
                let subject = Subject {
                    human: envelope.human().as_str().to_owned(),
                    actors,
                    jti,
                    decision: call.id.as_str().to_owned(),
                    detail: CallDetail {
                        tenant: envelope.tenant().as_str().to_owned(),
                        action: call.action.as_str().to_owned(),
                        resource,
                        amount,
                    },
                };
                self.call_token(scheme, subject, target, (self.clock)().secs())
            }
        }
    }

    fn service(&self, upstream: &Name, target: &Target<'_>) -> Result<Made, CredentialError> {
        let scheme = self.scheme(upstream)?;
        match &scheme.service {
            Service::Nothing => Ok(Made::nothing(CredentialNote::Unneeded)),
            Service::Vault(name) => self.secret(scheme, name, crate::ORGANISATION),
            Service::CallToken => self.own_token(scheme, crate::ORGANISATION, "tools/list", target),
        }
    }

    fn errand(&self, errand: &Errand, target: &Target<'_>) -> Result<Made, CredentialError> {
        let scheme = self.scheme(&errand.upstream)?;
        match &errand.pays {
            Pays::Vault(name) => self.secret(scheme, name, errand.tenant.as_str()),
            Pays::Process => Ok(Made::nothing(CredentialNote::Process)),
            Pays::Nothing => Ok(Made::nothing(CredentialNote::Unneeded)),
            Pays::CallToken => self.own_token(scheme, errand.tenant.as_str(), errand.action, target),
        }
    }
}

impl Credentials {
    /// A token for something that nobody but we ask for.
    fn own_token(
        &self,
        scheme: &Scheme,
        tenant: &str,
        action: &str,
        target: &Target<'_>,
    ) -> Result<Made, CredentialError> {
        let id = || random_id().map_err(|error| CredentialError(error.to_string()));
        let detail =
            CallDetail { tenant: tenant.to_owned(), action: action.to_owned(), resource: None, amount: None };
        let subject = Subject {
            human: OURSELVES.to_owned(),
            actors: vec![OURSELVES.to_owned()],
            jti: id()?,
            decision: id()?,
            detail,
        };
        self.call_token(scheme, subject, target, (self.clock)().secs())
    }
}
