//! One record on disk.
//!
//! A frame starts at a multiple of 8 in its segment; integers are little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `len`: bytes of the body, 19 ..= [`MAX_BODY`] |
//! | 4 | 1 | flags: bit 0 `more`, the next frame belongs to the same entry; bit 1 `sealed`, see below; the others are 0 |
//! | 5 | 3 | check of the header: FNV-1a (32 bits) over the other 13 bytes, upper byte folded into the lower three |
//! | 8 | 8 | `durable`: the last sequence known to be on disk when this frame was written |
//! | 16 | `len` | body: sequence (8), time in Unix ms (8), kind (1), length of the tree's name (1), the name, the payload |
//! | | 0–7 | zeros up to a multiple of 8 |
//! | | 32 | `link` |
//!
//! The body is the leaf of the record's Merkle tree: `leaf = SHA-256(0x00 ‖ body)`. The link ties a frame to all
//! before it: `link = SHA-256(0x02 ‖ link of the frame before ‖ header ‖ leaf)`. Every bit is thereby covered by
//! header check, zeros or link, each frame can be checked with the 32 bytes in front of it, and nobody can alter,
//! drop, swap or insert a frame without rewriting everything after it, which the signed checkpoints then show.
//!
//! With the flag `sealed` the `len` bytes are body, attachment, and the attachment's length (4). The attachment is no
//! part of the leaf: it holds, encrypted, what the body has only salted digests of. The link ties it all the same:
//! `link = SHA-256(0x02 ‖ link of the frame before ‖ header ‖ leaf ‖ SHA-256(0x03 ‖ attachment))`.

use crate::Hash;

/// Bytes in front of the body.
pub const HEADER: usize = 16;
/// Longest body: 4 MiB. A record holds digests instead of large bodies; a segment (16 MiB) holds several.
pub const MAX_BODY: usize = 4 << 20;
/// Longest tree name in bytes; names are of `[A-Za-z0-9._:@|/-]`.
pub const MAX_TREE: usize = 128;
const BODY_FIXED: usize = 18;
const MORE: u8 = 1;
const SEALED: u8 = 2;
/// Bytes of an attachment's length behind it.
const ATTACHED: usize = 4;

/// A frame read and checked, borrowed from the segment's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Position in the journal, dense, from 1.
    pub sequence: u64,
    /// Unix time in milliseconds; never smaller than the frame before.
    pub time_ms: u64,
    /// The Merkle tree that the record is a leaf of.
    pub tree: &'a str,
    /// What the payload is; the meaning is the caller's.
    pub kind: u8,
    /// The record itself, canonical JSON.
    pub payload: &'a [u8],
    /// What belongs to the record and is no part of the leaf; mostly empty.
    pub sealed: &'a [u8],
    /// RFC 6962 leaf hash of the body.
    pub leaf: Hash,
    /// The chain's value after this frame.
    pub link: Hash,
    /// The last sequence that was durable when this frame was written.
    pub durable: u64,
    /// Whether the next frame belongs to the same entry.
    pub more: bool,
    /// Where the frame starts in its segment.
    pub offset: usize,
    /// Where the next frame starts.
    pub end: usize,
}

/// What is wrong with the bytes at a place where a frame should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The 16 bytes in front don't check out.
    #[error("the frame's header is altered")]
    Header,
    /// The frame reaches past the end of its segment.
    #[error("the frame reaches past its segment's end")]
    Overrun,
    /// Another record stands here: dropped, swapped or inserted.
    #[error("record {found} stands in its place")]
    Order {
        /// The sequence that was read.
        found: u64,
    },
    /// The record's bytes, or the chain up to it, are not what was written.
    #[error("the record's bytes are altered")]
    Content,
}

/// Why a record can't be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Body, or the entry's frames together, are too long.
    #[error("the record is longer than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The tree's name isn't one.
    #[error("a tree's name has 1 to 128 characters of `A-Za-z0-9._:@|/-`")]
    TreeName,
    /// A record without bytes.
    #[error("the record is empty")]
    Empty,
}

/// RFC 6962 leaf hash of a frame's body.
#[must_use]
pub fn leaf_hash(body: &[u8]) -> Hash {
    Hash::of_parts(&[&[0], body])
}

/// The chain's value before the first frame of a journal.
#[must_use]
pub fn genesis(journal: &[u8; 16]) -> Hash {
    Hash::of_parts(&[b"placet journal v1\n", journal])
}

/// Bytes that a body of `len` takes on disk with header, padding and link.
#[must_use]
pub const fn framed(len: usize) -> usize {
    HEADER.saturating_add(len).next_multiple_of(8).saturating_add(Hash::LEN)
}

/// Whether `name` can name a tree.
#[must_use]
pub fn is_tree_name(name: &str) -> bool {
    (1..=MAX_TREE).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@|/-".contains(&b))
}

/// Reads the frame at `offset` that must be `sequence` and follow `link`. `None`: nothing was written there (its
/// first eight bytes are zero or past the end).
pub fn read<'a>(
    segment: &'a [u8],
    offset: usize,
    sequence: u64,
    link: &Hash,
) -> Result<Option<Frame<'a>>, Fault> {
    let rest = segment.get(offset..).unwrap_or_default();
    let Some((header, _)) = rest.split_first_chunk::<HEADER>() else {
        return if rest.iter().all(|b| *b == 0) { Ok(None) } else { Err(Fault::Overrun) };
    };
    if header.starts_with(&[0; 8]) {
        return Ok(None);
    }
    let Header { len, flags, durable } = Header::parse(header).ok_or(Fault::Header)?;
    let size = framed(len);
    let frame = rest.get(..size).ok_or(Fault::Overrun)?;
    let (before, stored) = frame.split_last_chunk::<{ Hash::LEN }>().ok_or(Fault::Overrun)?;
    let (body, padding) = before.get(HEADER..).and_then(|b| b.split_at_checked(len)).ok_or(Fault::Overrun)?;
    let parts = if flags & SEALED == 0 { Some((body, None)) } else { detach(body) };
    let Some((body, attachment)) = parts else { return Err(Fault::Content) };
    let fields = Body::parse(body);
    if let Some(body) = &fields
        && body.sequence != sequence
    {
        return Err(Fault::Order { found: body.sequence });
    }
    let leaf = leaf_hash(body);
    let next = chain(link, header, &leaf, attachment.map(attached));
    let Some(body) = fields.filter(|_| next.0 == *stored && padding.iter().all(|b| *b == 0)) else {
        return Err(Fault::Content);
    };
    Ok(Some(Frame {
        sequence,
        time_ms: body.time_ms,
        tree: body.tree,
        kind: body.kind,
        payload: body.payload,
        sealed: attachment.unwrap_or_default(),
        leaf,
        link: next,
        durable,
        more: flags & MORE != 0,
        offset,
        end: offset.saturating_add(size),
    }))
}

/// Size on disk and sequence that the bytes at the start of `rest` claim, with a header that checks out. Used to hop
/// through a segment and to look behind a tear; proves nothing about the record.
#[must_use]
pub fn claim(rest: &[u8]) -> Option<Claim> {
    let (header, rest) = rest.split_first_chunk::<HEADER>()?;
    let Header { len, durable, .. } = Header::parse(header)?;
    let sequence = u64::from_le_bytes(*rest.first_chunk()?);
    Some(Claim { size: framed(len), sequence, durable })
}

/// What a frame's first bytes claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Bytes on disk.
    pub size: usize,
    /// The record's position.
    pub sequence: u64,
    /// The last sequence durable when it was written.
    pub durable: u64,
}

struct Header {
    len: usize,
    flags: u8,
    durable: u64,
}

impl Header {
    fn encode(len: u32, flags: u8, durable: u64) -> [u8; HEADER] {
        let [l0, l1, l2, l3] = len.to_le_bytes();
        let [d0, d1, d2, d3, d4, d5, d6, d7] = durable.to_le_bytes();
        let [c0, c1, c2] = check(&[l0, l1, l2, l3, flags, d0, d1, d2, d3, d4, d5, d6, d7]);
        [l0, l1, l2, l3, flags, c0, c1, c2, d0, d1, d2, d3, d4, d5, d6, d7]
    }

    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let [l0, l1, l2, l3, flags, _, _, _, d @ ..] = *bytes;
        let (len, durable) = (u32::from_le_bytes([l0, l1, l2, l3]), u64::from_le_bytes(d));
        if Self::encode(len, flags, durable) != *bytes || flags & !(MORE | SEALED) != 0 {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        (BODY_FIXED..=MAX_BODY).contains(&len).then_some(Self { len, flags, durable })
    }
}

struct Body<'a> {
    sequence: u64,
    time_ms: u64,
    kind: u8,
    tree: &'a str,
    payload: &'a [u8],
}

impl<'a> Body<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (sequence, bytes) = bytes.split_first_chunk::<8>()?;
        let (time, bytes) = bytes.split_first_chunk::<8>()?;
        let ([kind, tree_len], bytes) = bytes.split_first_chunk::<2>()?;
        let (tree, payload) = bytes.split_at_checked(usize::from(*tree_len))?;
        let tree = std::str::from_utf8(tree).ok().filter(|name| is_tree_name(name))?;
        Some(Self {
            sequence: u64::from_le_bytes(*sequence),
            time_ms: u64::from_le_bytes(*time),
            kind: *kind,
            tree,
            payload,
        })
    }
}

fn check(bytes: &[u8; 13]) -> [u8; 3] {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_le_bytes();
    [a ^ d, b, c]
}

/// Body and attachment of a frame with the flag `sealed`.
fn detach(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (rest, len) = bytes.split_last_chunk::<ATTACHED>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (body, attachment) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
    Some((body, Some(attachment)))
}

fn attached(attachment: &[u8]) -> Hash {
    Hash::of_parts(&[&[3], attachment])
}

fn chain(link: &Hash, header: &[u8; HEADER], leaf: &Hash, attached: Option<Hash>) -> Hash {
    if let Some(attached) = attached {
        return Hash::of_parts(&[&[2], &link.0, header, &leaf.0, &attached.0]);
    }
    let mut input = [0_u8; 1 + 32 + HEADER + 32];
    let parts = [&[2_u8][..], &link.0, header, &leaf.0];
    for (to, from) in input.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    Hash::of(&input)
}

/// Frames records one after the other into one buffer that is used again for each batch.
#[derive(Debug)]
pub struct Encoder {
    buffer: Vec<u8>,
    next: u64,
    link: Hash,
    durable: u64,
    /// Start, leaf and attachment's hash of the last frame while it isn't known whether another of its entry follows.
    open: Option<(usize, Hash, Option<Hash>)>,
}

/// A state of an [`Encoder`] between two entries, to which it can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    next: u64,
    link: Hash,
}

impl Mark {
    /// Bytes that the encoder held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.len
    }

    /// The sequence that came next.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The chain's value.
    #[must_use]
    pub const fn link(&self) -> Hash {
        self.link
    }
}

impl Encoder {
    /// An encoder whose next frame is `next`, after a frame with `link`; everything before `next` is durable.
    #[must_use]
    pub fn new(next: u64, link: Hash) -> Self {
        Self { buffer: Vec::new(), next, link, durable: next.saturating_sub(1), open: None }
    }

    /// The sequence of the next frame.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The chain's value after the last whole entry.
    #[must_use]
    pub const fn link(&self) -> Hash {
        self.link
    }

    /// The frames so far; whole entries only after [`Self::end_entry`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The state now. Call between entries only.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { len: self.buffer.len(), next: self.next, link: self.link }
    }

    /// Forgets every frame after `mark`.
    pub fn rollback(&mut self, mark: &Mark) {
        self.buffer.truncate(mark.len);
        self.next = mark.next;
        self.link = mark.link;
        self.open = None;
    }

    /// Adds a frame to the entry being written and returns its sequence and leaf hash.
    pub fn push(
        &mut self,
        time_ms: u64,
        tree: &str,
        kind: u8,
        payload: &[u8],
    ) -> Result<(u64, Hash), FrameError> {
        self.push_sealed(time_ms, tree, kind, payload, &[])
    }

    /// As [`Encoder::push`], with what belongs to the record and is no part of its leaf; nothing where that is empty.
    pub fn push_sealed(
        &mut self,
        time_ms: u64,
        tree: &str,
        kind: u8,
        payload: &[u8],
        sealed: &[u8],
    ) -> Result<(u64, Hash), FrameError> {
        if !is_tree_name(tree) {
            return Err(FrameError::TreeName);
        }
        if payload.is_empty() {
            return Err(FrameError::Empty);
        }
        let body = BODY_FIXED.saturating_add(tree.len()).saturating_add(payload.len());
        let (flags, len) = match sealed.len() {
            0 => (0, body),
            attachment => (SEALED, body.saturating_add(attachment).saturating_add(ATTACHED)),
        };
        let lengths = (u32::try_from(len), u32::try_from(sealed.len()), u8::try_from(tree.len()));
        let ((Ok(len32), Ok(sealed32), Ok(tree_len)), true) = (lengths, len <= MAX_BODY) else {
            return Err(FrameError::TooLarge { limit: MAX_BODY });
        };
        self.seal(true);
        let (start, sequence) = (self.buffer.len(), self.next);
        self.buffer.reserve(framed(len));
        self.buffer.extend_from_slice(&Header::encode(len32, flags, self.durable));
        self.buffer.extend_from_slice(&sequence.to_le_bytes());
        self.buffer.extend_from_slice(&time_ms.to_le_bytes());
        self.buffer.extend_from_slice(&[kind, tree_len]);
        self.buffer.extend_from_slice(tree.as_bytes());
        self.buffer.extend_from_slice(payload);
        let leaf = leaf_hash(self.buffer.get(start.saturating_add(HEADER)..).unwrap_or_default());
        if flags & SEALED != 0 {
            self.buffer.extend_from_slice(sealed);
            self.buffer.extend_from_slice(&sealed32.to_le_bytes());
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
        self.next = sequence.saturating_add(1);
        self.open = Some((start, leaf, (flags & SEALED != 0).then(|| attached(sealed))));
        Ok((sequence, leaf))
    }

    /// Ends the entry: its last frame says that no more follow.
    pub fn end_entry(&mut self) {
        self.seal(false);
    }

    /// The frames were written and are durable: start the next batch.
    pub fn committed(&mut self) {
        self.buffer.clear();
        self.durable = self.next.saturating_sub(1);
    }

    /// The frames up to `mark` were written and are durable; those after it stay, as if written in the same batch.
    pub fn committed_up_to(&mut self, mark: &Mark) {
        self.buffer.drain(..mark.len.min(self.buffer.len()));
    }

    fn seal(&mut self, more: bool) {
        let Some((start, leaf, attached)) = self.open.take() else { return };
        let Some(header) = self.buffer.get_mut(start..).and_then(|b| b.first_chunk_mut::<HEADER>()) else {
            return;
        };
        if more {
            let [l0, l1, l2, l3, flags, ..] = *header;
            *header = Header::encode(u32::from_le_bytes([l0, l1, l2, l3]), flags | MORE, self.durable);
        }
        self.link = chain(&self.link, header, &leaf, attached);
        self.buffer.extend_from_slice(&self.link.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> (Encoder, Hash) {
        let link = genesis(&[7; 16]);
        (Encoder::new(1, link), link)
    }

    #[test]
    fn what_is_written_is_read() {
        let (mut encoder, link) = start();
        encoder.push(5, "acme", 3, b"{\"a\":1}").unwrap();
        encoder.push(5, "org", 4, b"{}").unwrap();
        encoder.end_entry();
        let bytes = encoder.bytes().to_vec();
        let first = read(&bytes, 0, 1, &link).unwrap().unwrap();
        assert_eq!((first.tree, first.kind, first.payload, first.more), ("acme", 3, &b"{\"a\":1}"[..], true));
        let second = read(&bytes, first.end, 2, &first.link).unwrap().unwrap();
        assert_eq!((second.time_ms, second.tree, second.more, second.end), (5, "org", false, bytes.len()));
        assert_eq!(second.link, encoder.link());
        assert_eq!(claim(&bytes[first.end..]).unwrap().sequence, 2);
    }

    #[test]
    fn an_attachment_is_no_part_of_the_leaf_and_part_of_the_chain() {
        let push = |sealed: &[u8]| {
            let (mut encoder, link) = start();
            encoder.push_sealed(5, "acme", 3, b"{}", sealed).unwrap();
            encoder.push(5, "acme", 3, b"{}").unwrap();
            encoder.end_entry();
            let bytes = encoder.bytes().to_vec();
            let (leaf, then, end) = {
                let first = read(&bytes, 0, 1, &link).unwrap().unwrap();
                assert_eq!((first.payload, first.sealed, first.more), (&b"{}"[..], sealed, true));
                assert_eq!(claim(&bytes).unwrap().size, first.end);
                (first.leaf, first.link, first.end)
            };
            assert_eq!(read(&bytes, end, 2, &then).unwrap().unwrap().sealed, b"");
            (leaf, then)
        };
        let (plain, one, other) = (push(b""), push(b"one"), push(b"other"));
        assert!(plain.0 == one.0 && one.0 == other.0, "the leaf is the body's");
        assert!(plain.1 != one.1 && one.1 != other.1, "the chain holds the attachment");
        assert_eq!(
            Encoder::new(1, genesis(&[7; 16])).push_sealed(1, "a", 0, b"1", &vec![0; MAX_BODY]),
            Err(FrameError::TooLarge { limit: MAX_BODY })
        );
    }

    #[test]
    fn every_flipped_bit_is_a_fault() {
        for sealed in [&b""[..], b"a sealed body"] {
            let (mut encoder, link) = start();
            encoder.push_sealed(1_700_000_000_000, "acme", 3, b"{\"amount\":80}", sealed).unwrap();
            encoder.end_entry();
            let bytes = encoder.bytes().to_vec();
            for bit in 0..bytes.len() * 8 {
                let mut altered = bytes.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&altered, 0, 1, &link).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_rolled_back_entry_leaves_no_trace() {
        let (mut encoder, _) = start();
        let (mut other, _) = start();
        encoder.push(1, "a", 0, b"1").unwrap();
        encoder.end_entry();
        let mark = encoder.mark();
        encoder.push(2, "b", 0, b"refused").unwrap();
        encoder.push(2, "b", 0, b"refused too").unwrap();
        encoder.rollback(&mark);
        encoder.push(3, "c", 0, b"2").unwrap();
        encoder.end_entry();
        other.push(1, "a", 0, b"1").unwrap();
        other.end_entry();
        other.push(3, "c", 0, b"2").unwrap();
        other.end_entry();
        assert_eq!(encoder.bytes(), other.bytes());
        assert_eq!(encoder.link(), other.link());
    }

    #[test]
    fn bounds_are_held() {
        let (mut encoder, _) = start();
        for name in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(encoder.push(1, name, 0, b"1"), Err(FrameError::TreeName), "{name}");
        }
        assert_eq!(encoder.push(1, "a", 0, b""), Err(FrameError::Empty));
        let long = vec![b'1'; MAX_BODY - BODY_FIXED];
        assert_eq!(encoder.push(1, "a", 0, &long), Err(FrameError::TooLarge { limit: MAX_BODY }));
        assert!(encoder.bytes().is_empty());
        assert!(encoder.push(1, "a", 0, &long[1..]).is_ok());
    }
}
