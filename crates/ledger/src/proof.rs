//! Inclusion and consistency proofs, as RFC 6962 §2.1.1 and §2.1.2 make them and RFC 9162 §2.1.3.2 and §2.1.4.2 verify.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "sizes are counts of records on one disk, far below 2^62"
)]

use crate::Hash;
use crate::tree::{Nodes, node_hash, range_root, split};

/// What was asked or shown proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf isn't in a tree of that size, or the older tree isn't smaller.
    #[error("the proof is about a record that a tree of that size doesn't have")]
    Range,
    /// Too many or too few hashes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The audit path of leaf `index` in the tree of `size` leaves. `None`: there is no such leaf.
pub fn inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Checks that `leaf` is number `index` of the tree of `size` leaves with `root`.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (mut number, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                (number, last) = (number >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// The proof that the tree of `old` leaves is the beginning of that of `new`. `None` unless 0 < `old` ≤ `new`.
pub fn consistency<N: Nodes + ?Sized>(nodes: &N, old: u64, new: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if old == 0 || old > new {
        return Ok(None);
    }
    let (mut from, mut to, mut known) = (0, new, true);
    let mut path = Vec::new();
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            (from, known) = (middle, false);
        }
    }
    if !known {
        path.push(range_root(nodes, from, to)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Checks that the tree of `old` leaves with `old_root` is the beginning of that of `new` with `new_root`.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    if old == new {
        return match (path.is_empty(), old_root == new_root) {
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::Root),
            (false, _) => Err(ProofError::Length),
        };
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() { old_root } else { path.next().ok_or(ProofError::Length)? };
    let (mut number, mut last) = (old - 1, new - 1);
    let shift = number.trailing_ones();
    (number, last) = (number >> shift, last >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while number & 1 == 0 && number != 0 {
                (number, last) = (number >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::leaf_hash;
    use crate::tree::root;
    use crate::tree::tests::tree;
    use tlog_tiles::tlog;

    #[test]
    fn inclusion_is_proven_at_every_size_and_agrees_with_tlog_tiles() {
        let (nodes, _) = tree(70);
        let nodes = nodes.as_slice();
        for size in 1..=70 {
            let head = root(nodes, size).unwrap();
            for index in 0..size {
                let path = inclusion(nodes, index, size).unwrap().unwrap();
                let leaf = leaf_hash(index.to_string().as_bytes());
                verify_inclusion(&leaf, index, size, &path, &head).unwrap();
                let theirs: Vec<tlog::Hash> = path.iter().map(|h| tlog::Hash(h.0)).collect();
                tlog::check_record(&theirs, size, tlog::Hash(head.0), index, tlog::Hash(leaf.0)).unwrap();
                assert!(verify_inclusion(&head, index, size, &path, &head).is_err() || size == 1);
                if size > 1 {
                    assert!(verify_inclusion(&leaf, (index + 1) % size, size, &path, &head).is_err());
                    assert!(verify_inclusion(&leaf, index, size, &path[1..], &head).is_err());
                }
            }
            assert_eq!(inclusion(nodes, size, size), Ok(None));
        }
    }

    #[test]
    fn consistency_is_proven_for_every_pair_and_agrees_with_tlog_tiles() {
        let (nodes, _) = tree(70);
        let nodes = nodes.as_slice();
        for new in 1..=70 {
            let new_root = root(nodes, new).unwrap();
            for old in 1..=new {
                let old_root = root(nodes, old).unwrap();
                let path = consistency(nodes, old, new).unwrap().unwrap();
                verify_consistency(old, &old_root, new, &new_root, &path).unwrap();
                let theirs: Vec<tlog::Hash> = path.iter().map(|h| tlog::Hash(h.0)).collect();
                tlog::check_tree(&theirs, new, tlog::Hash(new_root.0), old, tlog::Hash(old_root.0)).unwrap();
                assert!(verify_consistency(old, &Hash([9; 32]), new, &new_root, &path).is_err());
                assert!(verify_consistency(old, &old_root, new, &Hash([9; 32]), &path).is_err());
                for at in 0..path.len() {
                    let mut forged = path.clone();
                    forged[at].0[0] ^= 1;
                    assert!(verify_consistency(old, &old_root, new, &new_root, &forged).is_err());
                }
            }
        }
        assert_eq!(consistency(nodes, 0, 5), Ok(None));
        assert_eq!(consistency(nodes, 6, 5), Ok(None));
    }
}
