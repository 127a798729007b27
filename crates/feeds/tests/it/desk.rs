//! A world with two tenants, and a feed's requests to it.

use placet_core::{HumanId, Name, Standing, TenantId, Timestamp};
use placet_facts::{Transaction, World};
use placet_feeds::{
    Feed, GroupRule, HumanIdFrom,
    scim::{Reply, Request, Scim, align},
};
use placet_json::{Limits, Value, parse};

pub(crate) const BASE: &str = "https://id.example/scim/v2";

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}
pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::RESULT).unwrap_or_else(|error| panic!("{error}: {text}"))
}
pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

/// The feed of acme's own provider.
pub(crate) fn feed(id: &str, home: &str) -> Feed {
    Feed {
        name: name(id),
        tenant: Some(tenant(home)),
        home: tenant(home),
        human_id: HumanIdFrom::UserName,
        groups: vec![GroupRule {
            name: "Support".into(),
            tenant: tenant(home),
            role: Some(name("support")),
            tuple: None,
        }],
    }
}

/// Facts, moved by requests as a server would.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) feed: Feed,
    made: u64,
    /// The transactions of the last request.
    pub(crate) last: Vec<Transaction>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let facts =
            r#"{"tenants":["acme","globex"],"humans":[{"id":"lena","standing":"active","home":"globex"}]}"#;
        Self {
            world: World::from_file(&json(facts)).unwrap(),
            feed: feed("okta", "acme"),
            made: 0,
            last: Vec::new(),
        }
    }
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::parse("2026-03-01T09:00:00Z").unwrap().plus_millis(self.world.revision().0 * 1000)
    }
    pub(crate) fn apply(&mut self, transaction: Transaction) {
        self.world = self.world.apply(self.world.revision().0 + 1, &transaction).unwrap();
        self.last.push(transaction);
    }
    pub(crate) fn facts(&mut self, text: &str) {
        for transaction in placet_facts::parse_file(&json(text)).unwrap() {
            self.apply(transaction);
        }
    }
    /// A request, its changes, and the roles that follow.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &str, if_match: Option<&str>) -> Reply {
        self.last.clear();
        self.made += 1;
        let fresh = name(&format!("r{}", self.made));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method, path, query, if_match, if_none_match: None, body: body.as_bytes() };
        let scim = Scim { base: BASE, feed: &self.feed, world: &self.world, now: self.now(), fresh: &fresh };
        let outcome = match scim.answer(&request) {
            Ok(outcome) => outcome,
            Err(error) => {
                return Reply {
                    status: error.status,
                    location: None,
                    etag: None,
                    body: Some(error.document()),
                };
            }
        };
        if let Some(transaction) = outcome.transaction {
            let read = Transaction::from_value(&transaction.to_value()).unwrap();
            assert_eq!(read, transaction, "a journal reads back what it was given");
            self.apply(transaction);
        }
        for transaction in align(&self.world, &self.feed, &outcome.affected, self.now()) {
            self.apply(transaction);
        }
        let affected = outcome.affected;
        assert!(
            align(&self.world, &self.feed, &affected, self.now()).is_empty(),
            "doing it again changes nothing"
        );
        outcome.reply
    }
    pub(crate) fn standing(&self, human: &str) -> Standing {
        self.world.organisation().human(&HumanId::new(human).unwrap()).unwrap().standing
    }
    pub(crate) fn roles(&self, human: &str) -> Vec<String> {
        let facts = self.world.tenant(&tenant("acme")).unwrap();
        let roles = facts.assignment(&HumanId::new(human).unwrap());
        roles.into_iter().flat_map(|assignment| &assignment.roles).map(ToString::to_string).collect()
    }
}
