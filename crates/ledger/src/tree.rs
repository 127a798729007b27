//! RFC 6962 Merkle trees: appending with a frontier, nodes in a file that only grows, the root at any size.
//!
//! Complete subtrees are kept in the order in which they come into being (the layout of Go's checksum database): a leaf,
//! then each node that it completes. [`stored_index`] says where a node is, so roots, proofs and tiles take O(log n) reads.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "sizes are counts of records on one disk, far below 2^62"
)]

use crate::Hash;

/// RFC 6962 §2.1: the hash of two subtrees.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [1_u8; 65];
    for (to, from) in input.iter_mut().skip(1).zip(left.0.iter().chain(&right.0)) {
        *to = *from;
    }
    Hash::of(&input)
}

/// The root of the tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// The right edge of a tree: what appending and the root need, at most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees from left to right, one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The frontier of the first `size` leaves.
    pub fn load<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Self, N::Error> {
        let mut peaks = Vec::new();
        let mut start = 0;
        for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(nodes.node(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Self { size, peaks })
    }

    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash and hands every subtree that it completes to `store`, the leaf first: the order of
    /// [`stored_index`].
    pub fn append(&mut self, leaf: Hash, mut store: impl FnMut(Hash)) {
        store(leaf);
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
                store(node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root: what a checkpoint signs.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node_hash(&left, &right))
    }
}

/// Where nodes of complete subtrees are read from.
pub trait Nodes {
    /// Why a node can't be read.
    type Error;
    /// The root of the complete subtree over leaves `index << level .. (index + 1) << level`.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// A node outside the tree was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no node {index} at level {level}")]
pub struct NoNode {
    /// 0 is the leaves.
    pub level: u8,
    /// Position at that level.
    pub index: u64,
}

/// Nodes in memory, in the order of [`stored_index`].
impl Nodes for [Hash] {
    type Error = NoNode;

    fn node(&self, level: u8, index: u64) -> Result<Hash, NoNode> {
        usize::try_from(stored_index(level, index))
            .ok()
            .and_then(|at| self.get(at))
            .copied()
            .ok_or(NoNode { level, index })
    }
}

/// Position, in the order of coming into being, of the node `index` at `level`.
#[must_use]
pub fn stored_index(level: u8, index: u64) -> u64 {
    // The last leaf below the node completes it: count what was stored up to that leaf, then go up.
    let leaf = ((index + 1) << level) - 1;
    stored_count(leaf) + u64::from(level)
}

/// Hashes stored for a tree of `size` leaves.
#[must_use]
pub fn stored_count(size: u64) -> u64 {
    2 * size - u64::from(size.count_ones())
}

/// The root of the first `size` leaves.
pub fn root<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { range_root(nodes, 0, size) }
}

/// RFC 6962's MTH over leaves `from..to`, at least one; `from` as it arises by splitting a tree.
pub(crate) fn range_root<N: Nodes + ?Sized>(nodes: &N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let size = to - from;
    if size.is_power_of_two() {
        let level = u8::try_from(size.trailing_zeros()).unwrap_or(u8::MAX);
        return nodes.node(level, from >> level);
    }
    let middle = from + split(size);
    Ok(node_hash(&range_root(nodes, from, middle)?, &range_root(nodes, middle, to)?))
}

/// The largest power of two smaller than `size` (≥ 2).
pub(crate) const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::frame::leaf_hash;

    /// A tree of `size` leaves `0`, `1`, …: stored nodes and the frontier.
    pub(crate) fn tree(size: u64) -> (Vec<Hash>, Frontier) {
        let (mut nodes, mut frontier) = (Vec::new(), Frontier::new());
        for leaf in 0..size {
            frontier.append(leaf_hash(leaf.to_string().as_bytes()), |hash| nodes.push(hash));
        }
        (nodes, frontier)
    }

    #[test]
    fn vectors_of_certificate_transparency() {
        // The reference inputs and roots of the certificate-transparency test suite (RFC 6962 trees of 1 to 8 leaves).
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        assert_eq!(
            frontier.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (leaf, root) in leaves.into_iter().zip(roots) {
            frontier.append(leaf_hash(leaf), |_| ());
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    struct Oracle<'a>(&'a [Hash]);

    impl tlog_tiles::tlog::HashReader for Oracle<'_> {
        fn read_hashes(
            &self,
            indexes: &[u64],
        ) -> Result<Vec<tlog_tiles::tlog::Hash>, tlog_tiles::tlog::Error> {
            Ok(indexes
                .iter()
                .map(|i| tlog_tiles::tlog::Hash(self.0[usize::try_from(*i).unwrap()].0))
                .collect())
        }
    }

    #[test]
    fn agrees_with_tlog_tiles_at_every_size() {
        let (nodes, _) = tree(600);
        for size in 1..=600_u64 {
            let oracle = tlog_tiles::tlog::tree_hash(size, &Oracle(&nodes)).unwrap();
            assert_eq!(root(nodes.as_slice(), size).unwrap().0, oracle.0, "size {size}");
            assert_eq!(Frontier::load(nodes.as_slice(), size).unwrap().root().0, oracle.0);
            assert_eq!(stored_count(size), tlog_tiles::tlog::stored_hash_count(size));
        }
        for (level, index) in [(0, 0), (0, 7), (1, 3), (3, 1), (8, 1), (5, 1000), (40, 3)] {
            assert_eq!(stored_index(level, index), tlog_tiles::tlog::stored_hash_index(level, index));
        }
    }
}
