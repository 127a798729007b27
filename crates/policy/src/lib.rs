//! Releases and what they decide.
//!
//! A [`Release`] is built from a tree of files: policies in Rego and Cedar, the tools' catalog, workflow types, a
//! relationship model, reasons and tests. It is content-addressed: the same tree gives the same canonical archive and
//! the same digest anywhere. A loaded release decides, through [`placet_core::Engine`], purely: no clock, no I/O, no
//! randomness, so that a recorded decision can be made again.
//!
//! Whatever goes wrong is a denial: a failing engine, a document that breaks its schema, a fact that is missing.

mod acts;
mod admit;
mod admits;
mod archive;
mod around;
mod cases;
mod cedar;
mod chain;
mod check;
mod compare;
mod contract;
mod decide;
mod document;
mod explain;
mod finding;
mod input;
mod limits;
mod lints;
mod lookups;
mod manifest;
mod moves;
mod on_action;
mod packages;
#[cfg(test)]
mod peers;
mod platform;
mod reasons;
mod rego;
mod relations;
mod release;
mod review;
mod statement;
mod states;
mod symbolic;
mod waiver;
mod yaml;

pub use acts::FreezeAct;
pub use admit::{MAX_EVIDENCE, NotAdmitted, evidence, unknown_tool};
pub use admits::Unfit;
pub use archive::{MAX_ARCHIVE, Tree};
pub use cases::{
    CaseResult, ConditionCoverage, Coverage, Decided, LoadFacts, Report, RuleCoverage, TestOptions,
};
pub use chain::Sought;
pub use check::check;
pub use compare::{CaseDiff, CasesDiff, diff_cases};
pub use contract::input_schema;
pub use document::{DecisionDocument, FactsDocument, RemedyDocument};
pub use explain::{AlterFacts, Alternative, Edit, Explanation, FactEdit};
pub use finding::{Finding, Refused, Severity};
pub use lints::{LINTS, Lint};
pub use lookups::{Lookups, Wanted, looked};
pub use manifest::{AttributeType, EngineName, Package, Strength, WorkflowType};
pub use moves::{Moving, Unmoved, move_digest};
pub use packages::Part;
pub use release::{Release, Rewrite};
pub use review::{Touched, touched};
pub use statement::{
    BadStatement, MAX_EMERGENCY, Provenance, STATEMENT_TYPE, Statement, engines, schema_digest,
};
pub use states::{Chain, MovedBy, States, Transition};
pub use yaml::read_yaml;
