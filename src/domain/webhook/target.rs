//! Which URLs and addresses events may be sent to (S23, S31).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Longest URL, in characters.
pub const MAX_URL_CHARS: usize = 2_048;

/// Why a URL is not an allowed target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not a valid URL.
    #[error("is not a URL")]
    NotAUrl,
    /// Its scheme is not allowed.
    #[error("must begin with https://")]
    Scheme,
    /// It contains a user name or password.
    #[error("must not contain a user name or password")]
    Credentials,
    /// It contains a fragment, which is never sent.
    #[error("must not contain a fragment")]
    Fragment,
    /// Its host is an address in a non-canonical spelling, or ends with a dot.
    #[error("must write its host in canonical form")]
    Spelling,
    /// Its host is this machine or a private network.
    #[error("must point to a public address")]
    Private,
}

/// Which addresses a target may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Public addresses, over https.
    Public,
    /// Public addresses over https, and this machine, also over plain http.
    Local,
    /// Any address, also over plain http.
    Anywhere,
}

impl Reach {
    /// Whether an address may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Local => is_public(address) || address.is_loopback(),
            Self::Anywhere => true,
        }
    }
}

/// A URL that events may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Parses a URL. Host names are not resolved here; their addresses are checked at each
    /// connection.
    ///
    /// # Errors
    ///
    /// The first [`TargetError`] found.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, TargetError> {
        let url = Url::parse(text).map_err(|_| TargetError::NotAUrl)?;
        let is_loopback = url.host().is_some_and(|host| is_loopback(&host));
        let is_exempt = reach == Reach::Anywhere || (reach == Reach::Local && is_loopback);
        match url.scheme() {
            "https" => {}
            "http" if is_exempt => {}
            _ => return Err(TargetError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        let host = url.host().ok_or(TargetError::NotAUrl)?;
        // The parser reads 0x7f.1 and 2130706433 as addresses. Such a spelling usually tries to
        // get past a filter.
        let is_canonical = match host {
            Host::Domain(name) => !name.ends_with('.'),
            Host::Ipv4(address) => text.contains(&address.to_string()),
            Host::Ipv6(address) => text.to_ascii_lowercase().contains(&format!("[{address}]")),
        };
        if !is_canonical {
            return Err(TargetError::Spelling);
        }
        let is_private = match host {
            Host::Domain(_) => is_loopback,
            Host::Ipv4(address) => !is_public(address.into()),
            Host::Ipv6(address) => !is_public(address.into()),
        };
        if is_private && !is_exempt {
            return Err(TargetError::Private);
        }
        Ok(Self { url })
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether an address is publicly routable. Everything else is denied, including IPv6 forms that
/// embed an IPv4 address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The IANA special-purpose address blocks (RFC 6890 and its updates).
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, then reserved including broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|(block, bits)| {
        (address.to_bits() ^ block.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
    })
}

/// Only global unicast, `2000::/3`, minus its special blocks. The prefix alone already excludes
/// `::`, `::1`, IPv4-mapped, NAT64, unique local, link-local and multicast addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    let special = match first {
        // Protocol assignments including Teredo, and documentation.
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4 embeds an IPv4 address.
        0x2002 => true,
        0x2620 => second == 0x004f && third == 0x8000,
        0x3fff => second < 0x1000,
        _ => false,
    };
    first & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2620:4f:8000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn each_rule_rejects_its_urls() {
        use TargetError::{Credentials, Fragment, NotAUrl, Private, Scheme, Spelling};
        for (text, error) in [
            ("", NotAUrl),
            ("example.com/hook", NotAUrl),
            ("https://", NotAUrl),
            ("https://exa mple.com/", NotAUrl),
            ("http://example.com/", Scheme),
            ("ftp://example.com/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://example.com/", Scheme),
            ("https://user@example.com/", Credentials),
            ("https://user:secret@example.com/", Credentials),
            ("https://example.com/#there", Fragment),
            ("https://example.com./", Spelling),
            ("https://2130706433/", Spelling),
            ("https://0x7f000001/", Spelling),
            ("https://0x7f.1/", Spelling),
            ("https://0177.0.0.1/", Spelling),
            ("https://127.1/", Spelling),
            ("https://134744072/", Spelling),
            ("https://[0:0:0:0:0:0:0:1]/", Spelling),
            ("https://127.0.0.1/", Private),
            ("https://169.254.169.254/latest/meta-data", Private),
            ("https://[::1]/", Private),
            ("https://[::ffff:127.0.0.1]/", Private),
            ("https://[::ffff:7f00:1]/", Spelling),
            ("https://[64:ff9b::7f00:1]/", Private),
            ("https://localhost/", Private),
            ("https://LOCALHOST:3000/", Private),
            ("https://a.localhost/", Private),
        ] {
            assert_eq!(Target::parse(text, Reach::Public), Err(error), "{text}");
        }
    }

    #[test]
    fn public_https_urls_are_allowed_and_local_ones_by_setting() {
        for text in ["https://example.com", "https://example.com:8443/hook?a=b", "https://1.1.1.1/"]
        {
            assert!(Target::parse(text, Reach::Public).is_ok(), "{text}");
        }
        for text in ["http://localhost:3000/webhooks", "http://127.0.0.1:1", "http://[::1]:1/"] {
            assert!(Target::parse(text, Reach::Anywhere).is_ok(), "{text}");
        }
        assert_eq!(Target::parse("ftp://localhost/", Reach::Anywhere), Err(TargetError::Scheme));
        let two_spellings = Target::parse("http://127.1:3000/", Reach::Anywhere);
        assert_eq!(two_spellings, Err(TargetError::Spelling));
    }

    #[test]
    fn a_local_target_is_on_this_machine_or_public() {
        for text in ["http://localhost:3000/", "https://127.0.0.1/", "https://example.com/"] {
            assert!(Target::parse(text, Reach::Local).is_ok(), "{text}");
        }
        for (text, error) in [
            ("http://example.com/", TargetError::Scheme),
            ("http://10.0.0.1/", TargetError::Scheme),
            ("https://10.0.0.1/", TargetError::Private),
        ] {
            assert_eq!(Target::parse(text, Reach::Local), Err(error), "{text}");
        }
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(Reach::Local.allows(address("127.0.0.1")));
        assert!(!Reach::Local.allows(address("10.0.0.1")));
        assert!(!Reach::Public.allows(address("127.0.0.1")));
        assert!(Reach::Anywhere.allows(address("10.0.0.1")));
    }
}
