//! Serves opal-clients.
