//! `[ledger]`: who sees the ledger's checkpoints besides us.

use std::path::PathBuf;

use placet_ledger::cosign::Witness;
use url::Url;

use super::read::Section;

/// Witnesses at most.
const MAX_WITNESSES: usize = 16;

/// `[ledger]`: the transparency log, its witnesses, its anchor.
#[derive(Debug, Clone)]
pub struct Transparency {
    /// `publish`: whether checkpoints and tiles (hashes only) are served at `/ledger/TREE/…` of the agents' listener.
    pub publish: bool,
    /// `every_ms`: how often checkpoints are shown to witnesses.
    pub every_ms: u64,
    /// `quorum`: how many witnesses must have cosigned a checkpoint for it to count, and must confirm the ledger at a start;
    /// more than half of them by default.
    pub quorum: usize,
    /// `[[ledger.witness]]`.
    pub witnesses: Vec<WitnessAt>,
    /// `anchor`: a directory that checkpoints are added to.
    pub anchor: Option<PathBuf>,
    /// `anchor_command`: a program that takes each of them on its standard input.
    pub anchor_command: Option<Vec<String>>,
    /// `anchor_every_ms`: how often.
    pub anchor_every_ms: u64,
}

/// A witness.
#[derive(Debug, Clone)]
pub struct WitnessAt {
    /// `url`: `add-checkpoint` lies below it.
    pub url: Url,
    /// `key`: its verifier key, as it prints it at its start.
    pub key: Witness,
}

pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Transparency> {
    let mut section = root.section("ledger");
    let publish = section.boolean("publish", true);
    let every_ms = section.number("every_ms", 5_000, 100..=3_600_000);
    let witnesses: Vec<_> = section.sections("witness").into_iter().map(witness).collect();
    let named = witnesses.len();
    if named > MAX_WITNESSES {
        section.problem("witness", "there are too many witnesses", "name at most 16");
    }
    let most = u64::try_from(named).unwrap_or(u64::MAX);
    let majority = if named == 0 { 0 } else { most.wrapping_div(2).saturating_add(1) };
    let quorum = section.number("quorum", majority, 0..=most);
    let anchor = section.optional_path("anchor");
    let anchor_command = section.optional_texts("anchor_command");
    let anchor_every_ms = section.number("anchor_every_ms", 60_000, 100..=86_400_000);
    section.finish();
    let anchor_command = anchor_command?;
    if anchor_command.as_ref().is_some_and(Vec::is_empty) {
        section.problem("anchor_command", "is empty", "write `[\"PROGRAM\", \"ARGUMENT\"]`");
        return None;
    }
    Some(Transparency {
        publish: publish?,
        every_ms: every_ms?,
        quorum: usize::try_from(quorum?).ok()?,
        witnesses: witnesses
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .filter(|all| all.len() <= MAX_WITNESSES)?,
        anchor: anchor?,
        anchor_command,
        anchor_every_ms: anchor_every_ms?,
    })
}

fn witness(mut section: Section<'_, '_>) -> Option<WitnessAt> {
    let url = section.required(
        "url",
        |text| {
            Url::parse(text).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.query().is_none()
                    && url.fragment().is_none()
                    && url.username().is_empty()
                    && url.password().is_none()
            })
        },
        "write its address, as in `https://witness.example`",
    );
    let key = section.required(
        "key",
        |text| Witness::from_vkey(text).ok(),
        "write the verifier key that `placet audit witness` prints: `NAME+ID+KEY`",
    );
    section.finish();
    Some(WitnessAt { url: url?, key: key? })
}
