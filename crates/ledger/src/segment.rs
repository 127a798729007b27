//! A file of frames.
//!
//! A segment starts with a header of one sector (512 bytes): magic `placetj1`, version (4), zeros (4), first sequence
//! (8), journal id (16), link before the first frame (32), SHA-256 of these 72 bytes (32), zeros. It is on disk before the
//! segment has its name, and after everything before its first sequence is durable. Frames follow; what isn't written
//! yet is zero.
//!
//! **Where the journal ends.** Sectors are written whole or not at all, in any order, and a batch is written only when
//! the batch before it is durable. So a write torn by a crash leaves a *hole*: the part of the first unreadable frame
//! in some sector is all zero, or its last eight bytes are, or nothing follows an unreadable header; and no later frame
//! claims that the unreadable one was durable. Only that, and only in the last segment, is a torn tail and is cut back
//! to the last whole entry. Anything else is [`Damage`].

use std::collections::VecDeque;

use crate::Hash;
use crate::frame::{self, Fault, Frame, HEADER};

/// Bytes of a segment's header; frames start here.
pub const START: usize = 512;
/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;
static ZEROS: [u8; 4096] = [0; 4096];
const MAGIC: &[u8; 8] = b"placetj1";
const VERSION: u32 = 1;
const CHECKED: usize = 72;

/// What a segment's first sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Sequence of its first frame.
    pub first: u64,
    /// The journal that it belongs to.
    pub journal: [u8; 16],
    /// The chain's value before its first frame.
    pub link: Hash,
}

impl SegmentHeader {
    /// The first sector.
    #[must_use]
    pub fn encode(&self) -> [u8; START] {
        let fields = self.fields();
        let check = Hash::of(&fields);
        let mut sector = [0; START];
        for (to, from) in sector.iter_mut().zip(fields.iter().chain(&check.0)) {
            *to = *from;
        }
        sector
    }

    /// Reads a segment's first sector. `None`: altered, or no segment.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let sector = bytes.first_chunk::<START>()?;
        let (_, rest) = sector.split_at_checked(16)?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (journal, rest) = rest.split_first_chunk::<16>()?;
        let (link, _) = rest.split_first_chunk::<32>()?;
        let header = Self { first: u64::from_le_bytes(*first), journal: *journal, link: Hash(*link) };
        (header.first > 0 && header.encode() == *sector).then_some(header)
    }

    fn fields(&self) -> [u8; CHECKED] {
        let mut fields = [0; CHECKED];
        let (version, first) = (VERSION.to_le_bytes(), self.first.to_le_bytes());
        let parts = [&MAGIC[..], &version, &[0; 4], &first, &self.journal, &self.link.0];
        for (to, from) in fields.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        fields
    }
}

/// Bytes that aren't what the journal wrote, and that no crash explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment:012}, offset {offset}, record {sequence}: {kind}")]
pub struct Damage {
    /// First sequence of the segment, which is its file's name.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u64,
    /// The first sequence that can't be trusted any more.
    pub sequence: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// The kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The segment's first sector.
    #[error("the segment's header is altered")]
    SegmentHeader,
    /// The segment belongs to another journal.
    #[error("the segment belongs to another journal")]
    ForeignSegment,
    /// The segment doesn't start where the one before ended: a segment or the end of one is missing.
    #[error("the segment before ends too early: records {sequence} to {last} are missing", last = .first.saturating_sub(1))]
    MissingRecords {
        /// The first missing one.
        sequence: u64,
        /// The first that is there.
        first: u64,
    },
    /// The segment's own link isn't that of the frame before.
    #[error("the chain breaks between two segments")]
    SegmentLink,
    /// A frame doesn't check out.
    #[error(transparent)]
    Frame(Fault),
    /// Zeros where a record was durable.
    #[error("a record that was durable is missing here")]
    Hole,
    /// An entry of several frames ends in the middle of a durable part.
    #[error("an entry of several records is incomplete")]
    Incomplete,
}

/// Where a segment's frames end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Offset behind the last whole entry: the next frame goes here.
    pub offset: usize,
    /// The next sequence.
    pub next: u64,
    /// The chain's value there.
    pub link: Hash,
    /// Offset behind the last non-zero byte after `offset` if a torn write was cut there.
    pub torn: Option<usize>,
}

/// The frames of one segment, whole entries only, each checked.
#[derive(Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    segment: u64,
    last: bool,
    entry: VecDeque<Frame<'a>>,
    offset: usize,
    next: u64,
    link: Hash,
    tail: Option<Tail>,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// Reads `bytes`, a segment from its header on. `last`: no segment follows, so a torn tail is possible.
    pub fn new(bytes: &'a [u8], last: bool) -> Result<(SegmentHeader, Self), DamageKind> {
        let header = SegmentHeader::parse(bytes).ok_or(DamageKind::SegmentHeader)?;
        let frames = Self {
            bytes,
            segment: header.first,
            last,
            entry: VecDeque::new(),
            offset: START,
            next: header.first,
            link: header.link,
            tail: None,
            failed: false,
        };
        Ok((header, frames))
    }

    /// Where the frames end. `None` before the iterator is exhausted, or when it ended in damage.
    #[must_use]
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Reads one whole entry into `self.entry`; `Ok` without one at the end.
    fn read_entry(&mut self) -> Result<(), Damage> {
        let (mut offset, mut next, mut link) = (self.offset, self.next, self.link);
        loop {
            match frame::read(self.bytes, offset, next, &link) {
                Ok(Some(frame)) => {
                    self.entry.push_back(frame);
                    (offset, next, link) = (frame.end, next.saturating_add(1), frame.link);
                    if !frame.more {
                        (self.offset, self.next, self.link) = (offset, next, link);
                        return Ok(());
                    }
                }
                Ok(None) => return self.end(offset, next, None),
                Err(fault) => return self.end(offset, next, Some(fault)),
            }
        }
    }

    /// No frame can be read at `offset`: the end, a torn tail, or damage.
    fn end(&mut self, offset: usize, sequence: u64, fault: Option<Fault>) -> Result<(), Damage> {
        self.entry.clear();
        let damage = |kind| {
            Err(Damage {
                segment: self.segment,
                offset: u64::try_from(offset).unwrap_or(u64::MAX),
                sequence,
                kind,
            })
        };
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let written = written(rest);
        let clean = written == 0 && offset == self.offset;
        if !clean {
            if let Some(fault) = fault.filter(|_| !has_hole(rest, offset, written)) {
                return damage(DamageKind::Frame(fault));
            }
            let kind = if written == 0 { DamageKind::Incomplete } else { DamageKind::Hole };
            if !self.last || proves_durable(rest.get(..written).unwrap_or_default(), sequence) {
                return damage(fault.map_or(kind, DamageKind::Frame));
            }
        }
        self.tail = Some(Tail {
            offset: self.offset,
            next: self.next,
            link: self.link,
            torn: (!clean).then(|| offset.saturating_add(written)),
        });
        Ok(())
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.entry.is_empty()
            && self.tail.is_none()
            && !self.failed
            && let Err(damage) = self.read_entry()
        {
            self.failed = true;
            return Some(Err(damage));
        }
        self.entry.pop_front().map(Ok)
    }
}

/// Bytes of `rest` up to the last that isn't zero. A fresh segment is megabytes of zeros, so they are compared by the page.
fn written(rest: &[u8]) -> usize {
    let mut len = rest.len();
    for page in rest.rchunks(ZEROS.len()) {
        if Some(page) != ZEROS.get(..page.len()) {
            let in_page = page.iter().rposition(|b| *b != 0).map_or(0, |at| at.saturating_add(1));
            return len.saturating_sub(page.len()).saturating_add(in_page);
        }
        len = len.saturating_sub(page.len());
    }
    0
}

/// Whether a part of the frame that starts `rest`, at `offset` in its segment, was never written. `written`: bytes of
/// `rest` up to the last that isn't zero.
fn has_hole(rest: &[u8], offset: usize, written: usize) -> bool {
    // Without a header that checks out only the header's own two halves are known to belong to the frame.
    let claim = frame::claim(rest);
    let extent = claim.map_or(HEADER, |claim| claim.size);
    let frame = rest.get(..extent).unwrap_or(rest);
    let unwritten = |part: &[u8]| !part.is_empty() && part.iter().all(|b| *b == 0);
    // A write that stopped: nothing behind the header, or no end of the link.
    let stopped = match claim {
        None => written <= HEADER,
        Some(_) => frame.last_chunk::<8>().is_some_and(|end| unwritten(end)),
    };
    let until_sector = SECTOR.saturating_sub(offset % SECTOR).min(frame.len());
    let (head, tail) = frame.split_at_checked(until_sector).unwrap_or((frame, &[]));
    stopped || unwritten(head) || tail.chunks(SECTOR).any(unwritten)
}

/// Whether a later frame says that `sequence` was durable when it was written.
fn proves_durable(rest: &[u8], sequence: u64) -> bool {
    let mut at = 0_usize;
    while let Some(bytes) = rest.get(at..) {
        if bytes.is_empty() {
            break;
        }
        if let Some(claim) = frame::claim(bytes)
            && claim.sequence > claim.durable
            && claim.durable >= sequence
        {
            return true;
        }
        at = at.saturating_add(8);
    }
    false
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use crate::frame::{Encoder, genesis};

    /// A segment of batches of entries of frames (payload lengths), with room behind.
    fn segment(batches: &[&[&[usize]]]) -> (Vec<u8>, Vec<usize>) {
        let link = genesis(&[1; 16]);
        let mut bytes = SegmentHeader { first: 1, journal: [1; 16], link }.encode().to_vec();
        let mut encoder = Encoder::new(1, link);
        let mut ends = vec![START];
        for batch in batches {
            for entry in *batch {
                for len in *entry {
                    encoder.push(1, "acme", 1, &vec![b'x'; *len]).unwrap();
                }
                encoder.end_entry();
                ends.push(bytes.len() + encoder.bytes().len());
            }
            bytes.extend_from_slice(encoder.bytes());
            encoder.committed();
        }
        bytes.resize(bytes.len() + 4096, 0);
        (bytes, ends)
    }

    fn read(bytes: &[u8], last: bool) -> (usize, Result<Tail, Damage>) {
        let (_, mut frames) = Frames::new(bytes, last).unwrap();
        let mut count = 0;
        loop {
            match frames.next() {
                Some(Ok(_)) => count += 1,
                Some(Err(damage)) => return (count, Err(damage)),
                None => return (count, Ok(frames.tail().unwrap())),
            }
        }
    }

    #[test]
    fn a_whole_segment_is_read_to_its_end() {
        let (bytes, ends) = segment(&[&[&[100], &[700, 20]], &[&[5]]]);
        let (count, tail) = read(&bytes, true);
        let tail = tail.unwrap();
        assert_eq!((count, tail.next, tail.offset, tail.torn), (4, 5, ends[3], None));
    }

    #[test]
    fn led_1_any_subset_of_the_last_batch_s_sectors_is_a_torn_tail() {
        // The last batch: 3 entries over some sectors, of which any subset may have reached the disk.
        let (bytes, ends) = segment(&[&[&[100], &[300]], &[&[400], &[700, 20], &[900]]]);
        let (from, to) = (ends[2], ends[5]);
        let sectors: Vec<usize> = (from / SECTOR..=(to - 1) / SECTOR).collect();
        for subset in 0..1_u32 << sectors.len() {
            let mut torn = bytes.clone();
            for (bit, sector) in sectors.iter().enumerate() {
                if subset & (1 << bit) == 0 {
                    let (a, b) = ((sector * SECTOR).max(from), ((sector + 1) * SECTOR).min(to));
                    torn[a..b].fill(0);
                }
            }
            let (count, tail) = read(&torn, true);
            let tail = tail.unwrap_or_else(|damage| panic!("subset {subset:b}: {damage}"));
            assert!(count >= 2 && ends.contains(&tail.offset), "subset {subset:b}");
            assert!(count != 4, "an entry is cut whole, subset {subset:b}");
        }
    }

    #[test]
    fn the_end_of_what_is_written_is_found() {
        for len in [0, 1, 4095, 4096, 4097, 10_000] {
            let mut bytes = vec![0; len];
            assert_eq!(written(&bytes), 0);
            for at in [0, 1, len / 2, len.saturating_sub(4097), len.saturating_sub(1)] {
                if at < len {
                    bytes.fill(0);
                    bytes[at] = 1;
                    assert_eq!(written(&bytes), at + 1, "{at} of {len}");
                }
            }
        }
    }

    proptest::proptest! {
        /// A disk that keeps what was synced and any part of the rest: nothing acknowledged is lost, nothing is damage.
        #[test]
        fn led_1_a_disk_that_drops_and_tears_what_was_not_synced(
            batches in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(1_usize..2500, 1..4), 1..6),
                1..4,
            ),
            kept in proptest::collection::vec(proptest::bool::ANY, 128),
        ) {
            let entries: Vec<Vec<&[usize]>> =
                batches.iter().map(|batch| batch.iter().map(Vec::as_slice).collect()).collect();
            let entries: Vec<&[&[usize]]> = entries.iter().map(Vec::as_slice).collect();
            let (mut bytes, ends) = segment(&entries);
            let synced = ends[ends.len() - 1 - entries.last().unwrap().len()];
            for (sector, kept) in bytes.chunks_mut(SECTOR).skip(synced / SECTOR).zip(kept.iter().cycle()).skip(1) {
                if !kept {
                    sector.fill(0);
                }
            }
            // The sector that the synced part ends in is written again with the batch: its old content stays.
            if !kept[0] {
                let end = synced.next_multiple_of(SECTOR).min(bytes.len());
                bytes[synced..end].fill(0);
            }
            let (_, tail) = read(&bytes, true);
            let tail = tail.unwrap();
            proptest::prop_assert!(tail.offset >= synced && ends.contains(&tail.offset));
        }
    }

    #[test]
    fn led_1_a_write_that_stops_anywhere_is_a_torn_tail() {
        let (bytes, ends) = segment(&[&[&[100]], &[&[40], &[700, 20]]]);
        let frames: Vec<usize> = {
            let (_, frames) = Frames::new(&bytes, true).unwrap();
            frames.map(|frame| frame.unwrap().end).collect()
        };
        for cut in ends[1]..ends[3] {
            // The end of a link is written as one word.
            if frames.iter().any(|end| (end - 7..*end).contains(&cut)) {
                continue;
            }
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            let (count, tail) = read(&torn, true);
            let tail = tail.unwrap_or_else(|damage| panic!("cut {cut}: {damage}"));
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!((count, tail.offset), (whole, ends[whole]), "cut {cut}");
        }
    }

    #[test]
    fn led_3_a_flipped_bit_is_never_taken_for_a_torn_tail() {
        let (bytes, ends) = segment(&[&[&[100]], &[&[40], &[7]]]);
        for bit in START * 8..ends[3] * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let (count, result) = read(&altered, true);
            let damage = result.expect_err("found");
            let at = ends.iter().filter(|end| **end <= bit / 8).count();
            assert_eq!((damage.sequence, count), (at as u64, at - 1), "bit {bit}: {damage}");
            assert_eq!(damage.offset, ends[at - 1] as u64);
        }
    }

    #[test]
    fn led_3_a_hole_in_front_of_a_later_batch_is_damage() {
        let (mut bytes, ends) = segment(&[&[&[2000]], &[&[7]]]);
        bytes[1024..1536].fill(0);
        let (_, result) = read(&bytes, true);
        assert_eq!(result.unwrap_err().sequence, 1);
        let (mut bytes, _) = segment(&[&[&[2000]], &[&[7]]]);
        bytes[START..ends[1]].fill(0);
        assert_eq!(read(&bytes, true).1.unwrap_err().kind, DamageKind::Hole);
    }

    #[test]
    fn only_the_last_segment_may_be_torn() {
        let (mut bytes, ends) = segment(&[&[&[2000]]]);
        bytes[1024..ends[1]].fill(0);
        assert!(read(&bytes, true).1.unwrap().torn.is_some());
        assert!(read(&bytes, false).1.is_err());
    }

    #[test]
    fn every_bit_of_the_header_is_covered() {
        let header = SegmentHeader { first: 9, journal: [3; 16], link: Hash([5; 32]) };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::parse(&bytes), Some(header));
        for bit in 0..START * 8 {
            let mut altered = bytes;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&altered), None);
        }
    }
}
