//! Effects that nobody knows, and what was found out about them.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::DecisionId;
use placet_gateway::{Effects, Unamended, Unresolvable};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    error::{ApiError, json},
    rights,
};

type Answer = Result<Response, ApiError>;

/// `GET /v1/effects`: the oldest first.
pub(super) async fn unknown(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let effects = of(&admin)?;
    let rows = tokio::task::spawn_blocking(move || {
        let row = |(at, effect): (u64, placet_gateway::UnknownEffect)| {
            let tool = effects.tool(at).map_or(Value::Null, |tool| Value::from(tool.as_str()));
            Value::from(object! {
                "decision" => effect.decision.as_str(), "sequence" => at, "tenant" => effect.tenant.as_str(),
                "workflow" => effect.workflow.as_str(), "tool" => tool, "since" => effect.since.to_string(),
            })
        };
        effects.unknown().into_iter().map(row).collect::<Vec<_>>()
    });
    let rows = rows.await.map_err(|_| ApiError::down("the effects could not be read"))?;
    Ok(json(StatusCode::OK, &object! { "effects" => rows }.into()))
}

/// `POST /v1/effects/{decision}/resolve {happened?, why?}`: with `happened` a person says so; without, the tool's
/// resolver is asked.
pub(super) async fn resolve(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(decision): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let id = DecisionId::from(named(&decision, "decision")?);
    let mut body = Body::parse(&body)?;
    let (happened, why) = (body.optional("happened"), body.why()?);
    body.finish()?;
    let effects = of(&admin)?;
    let (happened, sequence) = match happened {
        None => effects.resolve(&id).await?,
        Some(happened) => {
            let happened = happened
                .as_bool()
                .ok_or_else(|| ApiError::malformed("`happened` is neither `true` nor `false`", ""))?;
            if why.trim().is_empty() {
                return Err(ApiError::malformed("`why` is missing", "say how you know"));
            }
            if why.len() > placet_facts::MAX_TEXT {
                let limit = placet_facts::MAX_TEXT;
                return Err(ApiError::malformed(format!("`why` is longer than {limit} bytes"), "shorten it"));
            }
            (happened, effects.declare(&id, happened, &by.name()?, &why).await?)
        }
    };
    Ok(json(
        StatusCode::OK,
        &object! { "decision" => id.as_str(), "happened" => happened, "sequence" => sequence }.into(),
    ))
}

fn of(admin: &Admin) -> Result<Effects, ApiError> {
    admin.offers.effects().ok_or_else(|| ApiError::down("there is no gateway here"))
}

impl From<Unresolvable> for ApiError {
    fn from(error: Unresolvable) -> Self {
        let message = error.to_string();
        match error {
            Unresolvable::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown", message, "see `placet effects list`")
            }
            Unresolvable::NoResolver(_) => Self::new(
                StatusCode::CONFLICT,
                "no_resolver",
                message,
                "or add `resolver` to the tool's entry in the catalog",
            ),
            Unresolvable::Nothing(_) => Self::new(
                StatusCode::CONFLICT,
                "unresolved",
                message,
                "try again, or look yourself and say what happened",
            ),
            Unresolvable::Unamended(Unamended::Known) => Self::conflict(message, "see `placet audit show`"),
            Unresolvable::Unamended(Unamended::Down(_)) => Self::down(message),
        }
    }
}
