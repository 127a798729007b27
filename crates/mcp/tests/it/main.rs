//! The crate as the gateway uses it.

// `cfg(test)` says to clippy that the helpers are tests too.
#[cfg(test)]
mod methods;
#[cfg(test)]
mod modern;
