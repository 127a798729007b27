//! `[feeds]`, `[[scim]]`, `[ssf]`: whom the server believes about people, and whom it tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use placet_core::{Digest, Name, ResourceRef, TenantId};
use placet_facts::{Ending, parse_tuple};
use placet_feeds::{
    Feed, GroupRule, HumanIdFrom,
    ssf::{Effect, Known},
};
use url::Url;

use super::{
    SecretSource, Settings, origin,
    read::{Reader, Section},
};

/// `[feeds]`, `[[scim]]`, `[ssf]`.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// `feeds.listen`: where feeds are served.
    pub listen: FeedsListener,
    /// `feeds.url`: that listener as feeds call it, if it is none of the other two.
    pub url: Option<String>,
    /// `[[scim]]`: providers that write people and groups.
    pub scim: Vec<ScimFeed>,
    /// `[[ssf.transmitter]]`: providers whose signals are taken.
    pub transmitters: Vec<Transmitter>,
    /// `[[ssf.receiver]]`: those who are told what we revoke.
    pub receivers: Vec<Receiver>,
}

/// Where feeds are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedsListener {
    /// On the administrators' listener.
    Admin,
    /// On the agents' listener.
    Agents,
    /// On one of their own.
    Own(SocketAddr),
}

/// How a bearer is known.
#[derive(Debug, Clone)]
pub enum Witness {
    /// `token_hash`: the SHA-256 of the token, as `placet scim token` prints it.
    Hash(Digest),
    /// `token`: where the token lies; its hash is kept.
    Secret(SecretSource),
}

/// A provider that writes people and groups by SCIM.
#[derive(Debug, Clone)]
pub struct ScimFeed {
    /// What it may do.
    pub feed: Feed,
    /// How it is known.
    pub token: Witness,
}

/// Where a transmitter's public keys come from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// `jwks`: a file.
    File(PathBuf),
    /// `jwks_url`: fetched, and fetched again where a key is unknown.
    Url(Url),
}

/// A provider whose signals are taken.
#[derive(Debug, Clone)]
pub struct Transmitter {
    /// `name`.
    pub name: Name,
    /// `issuer`.
    pub issuer: String,
    /// `audience`: by default the address that it pushes to.
    pub audience: Option<String>,
    /// `subject_issuer`: by default the issuer.
    pub subject_issuer: Option<String>,
    /// `tenant`.
    pub tenant: Option<TenantId>,
    /// `scim`: the feed whose names for people it uses.
    pub scim: Option<Name>,
    /// Its public keys.
    pub keys: Keys,
    /// `allow_private`: whether its addresses may be private ones.
    pub allow_private: bool,
    /// `push_token`, `push_token_hash`: how it is known when it pushes. Without one it can't push.
    pub push: Option<Witness>,
    /// `poll_url`, with `poll_token` and `poll_ms`: where its events are fetched.
    pub poll: Option<(Delivery, u64)>,
    /// `verify_url`, with `verify_token`, `stream_id` and `verify_s`: how the stream is asked whether it lives.
    pub verify: Option<Verify>,
    /// `silence_s`: after how many seconds without a sign of life its facts are stale, if it is polled or verified; 0 for
    /// never.
    pub silence_s: u64,
    /// `effects`.
    pub effects: BTreeMap<Known, Effect>,
}

/// An address of others, with the token for it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where.
    pub url: Url,
    /// The bearer token for it.
    pub token: Option<SecretSource>,
}

/// How a stream is asked whether it lives.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The transmitter's verification endpoint.
    pub at: Delivery,
    /// The stream there.
    pub stream: String,
    /// How often, in seconds.
    pub every_s: u64,
}

/// Somebody who is told what we revoke.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// `name`: the stream's id as well.
    pub name: Name,
    /// `audience`.
    pub audience: String,
    /// `tenant`.
    pub tenant: Option<TenantId>,
    /// How it is known when it asks.
    pub token: Witness,
    /// `push_url`, with `push_token`: where events are sent; without one they are fetched.
    pub push: Option<Delivery>,
    /// `allow_private`: whether that address may be a private one.
    pub allow_private: bool,
}

/// `None` where a problem was noted.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Feeds> {
    let mut feeds = root.section("feeds");
    let listen = feeds.word(
        "listen",
        "admin",
        |text| match text {
            "admin" => Some(FeedsListener::Admin),
            "agents" => Some(FeedsListener::Agents),
            address => address.parse().ok().map(FeedsListener::Own),
        },
        "write `admin`, `agents`, or address and port, as in `127.0.0.1:8719`",
    );
    let url = feeds.optional_word(
        "url",
        origin,
        "write scheme and host, as in `https://id.example`, without a path",
    );
    feeds.finish();
    let scim: Vec<_> = root.sections("scim").into_iter().map(scim).collect();
    let mut ssf = root.section("ssf");
    let transmitters: Vec<_> = ssf.sections("transmitter").into_iter().map(transmitter).collect();
    let receivers: Vec<_> = ssf.sections("receiver").into_iter().map(receiver).collect();
    ssf.finish();
    Some(Feeds {
        listen: listen?,
        url: url?,
        scim: scim.into_iter().collect::<Option<_>>()?,
        transmitters: transmitters.into_iter().collect::<Option<_>>()?,
        receivers: receivers.into_iter().collect::<Option<_>>()?,
    })
}

/// What no single feed says.
pub(super) fn check(reader: &Reader<'_>, settings: &Settings) {
    let feeds = &settings.feeds;
    let names = feeds.scim.iter().map(|one| &one.feed.name);
    let names = names.chain(feeds.transmitters.iter().map(|one| &one.name));
    let mut known = BTreeSet::new();
    for name in names.chain(feeds.receivers.iter().map(|one| &one.name)) {
        if !known.insert(name) {
            reader.note(0, format!("`{name}` is a feed already"), "name it otherwise");
        }
    }
    for one in &feeds.transmitters {
        if let Some(scim) =
            one.scim.as_ref().filter(|scim| feeds.scim.iter().all(|feed| feed.feed.name != **scim))
        {
            let message = format!(
                "`ssf.transmitter` {} takes its names from `{scim}`, which is no `[[scim]]` feed",
                one.name
            );
            reader.note(0, message, "name one, or remove `scim`");
        }
        if let (Some(tenant), Some(scim)) = (&one.tenant, &one.scim)
            && feeds.scim.iter().any(|feed| feed.feed.name == *scim && feed.feed.home != *tenant)
        {
            let message = format!(
                "`ssf.transmitter` {} speaks for `{tenant}`, and its feed `{scim}` for others",
                one.name
            );
            reader.note(0, message, "tie both to the same tenant");
        }
    }
}

fn scim(mut section: Section<'_, '_>) -> Option<ScimFeed> {
    let name = section.required("name", name, NAME);
    let tenant = section.optional_word("tenant", tenant, TENANT);
    let home = section.optional_word("home", self::tenant, TENANT);
    let token = witness(&mut section, "token", "token_hash");
    let human_id = section.word(
        "human_id",
        "user_name",
        |text| match text {
            "user_name" => Some(HumanIdFrom::UserName),
            "external_id" => Some(HumanIdFrom::ExternalId),
            "id" => Some(HumanIdFrom::Id),
            _ => None,
        },
        "write `user_name`, `external_id` or `id`",
    );
    let (tenant, home) = (tenant?, home?);
    let groups: Vec<_> =
        section.sections("group").into_iter().map(|group| rule(group, tenant.as_ref())).collect();
    section.finish();
    let home = match (&tenant, home) {
        (Some(tenant), None) => tenant.clone(),
        (Some(tenant), Some(home)) if *tenant == home => home,
        (Some(_), Some(_)) => {
            section.problem("home", "a tenant's feed brings that tenant's people", "remove `home`");
            return None;
        }
        (None, Some(home)) => home,
        (None, None) => {
            section.missing("home", "say to which tenant its people belong, or tie it to a `tenant`");
            return None;
        }
    };
    let Some(token) = token? else {
        section.missing("token_hash", "make a token with `placet scim token`");
        return None;
    };
    let groups = groups.into_iter().collect::<Option<_>>()?;
    Some(ScimFeed { feed: Feed { name: name?, tenant, home, human_id: human_id?, groups }, token })
}

fn rule(mut section: Section<'_, '_>, of: Option<&TenantId>) -> Option<GroupRule> {
    let name = section.required(
        "name",
        |text| if text.is_empty() { None } else { Some(text.to_owned()) },
        "write the group's display name",
    );
    let tenant = section.optional_word("tenant", tenant, TENANT);
    let role = section.optional_word("role", |text| Name::new(text).ok(), "write the name of a role");
    let tuple = section.optional_word(
        "relation",
        relation,
        "write an object and a relation, as in `team:support#member`",
    );
    section.finish();
    let tenant = match (tenant?, of) {
        (None, Some(of)) => of.clone(),
        (Some(tenant), None) => tenant,
        (Some(tenant), Some(of)) if tenant == *of => tenant,
        (Some(_), Some(_)) => {
            section.problem("tenant", "a tenant's feed gives roles there only", "remove `tenant`");
            return None;
        }
        (None, None) => {
            section.missing("tenant", "say in which tenant the group counts");
            return None;
        }
    };
    let (role, tuple) = (role?, tuple?);
    if role.is_none() && tuple.is_none() {
        section.missing("role", "say what the group gives: `role` or `relation`");
        return None;
    }
    Some(GroupRule { name: name?, tenant, role, tuple })
}

/// `team:support#member`, read as a tuple is.
fn relation(text: &str) -> Option<(ResourceRef, Name)> {
    let tuple = parse_tuple(&format!("{text}@user:somebody")).ok()?;
    Some((tuple.object, tuple.relation))
}

fn transmitter(mut section: Section<'_, '_>) -> Option<Transmitter> {
    let some = |text: &str| if text.is_empty() || text.len() > 512 { None } else { Some(text.to_owned()) };
    let name = section.required("name", name, NAME);
    let issuer = section.required("issuer", some, "write the `iss` of its events");
    let audience = section.optional_word("audience", some, "write the `aud` of its events");
    let subject_issuer = section.optional_word("subject_issuer", some, "write the `iss` of its subjects");
    let tenant = section.optional_word("tenant", tenant, TENANT);
    let scim = section.optional_word("scim", self::name, NAME);
    let (file, url) = (section.optional_path("jwks"), section.optional_word("jwks_url", web, WEB));
    let allow_private = section.boolean("allow_private", false);
    let push = witness(&mut section, "push_token", "push_token_hash");
    let poll = delivery(&mut section, "poll_url", "poll_token");
    let poll_ms = section.number("poll_ms", 1000, 100..=3_600_000);
    let verify = delivery(&mut section, "verify_url", "verify_token");
    let stream = section.optional_word("stream_id", some, "write the stream's id at the transmitter");
    let every_s = section.number("verify_s", 300, 10..=86_400);
    let silence_s = section.number("silence_s", 900, 0..=604_800);
    let effects = effects(&mut section);
    section.finish();
    let keys = match (file?, url?) {
        (Some(file), None) => Keys::File(file),
        (None, Some(url)) => Keys::Url(url),
        (Some(_), Some(_)) => {
            section.problem("jwks_url", "`jwks` and `jwks_url` can't both be given", "remove one of them");
            return None;
        }
        (None, None) => {
            section.missing("jwks", "say where its public keys are: `jwks` or `jwks_url`");
            return None;
        }
    };
    let (push, poll) = (push?, poll?);
    if push.is_none() && poll.is_none() {
        section.missing("push_token_hash", "say how its events come: `push_token_hash` or `poll_url`");
        return None;
    }
    let verify = match (verify?, stream?) {
        (None, _) => None,
        (Some(at), Some(stream)) => Some(Verify { at, stream, every_s: every_s? }),
        (Some(_), None) => {
            section.missing("stream_id", "say which stream is to be verified");
            return None;
        }
    };
    Some(Transmitter {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        subject_issuer: subject_issuer?,
        tenant: tenant?,
        scim: scim?,
        keys,
        allow_private: allow_private?,
        push,
        poll: match poll {
            None => None,
            Some(poll) => Some((poll, poll_ms?)),
        },
        verify,
        silence_s: silence_s?,
        effects: effects?,
    })
}

fn effects(section: &mut Section<'_, '_>) -> Option<BTreeMap<Known, Effect>> {
    let texts = section.plain("effects")?;
    let mut effects = BTreeMap::new();
    for (name, text) in &texts {
        let effect = match text.as_str() {
            "note" => Some(Effect::Note),
            "sessions" => Some(Effect::End(Ending::Sessions)),
            "suspended" => Some(Effect::End(Ending::Suspended)),
            "deactivated" => Some(Effect::End(Ending::Deactivated)),
            _ => None,
        };
        let (Some(known), Some(effect)) = (Known::named(name), effect) else {
            section.problem(
                "effects",
                &format!("`{name} = {text:?}` is no effect"),
                "write the last word of an event type, and `note`, `sessions`, `suspended` or `deactivated`",
            );
            return None;
        };
        effects.insert(known, effect);
    }
    Some(effects)
}

fn receiver(mut section: Section<'_, '_>) -> Option<Receiver> {
    let name = section.required("name", name, NAME);
    let audience = section.required(
        "audience",
        |text| if text.is_empty() || text.len() > 512 { None } else { Some(text.to_owned()) },
        "write the `aud` of its events",
    );
    let tenant = section.optional_word("tenant", tenant, TENANT);
    let token = witness(&mut section, "token", "token_hash");
    let push = delivery(&mut section, "push_url", "push_token");
    let allow_private = section.boolean("allow_private", false);
    section.finish();
    let Some(token) = token? else {
        section.missing("token_hash", "make a token with `placet scim token`");
        return None;
    };
    Some(Receiver {
        name: name?,
        audience: audience?,
        tenant: tenant?,
        token,
        push: push?,
        allow_private: allow_private?,
    })
}

#[expect(
    clippy::option_option,
    reason = "the outer one is a problem that was noted, the inner one a key that isn't there"
)]
fn witness(section: &mut Section<'_, '_>, token: &str, hash: &str) -> Option<Option<Witness>> {
    let secret = section.optional_secret(token);
    let digest = section.optional_word(
        hash,
        Digest::parse,
        "write `sha256:` and 64 lower-case hex digits, as `placet scim token` prints them",
    );
    match (secret?, digest?) {
        (None, None) => Some(None),
        (Some(secret), None) => Some(Some(Witness::Secret(secret))),
        (None, Some(digest)) => Some(Some(Witness::Hash(digest))),
        (Some(_), Some(_)) => {
            section.problem(
                hash,
                &format!("`{token}` and `{hash}` can't both be given"),
                "remove one of them",
            );
            None
        }
    }
}

#[expect(
    clippy::option_option,
    reason = "the outer one is a problem that was noted, the inner one a key that isn't there"
)]
fn delivery(section: &mut Section<'_, '_>, url: &str, token: &str) -> Option<Option<Delivery>> {
    let secret = section.optional_secret(token);
    let url = section.optional_word(url, web, WEB);
    match (url?, secret?) {
        (Some(url), token) => Some(Some(Delivery { url, token })),
        (None, None) => Some(None),
        (None, Some(_)) => {
            section.problem(token, "there is no URL for this token", "remove it");
            None
        }
    }
}

const NAME: &str = "write a name of `a-z 0-9 -`, at most 32 characters";
const TENANT: &str = "write a tenant's id";
const WEB: &str = "write the URL, as in `https://id.example/keys`";

fn name(text: &str) -> Option<Name> {
    let plain =
        text.len() <= 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain { Name::new(text).ok() } else { None }
}

fn tenant(text: &str) -> Option<TenantId> {
    TenantId::new(text).ok()
}

fn web(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    })
}
