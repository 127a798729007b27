//! What the rows of a database say, as far as they were read: which row gives which facts, and which facts were touched
//! since they were last written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use placet_core::{Assignment, HumanId, Name, ResourceRef, Standing, TenantId, Tuple};
use placet_json::{Limits, Value};
use placet_store::ForeignRow;
use sha2::{Digest as _, Sha256};

use super::mapping::{Row, Tables};
use crate::opal::{Mapped, Told, diff::Touched};

/// A fact of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    Person(HumanId, Standing),
    Assignment(Assignment),
    Resource(ResourceRef, BTreeMap<Name, Value>),
    Tuple(Tuple),
}

/// What a fact is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    Person(HumanId),
    Assignment(HumanId),
    Resource(ResourceRef),
    Tuple(Tuple),
}

impl Fact {
    fn about(&self) -> About {
        match self {
            Self::Person(human, _) => About::Person(human.clone()),
            Self::Assignment(assignment) => About::Assignment(assignment.human.clone()),
            Self::Resource(at, _) => About::Resource(at.clone()),
            Self::Tuple(tuple) => About::Tuple(tuple.clone()),
        }
    }
}

/// A row that gives facts.
#[derive(Debug)]
struct Held {
    table: u16,
    key: String,
    /// Of its document: most rows are what they were.
    print: [u8; 16],
    tenant: TenantId,
    facts: Vec<Fact>,
    /// The turn that saw it last.
    turn: u64,
}

/// All rows that are known.
#[derive(Debug, Default)]
pub(super) struct Image {
    ids: HashMap<(u16, String), u64>,
    rows: HashMap<u64, Held>,
    next: u64,
    /// Which rows give a fact.
    given: HashMap<(TenantId, About), Vec<u64>>,
    /// Rows that can't be facts: whose they would be, and why.
    refused: BTreeMap<(u16, String), (Option<TenantId>, String)>,
    /// Facts that may differ from what is written.
    pub(super) touched: BTreeMap<TenantId, Touched>,
    /// Rows of others, since a table was read as a whole last.
    foreign: BTreeMap<u16, Told>,
    turn: u64,
    /// What this turn's rows were, so that one that is gone isn't refused any more.
    refused_now: BTreeSet<(u16, String)>,
    foreign_now: BTreeMap<u16, Told>,
    keys_now: BTreeSet<(u16, String)>,
}

impl Image {
    /// How many rows give facts, or would.
    pub(super) fn len(&self) -> usize {
        self.rows.len().saturating_add(self.refused.len())
    }

    /// A turn's rows are to come: within it a key stands for one row.
    pub(super) fn begin(&mut self) {
        self.turn = self.turn.saturating_add(1);
        self.keys_now.clear();
        self.refused_now.clear();
        self.foreign_now.clear();
    }

    /// Everything was read of these tables: what wasn't there is gone.
    pub(super) fn end(&mut self, whole: impl Fn(u16) -> bool) {
        let turn = self.turn;
        let gone = self.rows.iter().filter(|(_, held)| whole(held.table) && held.turn != turn);
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove(id);
        }
        let now = std::mem::take(&mut self.refused_now);
        self.refused.retain(|at, _| !whole(at.0) || now.contains(at));
        self.foreign.retain(|table, _| !whole(*table));
        for (table, told) in std::mem::take(&mut self.foreign_now) {
            if let Some(before) = self.foreign.get_mut(&table) {
                for text in told.some {
                    before.add(|| text);
                }
                continue;
            }
            self.foreign.insert(table, told);
        }
    }

    /// Rows of tenants of which the source may not speak.
    pub(super) fn foreign(&self) -> Told {
        let mut all = Told::default();
        for told in self.foreign.values() {
            let shown = told.some.len();
            for text in &told.some {
                all.add(|| text.clone());
            }
            all.count = all.count.saturating_add(told.count.saturating_sub(shown));
        }
        all
    }

    /// Takes a row as it was read.
    pub(super) fn take(&mut self, table: u16, tables: &Tables, row: ForeignRow, limits: &Limits) {
        let Some(of) = tables.tables.get(usize::from(table)) else { return };
        let at = (table, row.key.clone());
        let id = self.ids.get(&at).copied();
        if !self.keys_now.insert(at.clone()) {
            let tenant = id.and_then(|id| self.rows.get(&id)).map(|held| held.tenant.clone());
            self.refuse(at, tenant, "another row has the same key".to_owned());
            return;
        }
        let print = print(&row);
        if let Some(held) = id.and_then(|id| self.rows.get_mut(&id))
            && held.print == print
            && !self.refused.contains_key(&at)
        {
            held.turn = self.turn;
            return;
        }
        match of.row(&row, &tables.tenants, limits) {
            Row::Gone => {
                self.refused.remove(&at);
                if let Some(id) = id {
                    self.remove(id);
                }
            }
            Row::Foreign(named) => {
                let name = &of.name;
                self.foreign_now
                    .entry(table)
                    .or_default()
                    .add(|| format!("{name} {}: the tenant `{named}`", shown(&row.key)));
                self.refused.remove(&at);
                if let Some(id) = id {
                    self.remove(id);
                }
            }
            Row::Wrong(tenant, why) => self.refuse(at, tenant, why),
            Row::Facts(tenant, facts) => {
                self.refused.remove(&at);
                if let Some(id) = id {
                    self.remove(id);
                }
                self.add(Held { table, key: row.key, print, tenant, facts, turn: self.turn });
            }
        }
    }

    /// A row that can't be facts. What it said before stays until it can be read again; its tenant is stale meanwhile.
    fn refuse(&mut self, at: (u16, String), tenant: Option<TenantId>, why: String) {
        if let Some(held) = self.ids.get(&at).and_then(|id| self.rows.get_mut(id)) {
            held.turn = self.turn;
            // Whose it was can't be known of it either.
            if tenant.as_ref() != Some(&held.tenant) {
                self.refused.insert(at.clone(), (None, why));
                self.refused_now.insert(at);
                return;
            }
        }
        self.refused_now.insert(at.clone());
        self.refused.insert(at, (tenant, why));
    }

    fn add(&mut self, held: Held) {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        for fact in &held.facts {
            let about = fact.about();
            touch(self.touched.entry(held.tenant.clone()).or_default(), &about);
            self.given.entry((held.tenant.clone(), about)).or_default().push(id);
        }
        self.ids.insert((held.table, held.key.clone()), id);
        self.rows.insert(id, held);
    }

    fn remove(&mut self, id: u64) {
        let Some(held) = self.rows.remove(&id) else { return };
        for fact in &held.facts {
            let about = fact.about();
            touch(self.touched.entry(held.tenant.clone()).or_default(), &about);
            let at = (held.tenant.clone(), about);
            if let Some(rows) = self.given.get_mut(&at) {
                rows.retain(|row| *row != id);
                if rows.is_empty() {
                    self.given.remove(&at);
                }
            }
        }
        self.ids.remove(&(held.table, held.key));
    }

    /// Why not everything of a tenant can be a fact; none where it can.
    pub(super) fn refused_of(&self, tenant: &TenantId) -> impl Iterator<Item = (&(u16, String), &str)> {
        self.refused
            .iter()
            .filter(move |(_, (of, _))| of.as_ref().is_none_or(|of| of == tenant))
            .map(|(at, (_, why))| (at, why.as_str()))
    }

    /// All rows that can't be facts.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&(u16, String), &str)> {
        self.refused.iter().map(|(at, (_, why))| (at, why.as_str()))
    }

    /// What the rows say of these facts of a tenant, and of which they contradict each other.
    pub(super) fn say(&self, tenant: &TenantId, touched: &Touched) -> (Mapped, Vec<(About, String)>) {
        let (mut mapped, mut contradicted) = (Mapped::default(), Vec::new());
        let abouts = touched.people.iter().cloned().map(About::Person);
        let abouts = abouts.chain(touched.assignments.iter().cloned().map(About::Assignment));
        let abouts = abouts.chain(touched.resources.iter().cloned().map(About::Resource));
        for about in abouts.chain(touched.tuples.iter().cloned().map(About::Tuple)) {
            for fact in self.of(tenant, &about) {
                if let Err(why) = join(&mut mapped, fact) {
                    contradicted.push((about.clone(), why));
                    break;
                }
            }
        }
        (mapped, contradicted)
    }

    /// The relationships of these resources that rows give: they go with a resource that goes.
    pub(super) fn tuples_of(&self, tenant: &TenantId, resources: &BTreeSet<ResourceRef>) -> BTreeSet<Tuple> {
        if resources.is_empty() {
            return BTreeSet::new();
        }
        let of = self.given.keys().filter_map(|(of, about)| match about {
            About::Tuple(tuple) if of == tenant && resources.contains(&tuple.object) => Some(tuple.clone()),
            About::Tuple(_) | About::Person(_) | About::Assignment(_) | About::Resource(_) => None,
        });
        of.collect()
    }

    /// Whether a row gives this fact.
    pub(super) fn gives(&self, tenant: &TenantId, about: &About) -> bool {
        self.given.contains_key(&(tenant.clone(), about.clone()))
    }

    fn of(&self, tenant: &TenantId, about: &About) -> impl Iterator<Item = &Fact> {
        let rows = self.given.get(&(tenant.clone(), about.clone())).into_iter().flatten();
        let about = about.clone();
        rows.filter_map(|id| self.rows.get(id))
            .flat_map(|held| &held.facts)
            .filter(move |fact| fact.about() == about)
    }

    /// Everything that the rows say which give this fact: none of it counts where the fact isn't admitted.
    pub(super) fn beside(&self, tenant: &TenantId, about: &About) -> Touched {
        let mut touched = Touched::default();
        touch(&mut touched, about);
        for id in self.given.get(&(tenant.clone(), about.clone())).into_iter().flatten() {
            for fact in self.rows.get(id).map(|held| held.facts.as_slice()).unwrap_or_default() {
                touch(&mut touched, &fact.about());
            }
        }
        touched
    }
}

pub(super) fn touch(touched: &mut Touched, about: &About) {
    match about {
        About::Person(human) => touched.people.insert(human.clone()),
        About::Assignment(human) => touched.assignments.insert(human.clone()),
        About::Resource(at) => touched.resources.insert(at.clone()),
        About::Tuple(tuple) => touched.tuples.insert(tuple.clone()),
    };
}

/// Several rows may say the same, and add up: the lowest standing, all roles.
fn join(mapped: &mut Mapped, fact: &Fact) -> Result<(), String> {
    match fact {
        Fact::Person(human, standing) => {
            let rank = |standing: Standing| match standing {
                Standing::Active => 0,
                Standing::Suspended => 1,
                Standing::Deactivated => 2,
            };
            let said = mapped.people.entry(human.clone()).or_insert(*standing);
            if rank(*standing) > rank(*said) {
                *said = *standing;
            }
        }
        Fact::Assignment(assignment) => match mapped.assignments.get_mut(&assignment.human) {
            None => {
                mapped.assignments.insert(assignment.human.clone(), assignment.clone());
            }
            Some(said) if said.until == assignment.until => {
                said.roles.extend(assignment.roles.iter().cloned());
            }
            Some(_) => return Err(format!("`{}` has roles until two different moments", assignment.human)),
        },
        Fact::Resource(at, attributes) => match mapped.resources.get(at) {
            None => {
                mapped.resources.insert(at.clone(), attributes.clone());
            }
            Some(said) if said == attributes => {}
            Some(_) => return Err(format!("two rows say different things of `{at}`")),
        },
        Fact::Tuple(tuple) => {
            mapped.tuples.insert(tuple.clone());
        }
    }
    Ok(())
}

/// A key in a message.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(80).collect::<String>().escape_debug().to_string()
}

fn print(row: &ForeignRow) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update([u8::from(row.deleted), u8::from(row.document.is_some()), u8::from(row.tenant.is_some())]);
    hash.update(row.bytes.to_be_bytes());
    hash.update(row.tenant.as_deref().unwrap_or_default());
    hash.update([0]);
    hash.update(row.document.as_deref().unwrap_or_default());
    let mut print = [0; 16];
    for (to, from) in print.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    print
}
