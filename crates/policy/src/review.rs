//! Whose review a change of a release needs: the parts that it touches, and nobody else's.

use std::collections::BTreeSet;

use placet_core::Name;

use crate::{Release, packages::Part};

/// The most files that are named of one part.
const MAX_NAMED: usize = 64;

/// A part that a candidate changes, with whoever must have approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The part's name; none for what no part owns.
    pub part: Option<Name>,
    /// What changed, sorted: `+` new, `-` gone, `~` changed, before the path. At most 64 are named.
    pub files: Vec<String>,
    /// How many changed.
    pub changed: usize,
    /// Who may approve: as the release in force says, or for a new part the candidate. None where neither says so, and
    /// the server's settings do.
    pub reviewers: Option<BTreeSet<Name>>,
    /// How many of them must.
    pub approvals: u32,
}

/// The parts that differ between two releases. Who reviews a part is what the one in force says: a candidate doesn't
/// choose its own reviewers.
#[must_use]
pub fn touched(before: Option<&Release>, after: &Release) -> Vec<Touched> {
    let old = before.map_or(&[][..], Release::parts);
    let new = after.parts();
    let mut names: BTreeSet<Option<&Name>> = BTreeSet::from([None]);
    names.extend(old.iter().chain(new).map(|part| Some(&part.name)));
    let one = |name: Option<&Name>| {
        let find = |parts: &'_ [Part]| parts.iter().find(|part| Some(&part.name) == name).cloned();
        let (was, is) = (find(old), find(new));
        let of =
            |release: &Release, path: &str| release.layout().place(path).0.map(|part| &part.name) == name;
        let mut files = Vec::new();
        for (path, bytes) in after.tree().iter().filter(|(path, _)| of(after, path)) {
            match before.filter(|before| of(before, path)).and_then(|before| before.tree().get(path)) {
                None => files.push(format!("+{path}")),
                Some(kept) if kept != bytes => files.push(format!("~{path}")),
                Some(_) => {}
            }
        }
        if let Some(before) = before {
            let gone = before.tree().keys().filter(|path| of(before, path));
            let gone = gone.filter(|path| !after.tree().contains_key(*path) || !of(after, path));
            files.extend(gone.map(|path| format!("-{path}")));
        }
        // Whose a part is, and where it lies, stands in the manifest, and is the part's own affair as well.
        if was != is && files.is_empty() {
            files.push("~release.toml".to_owned());
        }
        let rule = was.or(is).map(|part| (part.reviewers, part.approvals));
        let root = || {
            let stated = before.map_or_else(|| after.root_review(), Release::root_review);
            stated.map(|review| (review.reviewers.clone(), review.approvals))
        };
        let rule = if name.is_some() { rule } else { root() };
        files.sort_by(|a, b| a.get(1..).cmp(&b.get(1..)));
        let changed = files.len();
        files.truncate(MAX_NAMED);
        Touched {
            part: name.cloned(),
            files,
            changed,
            approvals: rule.as_ref().map_or(1, |(_, approvals)| *approvals),
            reviewers: rule.map(|(reviewers, _)| reviewers),
        }
    };
    names.into_iter().map(one).filter(|touched| touched.changed > 0).collect()
}
