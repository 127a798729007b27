//! `[[source]]`: where facts come from that this server doesn't fetch itself, and how old they may get.

use placet_core::{Name, TenantId};
use placet_facts::{DEFAULT_BOUND_MS, MAX_BOUND_MS, Mode, Place, Source};

use super::read::Section;

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Vec<Source>> {
    let sections = root.sections("source");
    let read: Vec<_> = sections.into_iter().map(one).collect();
    let sources: Vec<Source> = read.into_iter().collect::<Option<_>>()?;
    Some(sources)
}

fn one(mut section: Section<'_, '_>) -> Option<Source> {
    let alphabet = "write a name of `A-Z a-z 0-9 . _ : @ | / -`, at most 128 characters";
    let name = section.required("name", |text| Name::new(text).ok(), alphabet);
    let tenant = section.optional_word("tenant", |text| TenantId::new(text).ok(), alphabet);
    let kind = section.word(
        "kind",
        "polled",
        |text| match text {
            "polled" | "push-only" | "local" => Some(text.to_owned()),
            _ => None,
        },
        "write `polled`, `push-only` or `local`",
    );
    let mode = match kind.as_deref() {
        Some("push-only") => Some(Mode::PushOnly),
        Some("local") => Some(Mode::Local),
        // Only a polled source has a bound; elsewhere the key is refused as unknown.
        Some(_) => section
            .number("bound_ms", DEFAULT_BOUND_MS, 100..=MAX_BOUND_MS)
            .map(|bound_ms| Mode::Polled { bound_ms }),
        None => None,
    };
    section.finish();
    Some(Source { name: name?, place: tenant?.map_or(Place::Organisation, Place::Tenant), mode: mode? })
}
