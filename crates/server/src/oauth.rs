//! The token service on the agents' listener: metadata, tokens, enrolment, public keys.
//!
//! What is registered and granted is read from live facts at each request: a revoked delegation yields no token.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use placet_core::{
    AgentId, Delegation, DelegationState, Digest, Grantor, HumanId, MAX_CHAIN, Standing, TenantId, Timestamp,
    WorkflowState,
};
use placet_facts::{Change, Kind, Place, TenantFacts, Transaction, World};
use placet_jose::{
    KeySet, PublicKey,
    htu::Htu,
    keys::random_id,
    tokens::{Actor, ActorChain, WorkflowDetail},
};
use placet_json::{Object, Value, object};
use placet_oauth::{
    OAuthError,
    enrol::{CodeHash, enrol},
    error::Code,
    metadata::Metadata,
    registry::{Asked, Grant, GrantError, Registry},
    token::{Client, TokenEndpoint},
};

use crate::{
    admin::{Codes, Spent, is_host, json},
    books::{Books, Unwritten},
    metrics::Metrics,
    uses::Uses,
};

/// The longest body of these endpoints, in bytes.
const MAX_BODY: usize = 32 * 1024;
/// How long it may take to arrive.
const BODY_READ: Duration = Duration::from_secs(10);

/// The token service.
pub struct OAuth {
    /// Ledger and facts.
    pub books: Arc<dyn Books>,
    /// The endpoint, with the key that signs.
    pub endpoint: TokenEndpoint,
    /// What clients are told.
    pub metadata: Metadata,
    /// Where keys are enrolled.
    pub enrol_url: Htu,
    /// Where requests for consent are pushed to.
    pub par_url: Htu,
    /// Our public keys.
    pub keys: KeySet,
    /// Enrolment codes that were handed out.
    pub codes: Arc<Codes>,
    /// Assertions and proofs that were used.
    pub window: Uses,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for OAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuth").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// The routes, below a check of `Host`.
pub fn routes(oauth: Arc<OAuth>) -> Router {
    let mut router = Router::new()
        .route("/oauth/token", post(token))
        .route("/oauth/enrol", post(enrolment))
        .route("/oauth/jwks", get(jwks));
    if oauth.metadata.consent.is_some() {
        router = router.route("/oauth/par", post(crate::authorize::push));
    }
    for path in oauth.metadata.resource_paths().unwrap_or_default() {
        router = router.route(&path, get(protected_resource));
    }
    for path in oauth.metadata.server_paths().unwrap_or_default() {
        router = router.route(&path, get(authorization_server));
    }
    router.with_state(Arc::clone(&oauth)).layer(from_fn_with_state(oauth, host))
}

async fn host(State(oauth): State<Arc<OAuth>>, request: Request, next: Next) -> Response {
    let expected = oauth.metadata.issuer.split_once("://").map_or("", |(_, authority)| authority);
    if is_host(request.headers(), request.uri(), expected) {
        return next.run(request).await;
    }
    oauth.metrics.refused("host");
    StatusCode::MISDIRECTED_REQUEST.into_response()
}

async fn protected_resource(State(oauth): State<Arc<OAuth>>) -> Response {
    json(StatusCode::OK, &oauth.metadata.protected_resource())
}

async fn authorization_server(State(oauth): State<Arc<OAuth>>) -> Response {
    json(StatusCode::OK, &oauth.metadata.authorization_server())
}

async fn jwks(State(oauth): State<Arc<OAuth>>) -> Response {
    json(StatusCode::OK, &oauth.keys.to_jwks())
}

/// `POST /oauth/token`
async fn token(State(oauth): State<Arc<OAuth>>, headers: HeaderMap, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let service = Arc::clone(&oauth);
    // Signatures and the window's disk are not for the thread that serves.
    let client = match tokio::task::spawn_blocking(move || service.client(&body, &headers)).await {
        Ok(Ok(client)) => client,
        Ok(Err(refused)) => return oauth.refusal(&refused),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let client = match client.code().cloned() {
        None => client,
        Some(code) => match oauth.redeem(&client, &code).await {
            Ok(asked) => client.redeemed(asked),
            Err(refused) => return oauth.refusal(&refused),
        },
    };
    let service = Arc::clone(&oauth);
    match tokio::task::spawn_blocking(move || service.token(&client)).await {
        Ok(Ok((document, extra))) => with_headers(json(StatusCode::OK, &document), extra),
        Ok(Err(refused)) => oauth.refusal(&refused),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `POST /oauth/enrol {code, jwk}`
async fn enrolment(State(oauth): State<Arc<OAuth>>, headers: HeaderMap, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let service = Arc::clone(&oauth);
    // Where codes are shared they are in a database.
    let enrolled = tokio::task::spawn_blocking(move || {
        let raw: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let (codes, now) = (&service.codes, service.books.now().secs());
        let world = service.books.live().world();
        let pending = |code: &CodeHash| codes.pending(code, world.organisation());
        let enrolled = enrol(&body, &raw, &service.enrol_url, pending, now)?;
        // Whoever spends the code first is the agent.
        let spent = AgentId::new(&enrolled.agent).ok().map(|agent| codes.spend(&enrolled.code, &agent));
        Ok((enrolled, spent.unwrap_or(Err(Spent))))
    });
    let (enrolled, spent) = match enrolled.await {
        Ok(Ok(enrolled)) => enrolled,
        Ok(Err(refused)) => return oauth.refusal(&refused),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let used = || {
        oauth.metrics.refused("oauth_invalid_grant");
        json(StatusCode::BAD_REQUEST, &object! { "error" => "invalid_grant" }.into())
    };
    let Ok(taken) = spent else { return used() };
    let thumbprint = enrolled.key.thumbprint().to_string();
    let (Ok(agent), Ok(author), Ok(source)) =
        (AgentId::new(&enrolled.agent), enrolled.agent.parse(), "enrolment".parse())
    else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let change = Change::AgentKeyAdded { agent, thumbprint: thumbprint.clone(), key: enrolled.key.to_jwk() };
    let why = "enrolled with a code".to_owned();
    let transaction = Transaction {
        place: Place::Organisation,
        changes: taken.into_iter().chain([change]).collect(),
        author,
        source,
        why,
        idempotency_key: None,
    };
    match oauth.books.transact(transaction).await {
        Ok(_) => json(
            StatusCode::CREATED,
            &object! { "agent" => enrolled.agent, "thumbprint" => thumbprint }.into(),
        ),
        // Nothing was applied: the code, which came first, was used by somebody else.
        Err(Unwritten::Change(error))
            if error.path.starts_with("/changes/0") && error.kind == Kind::Unknown =>
        {
            used()
        }
        Err(error) => {
            tracing::error!(%error, "a key could not be enrolled");
            json(StatusCode::SERVICE_UNAVAILABLE, &object! { "error" => "temporarily_unavailable" }.into())
        }
    }
}

type Headers = Vec<(&'static str, String)>;

impl OAuth {
    fn client(&self, body: &[u8], headers: &HeaderMap) -> Result<Client, OAuthError> {
        let raw: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let now = self.books.now();
        let registry = FactsRegistry { world: self.books.live().world(), now };
        let claimant = self.endpoint.authenticate(body, &raw, &registry, now.secs())?;
        claimant.admit(&mut &self.window, now.secs())
    }

    fn token(&self, client: &Client) -> Result<(Value, Headers), OAuthError> {
        let now = self.books.now();
        let registry = FactsRegistry { world: self.books.live().world(), now };
        // Without randomness the token would have no name; minting refuses an empty one.
        let jti = random_id().map(|id| format!("wt_{id}")).unwrap_or_default();
        let issued = self.endpoint.issue(client, &registry, &jti, now.secs())?;
        let claims = issued.claims();
        tracing::info!(client = %claims.client_id, tenant = %claims.detail.tenant, workflow = %claims.detail.workflow, token = %claims.jti, "token issued");
        Ok((issued.document(), issued.headers()))
    }

    pub(crate) fn refusal(&self, refused: &OAuthError) -> Response {
        self.metrics.refused(match refused.code() {
            Code::InvalidClient => "oauth_invalid_client",
            Code::InvalidGrant => "oauth_invalid_grant",
            Code::InvalidDpopProof | Code::UseDpopNonce => "oauth_invalid_proof",
            Code::InvalidRequest
            | Code::UnsupportedGrantType
            | Code::UnsupportedResponseType
            | Code::InvalidTarget
            | Code::InvalidAuthorizationDetails
            | Code::TemporarilyUnavailable => "oauth_invalid_request",
        });
        tracing::info!(why = %refused.why(), "no token");
        let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
        with_headers(json(status, &refused.document()), refused.headers())
    }
}

pub(crate) async fn read(body: Body) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(BODY_READ, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

pub(crate) fn with_headers(mut response: Response, headers: Headers) -> Response {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (header::HeaderName::from_bytes(name.as_bytes()), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The facts of one moment, as the token endpoint asks them.
pub(crate) struct FactsRegistry {
    pub(crate) world: Arc<World>,
    pub(crate) now: Timestamp,
}

impl Registry for FactsRegistry {
    fn agent_keys(&self, client_id: &str) -> Option<KeySet> {
        let agent = self.world.organisation().agent(&AgentId::new(client_id).ok()?)?;
        if agent.standing != Standing::Active {
            return None;
        }
        let mut keys = KeySet::new();
        for jwk in agent.keys.values() {
            // A key of a kind that isn't used here can't authenticate; the others still can.
            if let Ok(key) = PublicKey::from_jwk(jwk) {
                keys.add(&key).ok()?;
            }
        }
        (!keys.is_empty()).then_some(keys)
    }

    fn grant(&self, client_id: &str, asked: &Asked) -> Result<Grant, GrantError> {
        let agent = AgentId::new(client_id).map_err(|_| GrantError::None)?;
        let tenant = asked.tenant.as_deref().map(TenantId::new).transpose().map_err(|_| GrantError::None)?;
        let mut fitting = self
            .world
            .tenants()
            .filter(|facts| tenant.as_ref().is_none_or(|tenant| facts.id() == tenant))
            .flat_map(|facts| facts.delegations().map(move |delegation| (facts, delegation)))
            .filter(|(_, delegation)| delegation.agent == agent)
            .filter(|(_, delegation)| {
                asked
                    .workflow
                    .as_deref()
                    .is_none_or(|workflow| delegation.workflow.local().as_str() == workflow)
            })
            .filter(|(_, delegation)| {
                asked.delegation.as_deref().is_none_or(|id| delegation.id.local().as_str() == id)
            })
            .filter_map(|(facts, delegation)| self.of(facts, delegation));
        match (fitting.next(), fitting.next()) {
            (Some(grant), None) => Ok(grant),
            (Some(_), Some(_)) => Err(GrantError::Several),
            (None, _) => Err(GrantError::None),
        }
    }
}

impl FactsRegistry {
    /// What a delegation gives now; none where it, one above it, its person or its workflow has ended.
    fn of(&self, facts: &TenantFacts, delegation: &Delegation) -> Option<Grant> {
        let workflow = facts.workflow(&delegation.workflow)?;
        if workflow.state != WorkflowState::Open
            || workflow.ends <= self.now
            || !self.is_active(&delegation.human)
        {
            return None;
        }
        let mut actors = Vec::new();
        let mut ends = workflow.ends;
        let mut next = Some(delegation);
        while let Some(at) = next {
            if at.state != DelegationState::Live || at.scope.ends <= self.now || actors.len() >= MAX_CHAIN {
                return None;
            }
            actors.push(Actor { sub: at.agent.to_string(), sub_profile: Some("ai_agent".to_owned()) });
            ends = ends.min(at.scope.ends);
            next = match &at.grantor {
                Grantor::Human => None,
                Grantor::Parent(parent) => Some(facts.delegation(parent)?),
            };
        }
        let authority = Change::DelegationGranted(delegation.clone()).to_value();
        let digest = Digest::from_bytes(authority.canonical().ok()?.digest()).to_string();
        let names = |names: &mut dyn Iterator<Item = &placet_core::Name>| {
            names.map(ToString::to_string).collect::<Vec<_>>()
        };
        let constraints: Object = delegation
            .scope
            .limits
            .iter()
            .map(|(name, limit)| (format!("max_{name}"), limit.to_value()))
            .collect();
        Some(Grant {
            human: delegation.human.to_string(),
            act: ActorChain::new(actors).ok()?,
            detail: WorkflowDetail {
                tenant: facts.id().to_string(),
                delegation: delegation.id.local().to_string(),
                authority_hash: digest.replacen("sha256", "sha-256", 1),
                workflow: delegation.workflow.local().to_string(),
                workflow_type: workflow.kind.to_string(),
                intents: names(&mut delegation.scope.intents.intersection(&workflow.intents)),
                actions: names(&mut delegation.scope.actions.iter()),
                resource: None,
                constraints,
                max_depth: u64::from(delegation.scope.depth),
            },
            ends_at: ends.secs(),
        })
    }

    fn is_active(&self, human: &HumanId) -> bool {
        self.world.organisation().human(human).is_some_and(|human| human.standing == Standing::Active)
    }
}

#[cfg(test)]
mod tests {
    use placet_facts::World;
    use placet_json::{Limits, parse};

    use super::*;

    /// Maya's delegations to `agent-7` in `wf-9`, narrowed to `agent-8`, one to `agent-7` in globex, and then these
    /// changes.
    fn registry(changes: &str) -> FactsRegistry {
        let scope = |depth: u8| {
            format!(
                r#"{{"actions":["issue_refund"],"intents":["resolution"],"limits":{{"amount":100}},"ends":"2026-03-01T11:00:00Z","depth":{depth}}}"#
            )
        };
        let (parent, child) = (scope(1), scope(0));
        let file = |tenant: &str, rest: &str| {
            format!(
                r#"{{"tenant":"{tenant}","workflows":[{{"id":"wf-9","type":"case","owner":"maya","intents":["resolution","other"],"ends":"2026-03-01T12:00:00Z"}}],
                "delegations":[{{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{parent}}}{rest}]"#
            )
        };
        let people = r#","tenants":["acme","globex"],"humans":[{"id":"maya","standing":"active","home":"acme"}],
            "agents":[{"id":"agent-7","type":"t","owner":"maya","standing":"active"},{"id":"agent-8","type":"t","owner":"maya","standing":"suspended"}]"#;
        let below = format!(
            r#",{{"id":"dg-2","human":"maya","agent":"agent-8","workflow":"wf-9","grantor":{{"parent":"dg-1"}},"scope":{child}}}"#
        );
        let acme = format!("{}{people}}}", file("acme", &below));
        let globex = format!("{}}}", file("globex", ""));
        let mut world = World::new();
        let later = format!(r#"{{"tenant":"acme","changes":[{changes}]}}"#);
        for text in [acme, globex, later] {
            let file =
                parse(text.as_bytes(), &Limits::MESSAGE).unwrap_or_else(|error| panic!("{error}: {text}"));
            for transaction in placet_facts::parse_file(&file).unwrap() {
                world = world.apply(world.revision().0.saturating_add(1), &transaction).unwrap();
            }
        }
        FactsRegistry { world: Arc::new(world), now: Timestamp::parse("2026-03-01T10:00:00Z").unwrap() }
    }

    fn asked(tenant: &str) -> Asked {
        Asked { tenant: Some(tenant.to_owned()), ..Asked::default() }
    }

    #[test]
    fn a_grant_is_the_delegation_s_and_ends_with_the_first_of_all() {
        let grant = registry("").grant("agent-8", &Asked::default()).unwrap();
        assert_eq!(grant.act.by_delegation().collect::<Vec<_>>(), ["agent-7", "agent-8"]);
        assert_eq!(
            (grant.human.as_str(), grant.detail.delegation.as_str(), grant.detail.tenant.as_str()),
            ("maya", "dg-2", "acme")
        );
        assert_eq!(grant.detail.intents, ["resolution"]);
        assert_eq!(grant.ends_at, Timestamp::parse("2026-03-01T11:00:00Z").unwrap().secs());
        assert!(grant.detail.authority_hash.starts_with("sha-256:"));
    }

    #[test]
    fn ten_1_which_tenant_must_be_said_where_two_fit() {
        let registry = registry("");
        assert_eq!(registry.grant("agent-7", &Asked::default()), Err(GrantError::Several));
        assert_eq!(registry.grant("agent-7", &asked("globex")).unwrap().detail.tenant, "globex");
        assert_eq!(registry.grant("agent-7", &asked("nowhere")), Err(GrantError::None));
        assert_eq!(registry.grant("agent-8", &asked("globex")), Err(GrantError::None));
        assert_eq!(registry.grant("nobody", &Asked::default()), Err(GrantError::None));
    }

    #[test]
    fn del_2_what_has_ended_grants_nothing() {
        for change in [
            r#"{"delegation_revoked":{"id":"dg-1"}}"#,
            r#"{"delegation_revoked":{"id":"dg-2"}}"#,
            r#"{"workflow_closed":{"id":"wf-9"}}"#,
            r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#,
        ] {
            let registry = registry(change);
            assert_eq!(registry.grant("agent-8", &Asked::default()), Err(GrantError::None), "{change}");
        }
        let mut late = registry("");
        late.now = Timestamp::parse("2026-03-01T11:00:00Z").unwrap();
        assert_eq!(late.grant("agent-8", &Asked::default()), Err(GrantError::None));
    }

    #[test]
    fn only_an_active_agent_has_keys() {
        let generate = || placet_jose::SigningKey::generate(placet_jose::Algorithm::EdDsa).unwrap();
        let (key, other) = (generate(), generate());
        let add = |agent: &str, key: &placet_jose::SigningKey| {
            let (print, jwk) = (key.public().thumbprint(), key.public().to_jwk());
            format!(r#"{{"agent_key_added":{{"agent":"{agent}","thumbprint":"{print}","key":{jwk}}}}}"#)
        };
        let registry = registry(&format!("{},{}", add("agent-7", &key), add("agent-8", &other)));
        assert_eq!(registry.agent_keys("agent-7"), Some(KeySet::of(key.public())));
        assert!(registry.agent_keys("agent-8").is_none(), "suspended");
        assert!(registry.agent_keys("nobody").is_none());
    }
}
