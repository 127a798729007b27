//! Sealed bodies: what is personal in records, as far as it opens here.

use placet_record::{
    BadRecord,
    sealed::{Opened, Shut, Unsealed, open},
};
use placet_store::{Opening, Record, SubjectKeyId, Subjects};

/// A record with its bodies put back, as far as there are keys.
pub(crate) fn opened<'a>(record: &'a Record, subjects: &Subjects) -> Result<Opened<'a>, BadRecord> {
    open(&record.payload, &record.sealed, &|names, body| {
        let ids: Option<Vec<SubjectKeyId>> = names.iter().map(|name| SubjectKeyId::parse(name)).collect();
        let Some(ids) = ids else { return Unsealed::Shut(Shut::Altered) };
        match subjects.unseal(&ids, body) {
            Opening::Open(text) => Unsealed::Text(text),
            Opening::Erased => Unsealed::Shut(Shut::Erased),
            Opening::NoKey => Unsealed::Shut(Shut::NoKey),
            Opening::Altered => Unsealed::Shut(Shut::Altered),
        }
    })
}

/// Why a decision can't be made again whose bodies stay shut, in words.
pub(crate) fn why(shut: Shut) -> &'static str {
    match shut {
        Shut::Erased => "body erased",
        Shut::NoKey => "body sealed: what opens it isn't here; give `--master-key`",
        Shut::Altered => "body altered: it isn't what was sealed",
    }
}
