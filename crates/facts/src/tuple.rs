//! Relationship tuples as text: the forms of [`Tuple`], [`ResourceRef`] and [`Subject`], under the names that others
//! use.

use placet_core::{ResourceRef, Subject, Tuple};

pub use placet_core::TupleError;

/// Parses `object#relation@subject`.
pub fn parse_tuple(text: &str) -> Result<Tuple, TupleError> {
    text.parse()
}

/// Parses `type:id`.
pub fn parse_resource(text: &str) -> Result<ResourceRef, TupleError> {
    text.parse()
}

/// The text that [`parse_tuple`] reads as `tuple`.
#[must_use]
pub fn tuple_text(tuple: &Tuple) -> String {
    tuple.to_string()
}

/// The text that [`parse_resource`] reads as `resource`.
#[must_use]
pub fn resource_text(resource: &ResourceRef) -> String {
    resource.to_string()
}

pub(crate) fn subject_text(subject: &Subject) -> String {
    subject.to_string()
}
