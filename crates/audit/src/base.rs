//! Where a look at the past begins: at the first record, or, where the beginning is archived, at a kept state.
//!
//! The state is the gateway's, as it stood at a position of the journal; of its lines only the facts are read here. The
//! checkpoint key signed it, and it must be of this very journal: its link is compared with the record's.

use placet_facts::{Rebuilding, World};
use placet_json::Limits;
use placet_record::{Kind, sealed::Shut};
use placet_store::{KeptState, KeptStates, Manifest};

use crate::{
    Data, DataError,
    past::{Past, released},
    retention::release_of,
};

/// A past to go on from, and the first record that is folded to it.
pub(crate) struct Begin {
    pub(crate) past: Past,
    pub(crate) from: u64,
}

/// At the first record if everything is here or an archive was named, else at the oldest kept state that what is here goes
/// on from.
pub(crate) fn begin(data: &Data, window: u64) -> Result<Begin, DataError> {
    let all = || Begin { past: Past::new(window, data.subjects().clone()), from: 1 };
    if data.is_pack() || data.reader().archive().is_some() {
        return Ok(all());
    }
    let unreadable = |why: String| DataError::Archived(why);
    let Some(found) = Manifest::read(data.dir()).map_err(|error| unreadable(error.to_string()))? else {
        return Ok(all());
    };
    let archived =
        format!("the records 1 to {} are in the archive `{}`", found.base.saturating_sub(1), found.location);
    let Some((organisation, key)) = data.signer() else {
        let remedy = "name the checkpoint key with `--key` to begin at the kept state after them, or the archive with `--archive`";
        return Err(unreadable(format!("{archived}: {remedy}")));
    };
    let manifest =
        Manifest::verified(data.dir(), organisation, key).map_err(|error| unreadable(error.to_string()))?;
    let manifest = manifest.unwrap_or(found);
    let states = KeptStates::of_any(data.dir(), organisation, *key);
    let oldest = states
        .sequences()
        .into_iter()
        .filter(|at| at.saturating_add(1) >= manifest.base)
        .find_map(|at| states.newest(at).filter(|state| state.sequence == at));
    let Some(state) = oldest else {
        let why = "no kept state is here that what follows could be folded from (an upgrade or an erasure ends them): name the archive with `--archive`";
        return Err(unreadable(format!("{archived}, and {why}")));
    };
    let (at, fits) = (state.sequence, fits(data, &manifest, &state)?);
    let world = fits
        .then(|| world(&state))
        .transpose()
        .map_err(|why| unreadable(format!("the kept state {at}: {why}")))?;
    let world = world.ok_or_else(|| unreadable(format!("the kept state {at} is of another journal")))?;
    let shut = world.tenants().any(|facts| facts.has_erased()).then_some(Shut::Erased);
    let mut past = Past::at(window, data.subjects().clone(), (at, world), shut);
    manifest.marks.iter().filter_map(|mark| release_of(mark)).for_each(|release| past.promote(release));
    for record in data.reader().range(manifest.base, at) {
        let record = record?;
        if Kind::from_tag(record.kind) == Some(Kind::Release)
            && let Some(release) = released(&record)
        {
            past.promote(release);
        }
    }
    Ok(Begin { past, from: at.saturating_add(1) })
}

fn fits(data: &Data, manifest: &Manifest, state: &KeptState) -> Result<bool, DataError> {
    if state.sequence.saturating_add(1) == manifest.base {
        return Ok(state.link == manifest.link);
    }
    Ok(data.reader().get(state.sequence)?.is_some_and(|record| record.link == state.link))
}

fn world(state: &KeptState) -> Result<World, String> {
    let mut world = Rebuilding::default();
    for line in state.body().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let document = placet_json::parse(line, &Limits::RESULT).map_err(|error| error.to_string())?;
        world.take(&document).map_err(|error| error.to_string())?;
    }
    Ok(world.finish())
}
