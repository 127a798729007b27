//! Identity feeds, from outside.
