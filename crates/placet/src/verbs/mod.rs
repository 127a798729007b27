//! One file a verb.

pub(crate) mod connect;
pub(crate) mod key;
pub(crate) mod tool_proxy;
