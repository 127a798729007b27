//! One file a verb.

pub(crate) mod access;
mod archive;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod backup;
pub(crate) mod bench;
mod bulk;
pub(crate) mod can;
pub(crate) mod catalog;
pub(crate) mod check;
pub(crate) mod common;
pub(crate) mod connect;
pub(crate) mod decide;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod effects;
pub(crate) mod envelope;
pub(crate) mod erase;
pub(crate) mod explain;
mod export;
pub(crate) mod facts;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod moves;
pub(crate) mod opal;
mod openapi;
pub(crate) mod people;
pub(crate) mod probe;
pub(crate) mod promote;
mod reconcile;
pub(crate) mod relations;
pub(crate) mod release;
pub(crate) mod review;
pub(crate) mod risk;
pub(crate) mod rollback;
mod rotate;
pub(crate) mod scan;
pub(crate) mod scim;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod symbolic;
pub(crate) mod test;
pub(crate) mod tool_proxy;
pub(crate) mod totals;
pub(crate) mod vault;
mod verify;
pub(crate) mod waivers;
mod witness;

/// Resolves at the first SIGTERM or SIGINT.
pub(crate) async fn shutdown() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        interrupted = tokio::signal::ctrl_c() => drop(interrupted),
    }
}
