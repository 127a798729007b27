//! What a person reads: a sentence a step, in colour only on a terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
};

use super::{evidence::Evidence, stage::Stage};

/// Prints the story, and remembers whether it came out as told.
pub(super) struct Teller {
    colour: bool,
    unexpected: usize,
    scene: usize,
}

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It went through, as it should.
    Permitted,
    /// It was stopped, as it should.
    Stopped,
    /// It happened, and it shouldn't be able to.
    Harm,
    /// A fact.
    Note,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            unexpected: 0,
            scene: 0,
        }
    }
    pub(super) fn title(&mut self, text: &str) {
        Self::line(&format!("{}\n", self.paint("1", text)));
    }
    pub(super) fn aside(&mut self, text: &str) {
        Self::line(&self.paint("2", text));
    }
    pub(super) fn scene(&mut self, text: &str) {
        self.scene = self.scene.saturating_add(1);
        Self::line(&format!("\n{}", self.paint("1", &format!("{}. {text}", self.scene))));
    }
    pub(super) fn step(&mut self, mark: Mark, text: &str) {
        let sign = match mark {
            Mark::Permitted => self.paint("32", "✓"),
            Mark::Stopped => self.paint("33", "✗"),
            Mark::Harm => self.paint("31", "!"),
            Mark::Note => " ".to_owned(),
        };
        Self::line(&format!("  {sign} {text}"));
    }
    pub(super) fn quote(&mut self, text: &str) {
        for line in text.lines() {
            Self::line(&self.paint("2", &format!("      {line}")));
        }
    }
    /// A step whose outcome is compared at once; the verdict at the end doesn't rest on it.
    pub(super) fn check(&mut self, as_told: bool, mark: Mark, text: &str, else_text: &str) {
        if as_told {
            self.step(mark, text);
        } else {
            self.unexpected = self.unexpected.saturating_add(1);
            Self::line(&format!(
                "  {} {}",
                self.paint("31", "?"),
                self.paint("31", &format!("not as told: {text}: {else_text}"))
            ));
        }
    }
    pub(super) fn came_out_as_told(&self) -> bool {
        self.unexpected == 0
    }
    pub(super) fn verdict(&mut self, problems: &[String], evidence: &Evidence) {
        self.scene("Verdict, from the tools' own databases and the ledger");
        self.step(Mark::Note, &evidence.summary());
        for problem in problems {
            Self::line(&format!("  {} {}", self.paint("31", "?"), self.paint("31", problem)));
        }
        if problems.is_empty() && self.came_out_as_told() {
            self.step(Mark::Permitted, "Everything came out as told.");
        }
    }
    pub(super) fn next(&mut self, all: bool, data: &Path) {
        Self::line("");
        if !all {
            self.aside("Next: `placet demo --all` adds what attackers, other tenants and accidents try;");
        }
        self.aside(&format!("the ledger of this run: `placet audit verify --data {}` (kept with --data DIR); your own: `placet init DIR`.", data.display()));
    }
    pub(super) fn running(stage: &Stage) {
        Self::line(&format!("\nLeft running until Ctrl-C:\n{}", stage.addresses()));
    }
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn line(text: &str) {
        // A closed pipe isn't worth a panic.
        let _closed = writeln!(std::io::stdout().lock(), "{text}");
    }
}
