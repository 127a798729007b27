//! Who is it, with which proof, and for which purpose.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use placet_core::{
    AgentId, Code, DelegationId, Envelope, Grant, HumanId, Name, TenantId, Timestamp, WorkflowId,
};
use placet_jose::{
    access::{AccessRefused, Opened},
    htu::Htu,
    refused::Refused,
    replay::Admission,
};
use placet_json::Object;
use placet_oauth::challenge::Challenge;

use super::{Endpoint, empty};

/// Where a call names its purpose (besides the header).
pub(super) const INTENT_META: &str = "dev.placet/intent";
const INTENT_HEADER: &str = "placet-intent";
/// The scope that a challenge names: this server's one.
const SCOPE: &str = "placet";

/// A caller who has shown a token of ours and a fresh proof.
pub(super) struct Caller {
    pub(super) opened: Opened,
    /// Names the principal: agent, delegation and key. What belongs to one doesn't to another.
    pub(super) principal: String,
    pub(super) agent: AgentId,
    workflow: WorkflowId,
    delegation: DelegationId,
    human: HumanId,
}

/// What is wrong with the purpose that a call names.
pub(super) enum NoIntent {
    Several,
    Two,
    Form,
}

impl Endpoint {
    /// Token, proof and its first use; otherwise the answer.
    pub(super) async fn open(
        &self,
        method: &Method,
        url: &Htu,
        headers: &HeaderMap,
    ) -> Result<Caller, Box<Response>> {
        let now = self.gateway.ledger().now().secs();
        let raw: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let opened = match self.access.open(method.as_str(), url, &raw, now) {
            Ok(opened) => opened,
            Err(AccessRefused::Token(Refused::Missing("authorization"))) => {
                return Err(self.challenge("no_token", &Challenge::Missing));
            }
            Err(AccessRefused::Token(_)) => return Err(self.challenge("token", &Challenge::InvalidToken)),
            Err(AccessRefused::Proof { why, jti, client_id }) => {
                let why = format!("a valid token ({jti}) came with a wrong proof: {why}");
                self.stolen(&client_id, Code::ProofInvalid, why).await;
                return Err(self.challenge("proof", &Challenge::InvalidProof));
            }
        };
        // Uses before the start may be lost with the machine, so what was made before it isn't taken.
        if opened.proof.issued_at() < self.started {
            return Err(self.challenge("proof_before_start", &Challenge::InvalidProof));
        }
        match self.replays.admit(opened.proof.replay_key(), opened.proof.forget_at(), now).await {
            Admission::New => {}
            Admission::Seen => {
                let client = opened.token.claims().client_id.clone();
                self.stolen(&client, Code::ProofReplayed, "a proof was used twice".to_owned()).await;
                return Err(self.challenge("proof_replayed", &Challenge::InvalidProof));
            }
            Admission::Full => {
                return Err(Box::new(self.refused(StatusCode::SERVICE_UNAVAILABLE, "proof_window_full")));
            }
        }
        Caller::of(opened).map_err(|()| self.challenge("token", &Challenge::InvalidToken))
    }

    /// Our own token with a wrong proof is evidence of theft: it is recorded, and of a flood of them how many.
    async fn stolen(&self, agent: &str, code: Code, why: String) {
        let Ok(by) = Name::new(agent) else { return };
        if let Err(error) = self.gateway.ledger().evidence(by, code, why).await {
            tracing::error!(%error, "a wrong proof couldn't be recorded");
        }
    }

    #[expect(clippy::unnecessary_box_returns, reason = "it is the large half of results")]
    fn challenge(&self, reason: &'static str, challenge: &Challenge) -> Box<Response> {
        self.refusals.refused(reason);
        let status = StatusCode::from_u16(challenge.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut response = empty(status);
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", self.base);
        for value in challenge.headers(&metadata, SCOPE) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(header::WWW_AUTHENTICATE, value);
            }
        }
        Box::new(response)
    }
}

impl Caller {
    fn of(opened: Opened) -> Result<Self, ()> {
        let claims = opened.token.claims();
        let detail = &claims.detail;
        let tenant = TenantId::new(&detail.tenant).map_err(drop)?;
        let name = |text: &str| Name::new(text).map_err(drop);
        Ok(Self {
            principal: format!("{}\n{}\n{}", claims.client_id, detail.delegation, claims.key),
            agent: AgentId::new(&claims.client_id).map_err(drop)?,
            workflow: WorkflowId::new(tenant.clone(), name(&detail.workflow)?),
            delegation: DelegationId::new(tenant, name(&detail.delegation)?),
            human: HumanId::new(&claims.sub).map_err(drop)?,
            opened,
        })
    }

    /// The purpose that a call names: in `_meta`, or in the header, or the only one that there is.
    pub(super) fn intent(&self, meta: Option<&Object>, headers: &HeaderMap) -> Result<Name, NoIntent> {
        let in_meta = meta
            .and_then(|meta| meta.get(INTENT_META))
            .map(|value| value.as_str().ok_or(NoIntent::Form))
            .transpose()?;
        let mut in_header = headers.get_all(INTENT_HEADER).iter();
        let first = in_header.next().map(|value| value.to_str().map_err(|_| NoIntent::Form)).transpose()?;
        if in_header.next().is_some() {
            return Err(NoIntent::Two);
        }
        let text = match (in_meta, first) {
            (Some(meta), Some(header)) if meta != header => return Err(NoIntent::Two),
            (Some(intent), _) | (None, Some(intent)) => intent,
            (None, None) => match self.opened.token.claims().detail.intents.as_slice() {
                [only] => only,
                _ => return Err(NoIntent::Several),
            },
        };
        Name::new(text).map_err(|_| NoIntent::Form)
    }

    /// Opens the envelope for this purpose.
    pub(super) fn envelope(&self, intent: Name, now: Timestamp) -> Option<Envelope> {
        let claims = self.opened.token.claims();
        let grant = Grant {
            human: self.human.clone(),
            agent: self.agent.clone(),
            delegation: self.delegation.clone(),
            workflow: self.workflow.clone(),
            intent,
            token: claims.jti.clone(),
            expires: Timestamp::from_secs(self.opened.token.expires_at()),
            key: claims.key.to_string(),
            proof: self.opened.proof.jti().to_owned(),
        };
        Envelope::open(grant, now).ok()
    }

    /// The envelope of a message that named no purpose, for the record of its refusal.
    pub(super) fn envelope_of_refusal(&self, now: Timestamp) -> Option<Envelope> {
        self.envelope(Name::new("undeclared").ok()?, now)
    }
}
