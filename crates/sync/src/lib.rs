//! Live facts from elsewhere: OPAL (<https://docs.opal.ac>), spoken on both sides, and databases of others.
//!
//! [`opal`] follows a real `opal-server` and turns its documents into changes of a tenant's facts and its policy
//! bundles into candidate releases; [`opal::fleet`] serves real `opal-client`s, and so fleets of OPA. [`postgres`] reads
//! tables of a PostgreSQL database. What a change or a release then means isn't decided here: a host takes both, and the
//! server's wiring is that host.

pub mod opal;
pub mod postgres;
