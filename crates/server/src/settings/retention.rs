//! `[retention]`: for how long decisions are promised to be replayed from the data directory, and where older segments go.

use std::collections::BTreeMap;

use super::read::Section;

/// The longest promise: a hundred years.
const MAX_DAYS: u64 = 36_500;

/// `[retention]`.
#[derive(Debug, Clone)]
pub struct Retention {
    /// `days`: how long decisions are promised to be replayed from what is here; longer ones of single tenants are in
    /// `tenants`.
    pub days: u64,
    /// `[[retention.tenant]]` `tenant` and `days`.
    pub tenants: BTreeMap<String, u64>,
    /// `archive`: a directory, or `s3://BUCKET/PREFIX?region=…&endpoint=…`. Without it nothing goes.
    pub archive: Option<String>,
    /// `every_ms`: how often it is looked what may go.
    pub every_ms: u64,
}

pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Retention> {
    let mut section = root.section("retention");
    let days = section.number("days", 365, 0..=MAX_DAYS);
    let archive = section.optional_word(
        "archive",
        |text| (!text.is_empty()).then(|| text.to_owned()),
        "name a directory, or `s3://BUCKET/PREFIX`",
    );
    let every_ms = section.number("every_ms", 3_600_000, 100..=86_400_000);
    let tenants: Vec<_> = section
        .sections("tenant")
        .into_iter()
        .map(|mut tenant| {
            let id = tenant.required("tenant", |text| placet_core::TenantId::new(text).ok(), "name a tenant");
            let days = tenant.number("days", 365, 0..=MAX_DAYS);
            tenant.finish();
            Some((id?.as_str().to_owned(), days?))
        })
        .collect();
    section.finish();
    Some(Retention {
        days: days?,
        tenants: tenants.into_iter().collect::<Option<_>>()?,
        archive: archive?,
        every_ms: every_ms?,
    })
}
