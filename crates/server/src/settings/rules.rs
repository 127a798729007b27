//! What no single setting says: unsafe combinations, refused at the start.

use std::net::IpAddr;

use url::{Host, Url};

use super::{Environment, SecretSource, Settings, Transport, read::Reader};

pub(super) fn check(reader: &Reader<'_>, settings: &Settings) {
    let server = &settings.server;
    let dev = server.environment == Environment::Dev;
    plain_http(reader, settings, "server.public_url", &server.public_url, server.listen.ip());
    plain_http(reader, settings, "server.admin_url", &server.admin_url, server.admin_listen.ip());
    if server.listen == server.admin_listen && server.listen.port() != 0 {
        let line = reader.line_of("server.admin_listen").max(reader.line_of("server.listen"));
        reader.note(
            line,
            "agents and administrators can't share a listener",
            "give `server.admin_listen` another port",
        );
    }
    if !dev
        && let Some(SecretSource::File(path)) = &settings.vault.master_key
        && absolute(path).starts_with(absolute(&server.data))
    {
        reader.note(
            reader.line_of("vault.master_key"),
            "the vault's master key lies under the data directory: whoever gets a copy of the one gets both",
            "keep it elsewhere, or use `{ command = […] }`",
        );
    }
    for upstream in &settings.upstreams {
        let (Transport::Http { url, allow_private } | Transport::Rest { url, allow_private }) =
            &upstream.transport
        else {
            continue;
        };
        if url.scheme() == "http" && !is_loopback(url) && !(*allow_private && dev) {
            reader.note(
                upstream.line,
                format!("`{}` would be called by plain HTTP", upstream.name),
                "use `https`, or put `placet tool-proxy` beside it",
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            reader.note(
                upstream.line,
                format!("`{}` has a secret in its URL", upstream.name),
                "put it into the vault",
            );
        }
    }
    if let Some(url) = &settings.telemetry.otlp {
        let line = reader.line_of("telemetry.otlp");
        if url.scheme() == "http" && !is_loopback(url) && !(dev && settings.dev.plain_http) {
            let remedy = "use `https`, or a collector on loopback that passes them on";
            reader.note(line, "traces would be sent by plain HTTP", remedy);
        }
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = "give it to a collector on loopback that passes them on";
            reader.note(line, "`telemetry.otlp` has a secret in its URL", remedy);
        }
    }
    super::feeds::check(reader, settings);
    super::identity::check(reader, settings);
    if let (super::FeedsListener::Own(address), Some(url)) = (settings.feeds.listen, &settings.feeds.url) {
        plain_http(reader, settings, "feeds.url", url, address.ip());
    } else if let super::FeedsListener::Own(address) = settings.feeds.listen {
        plain_http(reader, settings, "feeds.listen", &format!("http://{address}"), address.ip());
    }
    opal(reader, settings);
    super::postgres::check(reader, settings);
    super::stream::check(reader, settings);
    for (i, upstream) in settings.upstreams.iter().enumerate() {
        if let Some(first) = settings.upstreams.iter().take(i).find(|other| other.name == upstream.name) {
            let message = format!("`{}` is an upstream already, in line {}", upstream.name, first.line);
            reader.note(upstream.line, message, "name it otherwise");
        }
    }
}

/// Tokens travel on these connections, and facts.
fn opal(reader: &Reader<'_>, settings: &Settings) {
    let allowed = settings.server.environment == Environment::Dev && settings.dev.plain_http;
    for (i, source) in settings.opal.iter().enumerate() {
        for url in std::iter::once(&source.url).chain(&source.fetch_from) {
            if url.scheme() == "http" && !is_loopback(url) && !allowed {
                let message = format!("`{}` would be fetched by plain HTTP", source.name);
                reader.note(source.line, message, "use `https`");
            }
        }
        if settings.opal.iter().take(i).any(|other| other.name == source.name) {
            let message = format!("`{}` is an OPAL source already", source.name);
            reader.note(source.line, message, "name it otherwise");
        }
    }
    if let Some(server) = &settings.opal_server {
        plain_http(reader, settings, "opal_server.url", &server.url, server.listen.ip());
        if [settings.server.listen, settings.server.admin_listen].contains(&server.listen)
            && server.listen.port() != 0
        {
            let line = reader.line_of("opal_server.listen");
            reader.note(
                line,
                "OPAL clients need a listener of their own",
                "give `opal_server.listen` another port",
            );
        }
    }
}

/// Plain HTTP is for loopback, and in dev for whoever says so. A listener on a public address behind something that
/// speaks TLS has an `https` URL.
fn plain_http(reader: &Reader<'_>, settings: &Settings, key: &str, url: &str, listen: IpAddr) {
    let allowed = settings.server.environment == Environment::Dev && settings.dev.plain_http;
    let Ok(url) = Url::parse(url) else { return };
    if url.scheme() == "https" || allowed || (is_loopback(&url) && listen.is_loopback()) {
        return;
    }
    let message = format!("`{key}` is plain HTTP on a public address");
    let listener = match key {
        "server.admin_url" => "server.admin_listen",
        "feeds.url" | "feeds.listen" => "feeds.listen",
        "opal_server.url" => "opal_server.listen",
        _ => "server.listen",
    };
    let line = match reader.line_of(key) {
        0 => reader.line_of(listener),
        line => line,
    };
    reader.note(
        line,
        message,
        format!("put TLS before it and give its `https` URL as `{key}`, or listen on loopback"),
    );
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// Without the file system's help where the path isn't there yet: `..` must not hide where it lies.
fn absolute(path: &std::path::Path) -> std::path::PathBuf {
    let real = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned());
    real.components().fold(std::path::PathBuf::new(), |mut path, part| {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::CurDir => {}
            std::path::Component::Prefix(_)
            | std::path::Component::RootDir
            | std::path::Component::Normal(_) => path.push(part),
        }
        path
    })
}
