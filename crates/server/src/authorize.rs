//! An agent's way to a person's consent: the request that it pushes, and the code that it redeems. The person's own steps
//! are in `people::consent`.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use placet_core::{
    AgentId, Decimal, DelegationState, Name, Scope, TenantId, Timestamp, WorkflowId, WorkflowState,
};
use placet_facts::{Change, ConsentChange, ConsentRequest, Place, Transaction};
use placet_jose::replay::ReplayKey;
use placet_json::{Value, object};
use placet_oauth::{
    OAuthError,
    code::{Pushed, REQUEST_LIFE, REQUEST_URI, Redeemed, Wants},
    registry::Asked,
    token::{Client, foreign_key, no_grant, no_such_details, unavailable},
};
use sha2::{Digest as _, Sha256};

use crate::{
    admin::json,
    books::Unwritten,
    oauth::{FactsRegistry, OAuth, read, with_headers},
};

/// How facts name a `request_uri` or a code: by its hash.
pub(crate) fn hash(domain: &str, secret: &str) -> Option<Name> {
    Name::new(&URL_SAFE_NO_PAD.encode(ReplayKey::new(domain, &[secret]).as_bytes())).ok()
}

/// 256 random bits in base64url.
pub(crate) fn secret() -> Option<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// `POST /oauth/par` (RFC 9126)
pub(crate) async fn push(State(oauth): State<Arc<OAuth>>, headers: HeaderMap, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return axum::response::IntoResponse::into_response(status),
    };
    let service = Arc::clone(&oauth);
    let pushed = tokio::task::spawn_blocking(move || service.pushed(&body, &headers)).await;
    let pushed = match pushed {
        Ok(Ok(pushed)) => pushed,
        Ok(Err(refused)) => return oauth.refusal(&refused),
        Err(_) => return oauth.refusal(&unavailable()),
    };
    match oauth.ask(pushed).await {
        Ok(uri) => {
            let answer = object! { "request_uri" => uri.as_str(), "expires_in" => REQUEST_LIFE };
            with_headers(json(StatusCode::CREATED, &answer.into()), Vec::new())
        }
        Err(refused) => oauth.refusal(&refused),
    }
}

impl OAuth {
    fn pushed(&self, body: &[u8], headers: &HeaderMap) -> Result<Pushed, OAuthError> {
        let raw: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let now = self.books.now();
        let registry = FactsRegistry { world: self.books.live().world(), now };
        let pushing = self.endpoint.pushed(body, &raw, &self.par_url, &registry, now.secs())?;
        pushing.admit(&mut &self.window, now.secs())
    }

    /// Makes a question of what was pushed: a fact, so that every gateway knows it and a restart loses none.
    async fn ask(&self, pushed: Pushed) -> Result<String, OAuthError> {
        let Pushed { client_id, key, redirect_uri, state, challenge, wants } = pushed;
        let now = self.books.now();
        let agent = AgentId::new(&client_id).map_err(|_| no_such_details())?;
        // A call is taken from a key of the agent's own: what another is given would be worth nothing.
        let own = self
            .books
            .live()
            .world()
            .organisation()
            .agent(&agent)
            .is_some_and(|agent| agent.keys.contains_key(&key.to_string()));
        if !own {
            return Err(foreign_key());
        }
        let (tenant, workflow, scope) = self.scope(&wants, now).ok_or_else(no_such_details)?;
        let secret = secret().ok_or_else(unavailable)?;
        let id = hash("request_uri", &secret).ok_or_else(unavailable)?;
        let author = agent.name().clone();
        let request = ConsentRequest {
            id,
            agent,
            workflow,
            scope,
            note: wants.note.unwrap_or_default(),
            redirect_uri,
            state,
            challenge,
            key: key.to_string(),
            at: now,
            until: Timestamp::from_secs(now.secs().saturating_add(REQUEST_LIFE)),
        };
        let change = Change::Consent(ConsentChange::Asked(request));
        self.write(author, tenant, change, "asks for a delegation").await.map_err(|error| match error {
            Unwritten::Change(_) => no_such_details(),
            Unwritten::Down(_) => unavailable(),
        })?;
        Ok(format!("{REQUEST_URI}{secret}"))
    }

    /// What is asked for, as a scope; none where it can't be one. A workflow that isn't there, or is another's, and a
    /// malformed name look alike.
    fn scope(&self, wants: &Wants, now: Timestamp) -> Option<(TenantId, WorkflowId, Scope)> {
        let tenant = TenantId::new(&wants.tenant).ok()?;
        let world = self.books.live().world();
        let facts = world.tenant(&tenant)?;
        let id = WorkflowId::new(tenant.clone(), Name::new(&wants.workflow).ok()?);
        let workflow = facts.workflow(&id)?;
        if workflow.state != WorkflowState::Open || workflow.ends <= now {
            return None;
        }
        let names = |names: &[String]| names.iter().map(|name| Name::new(name).ok()).collect::<Option<_>>();
        let limit = |(name, value): (&str, &Value)| {
            let name = Name::new(name.strip_prefix("max_")?).ok()?;
            let limit = match value {
                Value::Number(number) => Decimal::from_number(number).ok()?,
                Value::String(text) => Decimal::parse(text).ok()?,
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((name, limit))
        };
        let ends = match &wants.ends {
            None => workflow.ends,
            Some(text) => Timestamp::parse(text).ok().filter(|ends| *ends > now)?.min(workflow.ends),
        };
        let scope = Scope {
            actions: names(&wants.actions)?,
            intents: match &wants.intents {
                None => workflow.intents.clone(),
                Some(intents) => names(intents)?,
            },
            limits: wants.constraints.iter().map(limit).collect::<Option<_>>()?,
            ends,
            depth: u8::try_from(wants.max_depth).ok()?,
        };
        scope.intents.is_subset(&workflow.intents).then_some((tenant, id, scope))
    }

    /// Redeems a code: what it is worth, once. A second time what came of it is revoked: one of the two who brought it
    /// isn't who it was for (RFC 6749 §4.1.2).
    pub(crate) async fn redeem(&self, client: &Client, code: &Redeemed) -> Result<Asked, OAuthError> {
        let now = self.books.now();
        let id = hash("code", &code.code).ok_or_else(no_grant)?;
        let agent = AgentId::new(client.client_id()).map_err(|_| no_grant())?;
        let world = self.books.live().world();
        let found = world.tenants().find_map(|facts| Some((facts.id().clone(), facts.consent_of_code(&id)?)));
        let (tenant, consent) = found.ok_or_else(no_grant)?;
        let delegation = consent.given.delegation.clone();
        let again = consent.redeemed;
        let fits = consent.asked.agent == agent
            && consent.asked.key == client.key().to_string()
            && consent.asked.challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(code.verifier.as_bytes()))
            && code.redirect_uri.as_ref().is_none_or(|uri| *uri == consent.asked.redirect_uri)
            && consent.given.code_until > now;
        let author = agent.name().clone();
        if !again {
            if !fits {
                return Err(no_grant());
            }
            let change = Change::Consent(ConsentChange::Redeemed(delegation.clone()));
            match self.write(author.clone(), tenant.clone(), change, "redeemed its code").await {
                Ok(()) => {
                    return Ok(Asked {
                        tenant: Some(tenant.to_string()),
                        workflow: Some(consent.asked.workflow.local().to_string()),
                        delegation: Some(delegation.local().to_string()),
                    });
                }
                Err(Unwritten::Down(_)) => return Err(unavailable()),
                // Somebody was faster with the same code.
                Err(Unwritten::Change(_)) => {}
            }
        }
        let live = self.books.live().world().tenant(&tenant).is_some_and(|facts| {
            facts.delegation(&delegation).is_some_and(|it| it.state == DelegationState::Live)
        });
        if live {
            tracing::warn!(client = %agent, delegation = %delegation, "a code was used twice: what it gave is revoked");
            self.metrics.refused("oauth_code_reused");
            let why = "its authorization code was used a second time";
            let change = Change::DelegationRevoked(delegation);
            self.write(author, tenant, change, why).await.map_err(|_| unavailable())?;
        }
        Err(no_grant())
    }

    async fn write(
        &self,
        author: Name,
        tenant: TenantId,
        change: Change,
        why: &str,
    ) -> Result<(), Unwritten> {
        let source = Name::new("oauth").map_err(|error| Unwritten::Down(error.to_string()))?;
        let transaction = Transaction {
            place: Place::Tenant(tenant),
            changes: vec![change],
            author,
            source,
            why: why.to_owned(),
            idempotency_key: None,
        };
        self.books.transact(transaction).await.map(drop)
    }
}
