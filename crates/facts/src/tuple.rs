//! Relationship tuples as text: `object#relation@subject` (Zanzibar, USENIX ATC 2019, §2.1).
//!
//! `support_case:CASE-1837#assignee@user:maya`, `support_case:CASE-1837#viewer@team:billing#member`. An object is
//! written `type:id`. Identifiers may contain `:` and `@`, types and relations may not, and nothing contains `#`: so
//! each text has one reading.

use placet_core::{Name, NameError, ResourceRef, Subject, Tuple};

/// Why a text is no tuple.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TupleError {
    /// A part is missing or there is one too many.
    #[error("`{0}` is not of the form `type:id#relation@type:id` or `type:id#relation@type:id#relation`")]
    Form(String),
    /// A type or a relation with `:` or `@` in it.
    #[error("`{0}` can't name a type or a relation: these have no `:` and no `@`")]
    Reserved(Name),
    /// An identifier outside the alphabet.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Parses `object#relation@subject`.
pub fn parse_tuple(text: &str) -> Result<Tuple, TupleError> {
    let form = || TupleError::Form(text.chars().take(200).collect());
    let (object, rest) = text.split_once('#').ok_or_else(form)?;
    let (relation, subject) = rest.split_once('@').ok_or_else(form)?;
    let subject = match subject.split_once('#') {
        None => Subject::Object(parse_resource(subject)?),
        Some((object, relation)) => Subject::Userset(parse_resource(object)?, plain(Name::new(relation)?)?),
    };
    Ok(Tuple { object: parse_resource(object)?, relation: plain(Name::new(relation)?)?, subject })
}

/// Parses `type:id`.
pub fn parse_resource(text: &str) -> Result<ResourceRef, TupleError> {
    let (kind, id) =
        text.split_once(':').ok_or_else(|| TupleError::Form(text.chars().take(200).collect()))?;
    Ok(ResourceRef { kind: plain(Name::new(kind)?)?, id: Name::new(id)? })
}

/// The text that [`parse_tuple`] reads as `tuple`.
#[must_use]
pub fn tuple_text(tuple: &Tuple) -> String {
    format!("{}#{}@{}", tuple.object, tuple.relation, subject_text(&tuple.subject))
}

/// The text that [`parse_resource`] reads as `resource`.
#[must_use]
pub fn resource_text(resource: &ResourceRef) -> String {
    resource.to_string()
}

pub(crate) fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::Object(object) => object.to_string(),
        Subject::Userset(object, relation) => format!("{object}#{relation}"),
    }
}

/// A tuple made of parts may hold types that have no text; such a tuple is refused before it is kept.
pub(crate) fn well_formed(tuple: &Tuple) -> Result<(), TupleError> {
    let (subject, relation) = match &tuple.subject {
        Subject::Object(object) => (object, None),
        Subject::Userset(object, relation) => (object, Some(relation)),
    };
    [Some(&tuple.object.kind), Some(&tuple.relation), Some(&subject.kind), relation]
        .into_iter()
        .flatten()
        .try_for_each(check)
}

fn plain(name: Name) -> Result<Name, TupleError> {
    check(&name).map(|()| name)
}
fn check(name: &Name) -> Result<(), TupleError> {
    if name.as_str().contains([':', '@']) { Err(TupleError::Reserved(name.clone())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_has_one_reading() {
        for text in [
            "support_case:CASE-1837#assignee@user:maya",
            "doc:a:b@c#viewer@team:billing#member",
            "doc:1#parent@folder:x/y|z",
        ] {
            assert_eq!(tuple_text(&parse_tuple(text).unwrap()), text);
        }
        let mail = parse_tuple("doc:1#viewer@user:maya@acme.example").unwrap();
        assert_eq!(mail.subject, Subject::Object(parse_resource("user:maya@acme.example").unwrap()));
        for bad in [
            "",
            "doc:1",
            "doc:1#viewer",
            "doc#viewer@user:a",
            "doc:1#viewer@user",
            "doc:1#viewer@user:*",
            "doc:1#@user:a",
            "doc:1#v:w@user:a",
            "doc:1#v@team:x#",
            "doc:1#v@team:x#m#n",
            "do@c:1#v@user:a",
            "doc:1 #v@user:a",
        ] {
            assert!(parse_tuple(bad).is_err(), "{bad:?} was taken");
        }
    }
}
