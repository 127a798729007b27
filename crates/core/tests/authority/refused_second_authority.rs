use std::sync::Arc;

use placet_core::{Facts, Releases, authority::{Authority, Journal, Orphans}};
fn second<J: Journal>(releases: Arc<dyn Releases>, facts: Arc<dyn Facts>, journal: J, orphans: Arc<dyn Orphans>) -> Authority<J> {
    Authority { releases, facts, journal, orphans }
}
fn main() {}
