//! Live facts from elsewhere: OPAL (<https://docs.opal.ac>), spoken on both sides.
//!
//! [`opal`] follows a real `opal-server` and turns its documents into changes of a tenant's facts and its policy
//! bundles into candidate releases; [`opal::fleet`] serves real `opal-client`s, and so fleets of OPA. What a change or
//! a release then means isn't decided here: a [`opal::Host`] takes both, and the server's wiring is that host.

pub mod opal;
