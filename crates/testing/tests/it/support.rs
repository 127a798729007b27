//! Forged tokens, and what else an attacker makes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_jose::{
    SigningKey, Stamp,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, WorkflowDetail, WorkflowToken},
};
use placet_json::{Object, Value};
use placet_testing::{Agent, Stage, json, now};

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The key with which the server signs its tokens: for tokens that only a broken issuer would make.
pub(crate) fn server_key(stage: &Stage) -> SigningKey {
    SigningKey::from_pkcs8_pem(&std::fs::read_to_string(stage.data().join("keys/token.pem")).unwrap())
        .unwrap()
}

/// A token like the agent's own, for another human, another workflow, another place.
pub(crate) fn workflow_token(
    key: &SigningKey,
    agent: &Agent,
    issuer: &str,
    audience: &str,
    human: &str,
    (tenant, workflow, delegation): (&str, &str, &str),
) -> String {
    let genuine = claims(&agent.token);
    let text =
        |pointer: &str| genuine.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = |pointer: &str| {
        let all = genuine.pointer(pointer).and_then(Value::as_array).unwrap_or_default();
        all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let detail = WorkflowDetail {
        tenant: tenant.to_owned(),
        delegation: delegation.to_owned(),
        authority_hash: text("/authorization_details/0/authority_hash"),
        workflow: workflow.to_owned(),
        workflow_type: text("/authorization_details/0/workflow_type"),
        intents: texts("/authorization_details/0/intents"),
        actions: texts("/authorization_details/0/actions"),
        resource: None,
        constraints: Object::new(),
        max_depth: 0,
    };
    let client_id = text("/client_id");
    let token = WorkflowToken {
        sub: human.to_owned(),
        client_id: client_id.clone(),
        jti: random_id().unwrap(),
        key: agent.key.public().thumbprint(),
        act: ActorChain::new(vec![Actor { sub: client_id, sub_profile: None }]).unwrap(),
        detail,
    };
    let stamp = Stamp { issuer, audience, issued_at: now(), expires_at: now() + 120 };
    mint(key, &stamp, &token).unwrap()
}

/// The claims of a token.
pub(crate) fn claims(token: &str) -> Value {
    json(&decoded(token.split('.').nth(1).unwrap()))
}
