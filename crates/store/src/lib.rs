//! The only owner of files and SQL.
//!
//! A data directory holds:
//!
//! | path | what |
//! |---|---|
//! | `lock` | locked by the process that serves the directory |
//! | `journal/NNNNNNNNNNNN.seg` | segments, named by their first sequence; `journal/next` is the one being filled ahead |
//! | `journal/archived` | which segments are in the archive instead, signed |
//! | `tree/<tree>/hashes` | the tree's stored nodes, 32 bytes each, only growing |
//! | `tree/<tree>/checkpoint` | the newest signed tree head |
//! | `tree/<tree>/cosigned` | the newest one that enough witnesses cosigned |
//! | `state/NNNNNNNNNNNN.state` | what the journal folds to up to that sequence, signed; thrown away where it doesn't fit |
//! | `subjects` | the keys under which what is about people is sealed, wrapped |
//! | `streams/<name>` | how far a stream out of the journal has come |
//! | `index.sqlite` | the search index, a projection that can be rebuilt |
//!
//! The journal is the truth and the single commit point; everything else follows it and can be made again from it.
//! What a record means isn't known here: a [`Fold`] decides what is admitted, callbacks say what is indexed.

mod append;
mod archive;
mod cursor;
mod disk;
mod fault;
mod fold;
mod follower;
mod journal;
mod kept;
mod open;
mod postgres;
mod projection;
mod published;
mod reader;
mod subjects;
mod trees;
mod verify;
mod walk;
mod writer;

pub use append::{Addition, AppendError, append};
pub use archive::{
    Archive, ArchiveError, ArchivedSegment, Because, Candidate, Manifest, ManifestError, ShelveError,
    Shelved, Shelving, Variable, shelve_alone,
};
pub use cursor::{CursorError, Cursors, Held};
pub use disk::LOCK;
pub use fault::{Fault, Faults, Point};
pub use fold::{At, Fold, FrameSink, Receipt, Written};
pub use follower::Notary;
pub use journal::{Journal, Options, Status, SubmitError, Ticket};
pub use kept::{Keep, KeptState, KeptStates};
pub use open::{OpenError, OpenReport};
pub use postgres::{
    About, Commits, Commons, DatabaseError, Foreign, ForeignReader, ForeignRow, Moment, Postgres, Prepared,
    Probe, ReadStopped, RowsOf, Said, Sibling, TableSpec, fetch, probe,
};
pub use projection::{Filter, Found, Projection, ProjectionError, Row};
pub use published::{Anchor, Heads, cosigned, fresh_seed, keep_cosigned, resign};
pub use reader::{ReadError, Reader, Record};
pub use subjects::{MAX_SUBJECT, Opening, SubjectKeyId, Subjects, SubjectsError, is_subject};
pub use trees::{TreeReader, copy_tree, trees};
pub use verify::{Archived, Finding, TreeReport, VerifyReport, verify, verify_with};
pub use walk::Place;
