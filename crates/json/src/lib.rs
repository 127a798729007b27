//! Strict, lossless JSON and its canonical form.
//!
//! One reader for every byte that may decide something: what one component understood, every other understands
//! too. Duplicate member names, invalid UTF-8, lone surrogates, trailing bytes and anything beyond the
//! [`Limits`] are refused; numbers stay as they were spelled and members in the order they came (RFC 8259).
//!
//! [`Value::canonical`] rewrites a value as *canonical form v1*, the bytes that are decided on, hashed, recorded
//! and sent; [`Canonical`] is the proof that bytes have this form.
//!
//! This crate does no I/O, knows no protocol and never turns a number into a float.

mod canonical;
mod error;
mod number;
mod object;
mod parse;
mod serde_bridge;
mod value;
mod write;

pub use canonical::Canonical;
pub use error::{Error, ErrorKind};
pub use number::{Number, NumberError};
pub use object::{IntoIter, Iter, IterMut, Object};
pub use parse::{Limits, MAX_DEPTH, MAX_VALUES, parse};
pub use serde_bridge::{from_value, to_value};
pub use value::Value;
pub use write::string as write_string;

/// Builds an [`Object`] from `name => value` pairs, in that order; a repeated name keeps the last value.
///
/// ```
/// let call = placet_json::object! { "name" => "billing.refund", "amount" => 80_i64 };
/// assert_eq!(placet_json::Value::from(call).to_string(), r#"{"name":"billing.refund","amount":80}"#);
/// ```
#[macro_export]
macro_rules! object {
    () => { $crate::Object::new() };
    ($($name:expr => $value:expr),+ $(,)?) => {{
        let mut object = $crate::Object::new();
        $(object.insert($name, $value);)+
        object
    }};
}
