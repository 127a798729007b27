//! Proofs that records next to each other are all that a tree has from one leaf to another.
//!
//! Split the tree as RFC 6962 §2.1 does, down to the leaves of the range; the proof is the roots of the subtrees that lie
//! outside of it, from left to right. Whoever has the records computes the rest, so that none can be missing, added or
//! out of place.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "sizes are counts of records on one disk, far below 2^62"
)]

use crate::Hash;
use crate::proof::ProofError;
use crate::tree::{Nodes, empty_root, node_hash, range_root, split};

/// The proof for the leaves `from..to` of the tree of `size` leaves. `None`: it has no such leaves.
pub fn prove<N: Nodes + ?Sized>(
    nodes: &N,
    from: u64,
    to: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if from > to || to > size {
        return Ok(None);
    }
    let mut outside = Vec::new();
    let mut parts = vec![(0, size)];
    while let Some((start, end)) = parts.pop() {
        if start == end {
            continue;
        }
        if end <= from || start >= to {
            outside.push(range_root(nodes, start, end)?);
        } else if start < from || end > to {
            let middle = start + split(end - start);
            parts.push((middle, end));
            parts.push((start, middle));
        }
    }
    Ok(Some(outside))
}

/// Checks that the leaves from number `from` on are `leaves`, in the tree of `size` leaves with `root`.
pub fn verify(leaves: &[Hash], from: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let to = u64::try_from(leaves.len()).ok().and_then(|len| from.checked_add(len));
    let to = to.filter(|to| *to <= size).ok_or(ProofError::Range)?;
    let (mut leaves, mut proof) = (leaves.iter(), proof.iter());
    let computed =
        if size == 0 { empty_root() } else { compute(0, size, (from, to), &mut leaves, &mut proof)? };
    match (proof.next(), computed == *root) {
        (None, true) => Ok(()),
        (None, false) => Err(ProofError::Root),
        (Some(_), _) => Err(ProofError::Length),
    }
}

/// As deep as the tree is high.
fn compute<'a>(
    start: u64,
    end: u64,
    (from, to): (u64, u64),
    leaves: &mut impl Iterator<Item = &'a Hash>,
    proof: &mut impl Iterator<Item = &'a Hash>,
) -> Result<Hash, ProofError> {
    if end <= from || start >= to {
        return proof.next().copied().ok_or(ProofError::Length);
    }
    if end - start == 1 {
        return leaves.next().copied().ok_or(ProofError::Length);
    }
    let middle = start + split(end - start);
    let left = compute(start, middle, (from, to), leaves, proof)?;
    let right = compute(middle, end, (from, to), leaves, proof)?;
    Ok(node_hash(&left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::leaf_hash;
    use crate::tree::root;
    use crate::tree::tests::tree;

    #[test]
    fn every_range_of_every_size_is_proven_and_nothing_else() {
        let (nodes, _) = tree(40);
        let nodes = nodes.as_slice();
        let leaves: Vec<Hash> = (0..40_u64).map(|leaf| leaf_hash(leaf.to_string().as_bytes())).collect();
        for size in 0..=40_u64 {
            let head = root(nodes, size).unwrap();
            for from in 0..=size {
                for to in from..=size {
                    let proof = prove(nodes, from, to, size).unwrap().unwrap();
                    let range = &leaves[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
                    verify(range, from, size, &proof, &head).unwrap();
                    if let Some((_, fewer)) = range.split_last() {
                        assert!(verify(fewer, from, size, &proof, &head).is_err(), "one is missing");
                        let mut swapped = range.to_vec();
                        swapped.reverse();
                        assert!(range.len() < 2 || verify(&swapped, from, size, &proof, &head).is_err());
                        if from < size - 1 {
                            assert!(verify(range, from + 1, size, &proof, &head).is_err());
                        }
                    }
                    if let Some((_, shorter)) = proof.split_last() {
                        assert!(verify(range, from, size, shorter, &head).is_err());
                    }
                }
            }
            assert_eq!(prove(nodes, 0, size + 1, size).unwrap(), None);
        }
    }
}
