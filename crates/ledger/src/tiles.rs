//! C2SP tlog-tiles: how a tree is cut into files of 256 hashes.
//!
//! Tile `index` of level `level` holds the nodes of height `8 * level` from `256 * index` on; the last one of a level
//! may be partial. Only hash tiles: entry bundles would publish the records.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "sizes are counts of records on one disk, far below 2^62"
)]

use crate::Hash;
use crate::tree::Nodes;

/// Hashes of a full tile.
pub const WIDTH: u16 = 256;
/// The highest level: trees have fewer than 2^63 leaves.
const MAX_LEVEL: u8 = 7;

/// A tile's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// 0 is the leaves.
    pub level: u8,
    /// Position at that level.
    pub index: u64,
    /// Hashes in it, 1 ..= 256.
    pub width: u16,
}

impl Tile {
    /// The path below a log's address: `tile/0/x001/x234/067`, partial ones with `.p/` and their width.
    #[must_use]
    pub fn path(&self) -> String {
        let mut groups = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.width == WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{}/{groups}{partial}", self.level)
    }

    /// Reads a path as [`Self::path`] writes it, no other spelling.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|w| (1..WIDTH).contains(w))?),
            None => (rest, WIDTH),
        };
        let index = index.split('/').try_fold(0_u64, |sum, group| {
            let digits = group.strip_prefix('x').unwrap_or(group);
            sum.checked_mul(1000)?.checked_add(digits.parse().ok().filter(|n| *n < 1000)?)
        })?;
        let tile = Self { level: level.parse().ok().filter(|level| *level <= MAX_LEVEL)?, index, width };
        (tile.path() == path).then_some(tile)
    }

    /// The tile's bytes: its hashes one after the other.
    pub fn encode<N: Nodes + ?Sized>(&self, nodes: &N) -> Result<Vec<u8>, N::Error> {
        let mut bytes = Vec::with_capacity(usize::from(self.width) * Hash::LEN);
        for at in 0..u64::from(self.width) {
            bytes.extend_from_slice(&nodes.node(self.level * 8, self.index * u64::from(WIDTH) + at)?.0);
        }
        Ok(bytes)
    }

    /// Whether a tree of `size` leaves has this tile in this width.
    #[must_use]
    pub fn exists_in(&self, size: u64) -> bool {
        let nodes = size >> (u32::from(self.level) * 8);
        let start = self.index.saturating_mul(u64::from(WIDTH));
        (1..=WIDTH).contains(&self.width) && start.saturating_add(u64::from(self.width)) <= nodes
    }
}

/// The tiles that change or appear when a tree grows from `old` to `new` leaves.
pub fn grown(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    (0..=MAX_LEVEL).flat_map(move |level| {
        let shift = u32::from(level) * 8;
        let (from, to) = (old >> shift, new >> shift);
        let width = u64::from(WIDTH);
        let last = if to > from { to.div_ceil(width) } else { 0 };
        (from / width..last).filter_map(move |index| {
            let width = u16::try_from((to - index * width).min(width)).ok()?;
            Some(Tile { level, index, width })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    #[test]
    fn paths_agree_with_tlog_tiles() {
        for (level, index, width) in [
            (0, 0, 256),
            (0, 67, 1),
            (1, 1_234_067, 256),
            (2, 999, 255),
            (0, 1000, 3),
            (3, 5_000_000_000, 256),
        ] {
            let tile = Tile { level, index, width };
            let oracle = tlog_tiles::tile::Tile::new(8, level, index, width.into(), false).path();
            assert_eq!(tile.path(), oracle.replacen("tile/8/", "tile/", 1));
            assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }
        for bad in [
            "tile/0/0",
            "tile/0/x000/001",
            "tile/9/000",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/1000",
            "tile/0/../000",
            "tile/00/000",
            "tile/0/+01",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn growth_and_contents_agree_with_tlog_tiles() {
        let (nodes, _) = tree(70_000);
        for (old, new) in [(0, 1), (1, 2), (0, 256), (255, 257), (256, 600), (600, 600), (60_000, 70_000)] {
            let mut ours: Vec<Tile> = grown(old, new).collect();
            let mut theirs: Vec<Tile> = tlog_tiles::tile::Tile::new_tiles(8, old, new)
                .iter()
                .map(|t| Tile {
                    level: t.level(),
                    index: t.level_index(),
                    width: u16::try_from(t.width()).unwrap(),
                })
                .collect();
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "{old} to {new}");
            for tile in ours {
                assert!(tile.exists_in(new));
                let bytes = tile.encode(nodes.as_slice()).unwrap();
                assert_eq!(bytes.len(), usize::from(tile.width) * 32);
                if tile.width == WIDTH {
                    // The subtree of a full tile is a node of the level above.
                    let node = nodes.as_slice().node(tile.level * 8 + 8, tile.index).unwrap();
                    assert_eq!(tlog_tiles::tile::Tile::subtree_hash(&bytes).0, node.0);
                }
            }
        }
        assert!(!Tile { level: 0, index: 1, width: 10 }.exists_in(265));
    }
}
