//! Which addresses may be connected to. Names are resolved once and the addresses that were checked are those that are
//! connected to, so a name that changes its mind in between gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use url::{Host, Url};

/// Addresses that a name may have; more is no tool.
const MAX_ADDRESSES: usize = 16;

/// Addresses at which clouds hand out credentials, beside those of the link-local ranges: Azure, Alibaba, and AWS over
/// IPv6.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What an upstream's address may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// Public addresses only, by TLS only.
    Public,
    /// Also loopback and private networks, there without TLS as well. Link-local and metadata addresses still not.
    Private,
}

/// Why an address isn't connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// Never, by no setting.
    #[error("`{0}` is a link-local, metadata, multicast or reserved address")]
    Never(IpAddr),
    /// Only where the settings allow private addresses.
    #[error("`{0}` is a private address, and this upstream doesn't allow them")]
    Private(IpAddr),
    /// Plain HTTP would carry the credential readably over a public network.
    #[error("plain HTTP to the public address `{0}`")]
    Plain(IpAddr),
    /// The URL is no address of a tool.
    #[error("{0}")]
    Url(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Never,
}

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// Every address of `host`.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// Addresses on their way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The operating system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((host, port)).await?.take(MAX_ADDRESSES).collect()) },
        )
    }
}

/// Whether `url` can be an upstream's address at all; literal addresses are checked here already.
pub(crate) fn check_url(url: &Url, egress: Egress) -> Result<(), Forbidden> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Forbidden::Url("an upstream's URL is `https:` or `http:`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Url("an upstream's URL holds no user or password"));
    }
    if url.fragment().is_some() {
        return Err(Forbidden::Url("an upstream's URL has no fragment"));
    }
    if egress == Egress::Public && url.scheme() == "http" {
        return Err(Forbidden::Url(
            "plain HTTP needs an upstream on a private network that the settings allow",
        ));
    }
    match url.host() {
        None => Err(Forbidden::Url("an upstream's URL names a host")),
        Some(Host::Domain(_)) => Ok(()),
        Some(Host::Ipv4(address)) => check(address.into(), egress, url.scheme()),
        Some(Host::Ipv6(address)) => check(address.into(), egress, url.scheme()),
    }
}

/// The addresses to connect to. One forbidden address among them refuses them all: a name that mixes them is an attack.
pub(crate) async fn addresses(
    url: &Url,
    egress: Egress,
    resolver: &dyn Resolve,
) -> Result<Vec<SocketAddr>, Unreachable> {
    check_url(url, egress)?;
    let port = url.port_or_known_default().ok_or(Forbidden::Url("an upstream's URL has no port"))?;
    let found = match url.host() {
        None => return Err(Forbidden::Url("an upstream's URL names a host").into()),
        Some(Host::Ipv4(address)) => vec![SocketAddr::new(address.into(), port)],
        Some(Host::Ipv6(address)) => vec![SocketAddr::new(address.into(), port)],
        Some(Host::Domain(name)) => resolver.resolve(name, port).await?,
    };
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into());
    }
    for address in &found {
        check(address.ip(), egress, url.scheme())?;
    }
    Ok(found.into_iter().take(MAX_ADDRESSES).map(|found| SocketAddr::new(found.ip(), port)).collect())
}

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn check(address: IpAddr, egress: Egress, scheme: &str) -> Result<(), Forbidden> {
    match (reach(address), egress) {
        (Reach::Never, _) => Err(Forbidden::Never(address)),
        (Reach::Private, Egress::Public) => Err(Forbidden::Private(address)),
        (Reach::Public, _) if scheme != "https" => Err(Forbidden::Plain(address)),
        (Reach::Public, _) | (Reach::Private, Egress::Private) => Ok(()),
    }
}

fn reach(address: IpAddr) -> Reach {
    if METADATA.contains(&address) {
        return Reach::Never;
    }
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

/// The special-purpose registry (RFC 6890).
fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0 | 224..=255, ..) | (169, 254, _) => Reach::Never,
        // Loopback and private networks; carrier-grade NAT, protocol assignments, documentation, benchmarks and 6to4
        // relays are not the public Internet either.
        (10 | 127, ..)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (100, 64..=127, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address == Ipv6Addr::LOCALHOST {
        return Reach::Private;
    }
    let segments = address.segments();
    match segments {
        // Mapped, compatible (with `::`), translated (RFC 6052) and 6to4 (RFC 3056): what the IPv4 inside is.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => reach(embedded(high, low).into()),
        // Teredo hides where it leads to; local-use translation falls under the last rule.
        [0x2001, 0, ..] => Reach::Never,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Reach::Private
        }
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn ups_1_every_spelling_of_a_forbidden_address_is_refused() {
        for text in [
            "https://169.254.169.254/latest",
            "https://[::ffff:169.254.169.254]/",
            "https://[::169.254.169.254]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:a9fe:a9fe::1]/",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://0251.0376.0251.0376/",
            "https://169.254.43518/",
            "https://0/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://[fe80::1]/",
            "https://[ff02::1]/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://168.63.129.16/",
            "https://[2001:0:1::1]/",
        ] {
            let url = Url::parse(text).unwrap();
            for egress in [Egress::Public, Egress::Private] {
                assert!(matches!(check_url(&url, egress), Err(Forbidden::Never(_))), "{text} {egress:?}");
            }
        }
    }

    #[test]
    fn ups_1_private_addresses_need_the_setting() {
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://10.1.2.3/",
            "https://172.31.255.255/",
            "https://192.168.0.1/",
            "https://100.64.0.1/",
            "https://[fd12::1]/",
            "https://[64:ff9b::10.0.0.1]/",
        ] {
            let url = Url::parse(text).unwrap();
            assert!(matches!(check_url(&url, Egress::Public), Err(Forbidden::Private(_))), "{text}");
            assert_eq!(check_url(&url, Egress::Private), Ok(()), "{text}");
        }
        for text in ["https://172.32.0.1/", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(check_url(&Url::parse(text).unwrap(), Egress::Public), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_credential_never_travels_readably_over_a_public_network() {
        let check = |text: &str, egress| check_url(&Url::parse(text).unwrap(), egress);
        assert!(matches!(check("http://8.8.8.8/", Egress::Private), Err(Forbidden::Plain(_))));
        assert!(matches!(check("http://tool.example/", Egress::Public), Err(Forbidden::Url(_))));
        assert_eq!(check("http://127.0.0.1:8080/mcp", Egress::Private), Ok(()));
        for text in [
            "ftp://tool.example/",
            "https://u:p@tool.example/",
            "https://u@tool.example/",
            "https://tool.example/#x",
        ] {
            assert!(matches!(check(text, Egress::Private), Err(Forbidden::Url(_))), "{text}");
        }
    }

    struct Flips(AtomicUsize);

    impl Resolve for Flips {
        fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
            let text =
                if self.0.fetch_add(1, Ordering::Relaxed) == 0 { "93.184.216.34" } else { "169.254.169.254" };
            Box::pin(async move { Ok(vec![SocketAddr::new(text.parse().unwrap(), port)]) })
        }
    }

    struct Mixed;

    impl Resolve for Mixed {
        fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
            let all =
                ["93.184.216.34", "169.254.169.254"].map(|text| SocketAddr::new(text.parse().unwrap(), port));
            Box::pin(async move { Ok(all.to_vec()) })
        }
    }

    #[tokio::test]
    async fn ups_1_a_name_is_looked_up_once_and_what_was_checked_is_what_is_used() {
        let url = Url::parse("https://tool.example:8443/mcp").unwrap();
        let flips = Flips(AtomicUsize::new(0));
        let found = addresses(&url, Egress::Public, &flips).await.unwrap();
        assert_eq!(found, ["93.184.216.34:8443".parse().unwrap()]);
        assert_eq!(flips.0.load(Ordering::Relaxed), 1);
        // The next connection looks again, and is refused.
        let refused = addresses(&url, Egress::Private, &flips).await.unwrap_err();
        assert!(matches!(refused, Unreachable::Forbidden(Forbidden::Never(_))), "{refused}");
        assert!(addresses(&url, Egress::Public, &Mixed).await.is_err());
    }
}
