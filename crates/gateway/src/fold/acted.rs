//! What people and sources said, folded: releases that came into force, steps of their lives, gaps, erasures.

use std::{error::Error, sync::PoisonError};

use placet_core::Digest;
use placet_json::{Limits, Value};
use placet_ledger::frame::Frame;
use placet_record::Kind;
use placet_store::FrameSink;

use super::{ORGANISATION, Refusal, State, Token};
use crate::{
    erase::Erasure,
    lives::{Entry, Step},
    sources::{self, Gaps, SourceSays, Told},
};

impl State {
    /// A step in a release's life.
    pub(super) fn step(
        &mut self,
        sequence: u64,
        release: Digest,
        step: &Step,
        record: &str,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        out.push(ORGANISATION, Kind::Act.tag(), record.as_bytes())?;
        self.lives.step(sequence, release, step);
        Ok(Token::Step)
    }
    /// A release came into force.
    pub(super) fn released(&mut self, payload: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let document = placet_json::parse(payload, &Limits::RESULT)?;
        let digest = document
            .get("release")
            .and_then(Value::as_str)
            .and_then(Digest::parse)
            .ok_or("a release without its digest")?;
        self.lives.in_force(digest, &Entry::of(&document)?);
        self.seen.lived(&self.lives);
        self.release = Some(digest);
        *self.seen.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        if self.started {
            self.put_in_force();
        }
        Ok(())
    }
    /// Somebody acted: of these steps in a release's life, what sources say of themselves, and what is erased.
    pub(super) fn acted(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let document = placet_json::parse(frame.payload, &Limits::RESULT)?;
        if let Some(step) = document.get("step") {
            let (release, step) = Step::from_value(step)?;
            self.lives.step(frame.sequence, release, &step);
            self.seen.lived(&self.lives);
        }
        if let Some(told) = Told::read(frame.payload)? {
            told.fold(&mut self.gaps);
            self.said(&told, &self.gaps);
        }
        let Some(erasure) = Erasure::read(frame.payload)? else { return Ok(()) };
        self.world = erasure.world(&self.world);
        self.erased_at = frame.sequence;
        // At the start it is settled when all is read.
        self.subjects.forget(&erasure.keys);
        if self.started {
            self.live.publish(self.world.clone());
            self.seen.forget(frame.sequence, &self.subjects);
        }
        Ok(())
    }
    /// Tells the sources what is in the journal now.
    pub(super) fn said(&self, told: &Told, gaps: &Gaps) {
        let sources = self.live.sources();
        match told.says {
            // One that isn't declared here has no age here.
            SourceSays::Seen(at) => drop(sources.seen(&told.source, at)),
            SourceSays::Gap | SourceSays::Closed => sources.record(sources::all(gaps)),
        }
    }
}
