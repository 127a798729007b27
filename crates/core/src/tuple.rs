//! Relationship tuples as text: `object#relation@subject` (Zanzibar, USENIX ATC 2019, §2.1).
//!
//! `support_case:CASE-1837#assignee@user:maya`, `support_case:CASE-1837#viewer@team:billing#member`,
//! `article:7#reader@user:*`. An object is written `type:id`. Identifiers may contain `:` and `@`, types and relations
//! may not, and nothing contains `#` or `*`: so each text has one reading.

use std::{fmt, str::FromStr};

use crate::{Name, NameError, ResourceRef, Subject, Tuple};

/// Why a text is no tuple.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TupleError {
    /// A part is missing or there is one too many.
    #[error(
        "`{0}` is not of the form `type:id#relation@type:id`, `type:id#relation@type:id#relation` or `type:id#relation@type:*`"
    )]
    Form(String),
    /// A type or a relation with `:` or `@` in it.
    #[error("`{0}` can't name a type or a relation: these have no `:` and no `@`")]
    Reserved(Name),
    /// An identifier outside the alphabet.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl TupleError {
    fn form(text: &str) -> Self {
        Self::Form(text.chars().take(200).collect())
    }
}

impl FromStr for Tuple {
    type Err = TupleError;
    fn from_str(text: &str) -> Result<Self, TupleError> {
        let form = || TupleError::form(text);
        let (object, rest) = text.split_once('#').ok_or_else(form)?;
        let (relation, subject) = rest.split_once('@').ok_or_else(form)?;
        Ok(Self {
            object: object.parse()?,
            relation: plain(Name::new(relation)?)?,
            subject: subject.parse()?,
        })
    }
}

impl FromStr for Subject {
    type Err = TupleError;
    fn from_str(text: &str) -> Result<Self, TupleError> {
        match text.split_once('#') {
            Some((object, relation)) => Ok(Self::Userset(object.parse()?, plain(Name::new(relation)?)?)),
            None => match text.strip_suffix(":*") {
                Some(kind) => Ok(Self::Everyone(plain(Name::new(kind)?)?)),
                None => Ok(Self::Object(text.parse()?)),
            },
        }
    }
}

impl FromStr for ResourceRef {
    type Err = TupleError;
    fn from_str(text: &str) -> Result<Self, TupleError> {
        let (kind, id) = text.split_once(':').ok_or_else(|| TupleError::form(text))?;
        Ok(Self { kind: plain(Name::new(kind)?)?, id: Name::new(id)? })
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.object, self.relation, self.subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Everyone(kind) => write!(f, "{kind}:*"),
            Self::Userset(object, relation) => write!(f, "{object}#{relation}"),
        }
    }
}

impl Tuple {
    /// Refuses a tuple made of parts whose types or relations have no text.
    pub fn well_formed(&self) -> Result<(), TupleError> {
        let (kind, relation) = match &self.subject {
            Subject::Object(object) => (&object.kind, None),
            Subject::Everyone(kind) => (kind, None),
            Subject::Userset(object, relation) => (&object.kind, Some(relation)),
        };
        [Some(&self.object.kind), Some(&self.relation), Some(kind), relation]
            .into_iter()
            .flatten()
            .try_for_each(check)
    }
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
            "doc:1#viewer@user:*",
        ] {
            assert_eq!(text.parse::<Tuple>().unwrap().to_string(), text);
        }
        let mail: Tuple = "doc:1#viewer@user:maya@acme.example".parse().unwrap();
        assert_eq!(mail.subject, Subject::Object("user:maya@acme.example".parse().unwrap()));
        for bad in [
            "",
            "doc:1",
            "doc:1#viewer",
            "doc#viewer@user:a",
            "doc:1#viewer@user",
            "doc:*#viewer@user:a",
            "doc:1#viewer@*",
            "doc:1#viewer@user:a*",
            "doc:1#viewer@user:*#member",
            "doc:1#viewer@a:b:*",
            "doc:1#@user:a",
            "doc:1#v:w@user:a",
            "doc:1#v@team:x#",
            "doc:1#v@team:x#m#n",
            "do@c:1#v@user:a",
            "doc:1 #v@user:a",
        ] {
            assert!(bad.parse::<Tuple>().is_err(), "{bad:?} was taken");
        }
    }
}
