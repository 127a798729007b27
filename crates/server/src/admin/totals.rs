//! What was permitted today, and what is under way: the counts that budgets and limits are compared with.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use placet_core::Day;
use placet_json::{Value, object};

use super::{Admin, Caller, error::ApiError, error::json, read::in_tenant};

/// `GET /v1/tenants/{tenant}/totals`
pub(super) async fn totals(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let now = admin.books.now();
    in_tenant(&admin, &by, &tenant, |facts| {
        let tallies = facts.tallies();
        let days = tallies.of_day(Day::of(now)).flat_map(|((kind, of), totals)| {
            totals.iter().map(move |(action, total)| {
                Value::from(object! {
                    "per" => format!("{kind}_day"), "of" => of, "action" => action.as_str(),
                    "count" => total.count, "amount" => total.amount.to_value(),
                })
            })
        });
        let under_way = tallies.all_under_way().map(|(agent, tool, calls)| {
            Value::from(
                object! { "agent" => agent.as_str(), "tool" => tool.as_str(), "calls" => u64::from(calls) },
            )
        });
        let day: String = now.to_string().chars().take(10).collect();
        let answer = object! {
            "day" => day, "totals" => days.collect::<Vec<_>>(), "under_way" => under_way.collect::<Vec<_>>(),
        };
        json(StatusCode::OK, &answer.into())
    })
}
