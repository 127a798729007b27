//! The heart of Placet: nouns, the seams between its parts, and the one module that makes authority.
//!
//! It does no I/O, reads no clock and knows no engine, store or protocol. Everything here is a value: an envelope is
//! opened, a call classified, a decision made and recorded, a warrant issued, an effect closed, each step consuming
//! the one before ([`authority`]).

pub mod authority;
mod call;
mod decimal;
mod decision;
mod envelope;
mod facts;
mod flowing;
mod id;
mod limit;
mod lookup;
mod noun;
mod overlay;
mod relation;
mod risk;
mod seam;
mod state_move;
mod tally;
mod time;
mod tuple;
mod waiver;

pub use call::*;
pub use decimal::*;
pub use decision::*;
pub use envelope::*;
pub use facts::*;
pub use flowing::FlowAt;
use flowing::Flowing;
pub use id::*;
pub use limit::*;
pub use lookup::*;
pub use noun::*;
pub use relation::*;
pub use risk::*;
pub use seam::*;
pub use state_move::StateMove;
pub use tally::*;
pub use time::*;
pub use tuple::TupleError;
pub use waiver::*;
