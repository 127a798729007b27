//! Rate, concurrency, repetitions and budgets of an entry.

use std::collections::BTreeMap;

use placet_core::{Budget, Decimal, Per, Rate, window_of};

use crate::{
    Argument, Repeats, ToolLimits, Type,
    read::{Item, Reader, Table},
};

/// The name of the attribute that budgets add up.
const AMOUNT: &str = "amount";

pub(super) fn limits(
    reader: &mut Reader<'_>,
    table: &mut Table<'_, '_>,
    arguments: &BTreeMap<String, Argument>,
) -> ToolLimits {
    let rate = table.get("rate").and_then(|item| reader.parsed(item, "`rate`", Rate::parse));
    let concurrency = table.get("concurrency").and_then(|item| {
        let most = reader.count(item, "`concurrency`")?;
        let most = u32::try_from(most).ok().filter(|most| *most > 0);
        if most.is_none() {
            reader.problem(
                item.span().start,
                "`concurrency` is the number of calls at once, from 1",
                "to stop a tool, freeze it or leave its entry out",
            );
        }
        most
    });
    let duplicates = table
        .get("duplicates")
        .and_then(|item| Some((item, reader.parsed(item, "`duplicates`", window_of)?)));
    let idempotent = table.get("idempotent").and_then(|item| reader.truth(item, "`idempotent`"));
    let repeats = match (duplicates, idempotent) {
        (Some((item, _)), Some(true)) => {
            reader.problem(
                item.span().start,
                "`duplicates` refuses what `idempotent` calls harmless",
                "keep one of them",
            );
            Repeats::AsTheRelease
        }
        (Some((_, window)), Some(false) | None) => Repeats::Within(window),
        (None, Some(true)) => Repeats::Harmless,
        (None, Some(false) | None) => Repeats::AsTheRelease,
    };
    let budgets = table.get("budget").map_or_else(Vec::new, |item| budgets(reader, item, arguments));
    ToolLimits { budgets, rate, concurrency, repeats }
}

fn budgets(
    reader: &mut Reader<'_>,
    item: Item<'_, '_>,
    arguments: &BTreeMap<String, Argument>,
) -> Vec<Budget> {
    let Some(mut table) = reader.table(item, "`budget`") else { return Vec::new() };
    let mut budgets = Vec::new();
    for per in Per::ALL {
        let Some(item) = table.get(per.as_str()) else { continue };
        let Some(mut bounds) = reader.table(item, format!("`budget.{}`", per.as_str())) else { continue };
        let count = bounds
            .get("count")
            .and_then(|item| reader.count(item, "`count`"))
            .and_then(|count| u64::try_from(count).ok());
        let amount = bounds.get("amount").and_then(|item| {
            if let Err(why) = adds_up(arguments) {
                reader.problem(item.span().start, why, "declare it under `args`, or bound `count`");
            }
            let amount = reader.parsed(item, "`amount`", Decimal::parse)?;
            if amount.is_negative() {
                reader.problem(item.span().start, "`amount` is below zero", "");
            }
            Some(amount)
        });
        if count.is_none() && amount.is_none() {
            reader.problem(bounds.at.start, "a budget bounds `count`, `amount` or both", "");
        }
        reader.finish(&bounds);
        budgets.push(Budget { per: *per, count, amount, approval: None });
    }
    reader.finish(&table);
    budgets
}

/// Whether every call has an amount, and none below zero, so that a sum of them bounds anything.
pub(crate) fn adds_up(arguments: &BTreeMap<String, Argument>) -> Result<(), String> {
    let amount = arguments.values().find_map(|argument| match argument {
        Argument::Given { ty, required, attribute: Some(name) } if name.as_str() == AMOUNT => {
            Some((ty, *required))
        }
        Argument::Given { .. } | Argument::Bound(_) => None,
    });
    match amount {
        None => Err("no argument has the attribute `amount`, so there is nothing to add up".to_owned()),
        Some((_, false)) => Err(
            "the argument with the attribute `amount` may be missing, and the call would count for nothing"
                .to_owned(),
        ),
        Some((Type::Decimal { min: Some(min), .. } | Type::Integer { min: Some(min), .. }, true))
            if !min.is_negative() =>
        {
            Ok(())
        }
        Some((Type::Decimal { .. } | Type::Integer { .. }, true)) => {
            Err("the attribute `amount` may be below zero, and would give back what was spent".to_owned())
        }
        Some((_, true)) => Err("the attribute `amount` is no number".to_owned()),
    }
}
