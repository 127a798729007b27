//! `[[stream]]`: where records of the ledger are sent as events.

use std::{collections::BTreeSet, path::PathBuf};

use placet_core::{Name, TenantId};
use placet_record::Kind;
use url::Url;

use super::{Environment, SecretSource, Settings, read::Reader, read::Section, rules::is_loopback};

/// Streams at most.
const MAX_STREAMS: usize = 16;
/// The longest name.
const MAX_NAME: usize = 32;

/// A stream out of the ledger.
#[derive(Debug, Clone)]
pub struct StreamAt {
    /// `name`.
    pub name: Name,
    /// Where to, by `kind`.
    pub to: StreamTo,
    /// `from`: whether a stream that is new begins with the first record, or with the next one.
    pub from_start: bool,
    /// `tenant`: only this tenant's records.
    pub tenant: Option<TenantId>,
    /// `records`: only these kinds; empty: all.
    pub kinds: BTreeSet<u8>,
    /// `batch`: records of one batch at most.
    pub batch: usize,
    /// `timeout_ms`: how long the consumer may take to acknowledge a batch.
    pub timeout_ms: u64,
    /// The line of its section.
    pub line: usize,
}

/// What kind of consumer there is.
#[derive(Debug, Clone)]
pub enum StreamTo {
    /// `file`: a line of JSON each, added to `path`.
    File {
        /// `path`.
        path: PathBuf,
    },
    /// `http`: batches by POST.
    Http {
        /// Where to, and with what.
        at: StreamHttp,
        /// `format`: a JSON array instead of a line each.
        array: bool,
    },
    /// `syslog`: RFC 5424 over TCP, counted octets (RFC 6587).
    Syslog {
        /// `host`.
        host: String,
        /// `port`.
        port: u16,
        /// `tls`: RFC 5425.
        tls: bool,
        /// `ca`: certificates that the consumer's must be signed by, instead of the system's.
        ca: Option<PathBuf>,
        /// `settle_ms`: how long a connection must live on for what was written to it to count as taken.
        settle_ms: u64,
    },
    /// `otlp`: log records of OpenTelemetry, by POST in JSON.
    Otlp {
        /// Where to, and with what.
        at: StreamHttp,
    },
}

impl StreamTo {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Http { .. } => "http",
            Self::Syslog { .. } => "syslog",
            Self::Otlp { .. } => "otlp",
        }
    }
}

/// An address that is posted to.
#[derive(Debug, Clone)]
pub struct StreamHttp {
    /// `url`.
    pub url: Url,
    /// `token`, or the vault's.
    pub token: StreamToken,
    /// `header` and `prefix`: how the token is shown.
    pub header: String,
    /// What stands before the token.
    pub prefix: String,
    /// `allow_private`: whether the address may be a private one.
    pub allow_private: bool,
}

/// Where the consumer's token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamToken {
    /// There is none.
    None,
    /// `token`: read once, at the start.
    Source(SecretSource),
    /// `vault`: the organisation's secret of this name, read for each batch.
    Vault(Name),
}

pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Vec<StreamAt>> {
    let read: Vec<_> = root.sections("stream").into_iter().map(one).collect();
    read.into_iter().collect()
}

fn one(mut section: Section<'_, '_>) -> Option<StreamAt> {
    let line = section.line();
    let name = section.required(
        "name",
        |text| {
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            Name::new(text).ok().filter(|_| plain && text.len() <= MAX_NAME)
        },
        "write a name of `A-Z a-z 0-9 _ -`, at most 32 characters",
    );
    let kind = section.required(
        "kind",
        |text| matches!(text, "file" | "http" | "syslog" | "otlp").then(|| text.to_owned()),
        "write `file`, `http`, `syslog` or `otlp`",
    );
    let from_start = section.word(
        "from",
        "now",
        |text| match text {
            "now" => Some(false),
            "start" => Some(true),
            _ => None,
        },
        "write `now` or `start`",
    );
    let tenant = section.optional_word("tenant", |text| TenantId::new(text).ok(), "name the tenant");
    let kinds = section.optional_texts("records");
    let batch = section.number("batch", 200, 1..=1000);
    let timeout_ms = section.number("timeout_ms", 10_000, 100..=300_000);
    let to = match kind.as_deref() {
        None => None,
        Some("file") => file(&mut section),
        Some("http") => web(&mut section, true),
        Some("otlp") => web(&mut section, false),
        Some(_) => syslog(&mut section),
    };
    // What another kind has is told as unknown, once the kind is.
    if kind.is_some() {
        section.finish();
    }
    let kinds: Option<BTreeSet<u8>> = kinds?
        .unwrap_or_default()
        .iter()
        .map(|text| Kind::ALL.iter().find(|kind| kind.as_str() == text).map(|kind| kind.tag()))
        .collect();
    if kinds.is_none() {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        section.problem(
            "records",
            "`records` names a kind that isn't",
            &format!("write some of: {}", known.join(", ")),
        );
    }
    Some(StreamAt {
        name: name?,
        to: to?,
        from_start: from_start?,
        tenant: tenant?,
        kinds: kinds?,
        batch: usize::try_from(batch?).ok()?,
        timeout_ms: timeout_ms?,
        line,
    })
}

fn file(section: &mut Section<'_, '_>) -> Option<StreamTo> {
    let path = section.optional_path("path")?;
    if path.is_none() {
        section.missing("path", "say which file, as in `path = \"events.ocsf.jsonl\"`");
    }
    Some(StreamTo::File { path: path? })
}

fn web(section: &mut Section<'_, '_>, formats: bool) -> Option<StreamTo> {
    let url = section.required(
        "url",
        |text| {
            Url::parse(text).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.fragment().is_none()
            })
        },
        "write its address without a secret in it, as in `https://siem.example/in`",
    );
    let (token, vault) = (
        section.optional_secret("token"),
        section.optional_word("vault", |text| Name::new(text).ok(), "write a secret's name"),
    );
    let header = section.word(
        "header",
        "authorization",
        |text| http::HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.to_string()),
        "write a header's name",
    );
    let prefix = section.word("prefix", "Bearer ", |text| Some(text.to_owned()), "write a text");
    let allow_private = section.boolean("allow_private", false);
    let array = if formats {
        section.word(
            "format",
            "lines",
            |text| match text {
                "lines" => Some(false),
                "array" => Some(true),
                _ => None,
            },
            "write `lines` or `array`",
        )
    } else {
        Some(false)
    };
    let token = match (token?, vault?) {
        (None, None) => StreamToken::None,
        (Some(source), None) => StreamToken::Source(source),
        (None, Some(name)) => StreamToken::Vault(name),
        (Some(_), Some(_)) => {
            section.problem("vault", "`token` and `vault` can't both be given", "remove one of them");
            return None;
        }
    };
    let at = StreamHttp { url: url?, token, header: header?, prefix: prefix?, allow_private: allow_private? };
    Some(if formats { StreamTo::Http { at, array: array? } } else { StreamTo::Otlp { at } })
}

fn syslog(section: &mut Section<'_, '_>) -> Option<StreamTo> {
    let address = section.required(
        "address",
        |text| {
            let (host, port) = text.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            (!host.is_empty()).then(|| (host.to_owned(), port))
        },
        "write host and port, as in `siem.example:6514`",
    );
    let tls = section.boolean("tls", true);
    let ca = section.optional_path("ca");
    let settle_ms = section.number("settle_ms", 5_000, 100..=600_000);
    let (host, port) = address?;
    Some(StreamTo::Syslog { host, port, tls: tls?, ca: ca?, settle_ms: settle_ms? })
}

/// Two of one name, and consumers that would be told in the open.
pub(super) fn check(reader: &Reader<'_>, settings: &Settings) {
    let open = settings.server.environment == Environment::Dev && settings.dev.plain_http;
    if settings.streams.len() > MAX_STREAMS {
        reader.note(0, "there are too many streams", "name at most 16");
    }
    for (i, stream) in settings.streams.iter().enumerate() {
        if settings.streams.iter().take(i).any(|other| other.name == stream.name) {
            let message = format!("`{}` is a stream already", stream.name);
            reader.note(stream.line, message, "name it otherwise");
        }
        let bare = match &stream.to {
            StreamTo::File { .. } => false,
            StreamTo::Http { at, .. } | StreamTo::Otlp { at } => {
                at.url.scheme() == "http" && !is_loopback(&at.url)
            }
            StreamTo::Syslog { host, tls, .. } => {
                let here = host.eq_ignore_ascii_case("localhost")
                    || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
                !*tls && !here
            }
        };
        if bare && !open {
            let message = format!("`{}` would be sent in the open", stream.name);
            reader.note(stream.line, message, "use TLS, or a collector on loopback that passes it on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn problems(text: &str) -> String {
        match Settings::parse(Path::new("/x/placet.toml"), text, &|_| None) {
            Ok(_) => String::new(),
            Err(problems) => problems.to_string(),
        }
    }

    #[test]
    fn each_kind_has_its_own_keys() {
        let fine = "[[stream]]\nname = \"a\"\nkind = \"file\"\npath = \"x\"\n[[stream]]\nname = \"b\"\nkind = \"http\"\nurl = \"https://siem.example/in\"\nvault = \"siem\"\nrecords = [\"decision\", \"effect\"]\n[[stream]]\nname = \"c\"\nkind = \"syslog\"\naddress = \"siem.example:6514\"\n[[stream]]\nname = \"d\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:4318\"\n";
        assert_eq!(problems(fine), "");
        for (text, wrong) in [
            ("kind = \"file\"", "`stream[0].path`"),
            ("kind = \"file\"\npath = \"x\"\nurl = \"https://a.example\"", "url"),
            ("kind = \"kafka\"", "kind"),
            ("kind = \"http\"\nurl = \"http://siem.example/\"", "in the open"),
            ("kind = \"http\"\nurl = \"https://u:p@siem.example/\"", "url"),
            ("kind = \"http\"\nurl = \"https://a.example\"\nvault = \"x\"\ntoken = { env = \"X\" }", ""),
            ("kind = \"syslog\"\naddress = \"siem.example\"", "address"),
            ("kind = \"syslog\"\naddress = \"siem.example:601\"\ntls = false", "in the open"),
            ("kind = \"file\"\npath = \"x\"\nrecords = [\"decisions\"]", "records"),
        ] {
            let said = problems(&format!("[[stream]]\nname = \"a\"\n{text}\n"));
            assert!(!said.is_empty() && said.contains(wrong), "{text}: {said}");
        }
        let twice = "[[stream]]\nname = \"a\"\nkind = \"file\"\npath = \"x\"\n".repeat(2);
        assert!(problems(&twice).contains("a stream already"));
    }
}
