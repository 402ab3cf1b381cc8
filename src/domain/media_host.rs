//! The host that serves files only, when links begin with another host than everything else (S12).

use serde::Deserialize;
use url::{Host, Url};

/// The host of media links, apart from the host of everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHost {
    name: String,
    port: Option<u16>,
    /// Then only the ports tell the two apart.
    shares_name: bool,
}

impl MediaHost {
    /// `None` when both URLs lead to one host.
    pub fn apart_from(media_url: &Url, public_url: &Url) -> Option<Self> {
        let name = media_url.host_str()?.to_ascii_lowercase();
        let shares_name = public_url.host_str().is_some_and(|other| other == name);
        if shares_name && media_url.port() == public_url.port() {
            return None;
        }
        Some(Self { name, port: media_url.port(), shares_name })
    }

    /// Whether browsers keep its cookies apart from those of everything else: they look at names alone.
    pub fn has_own_name(&self) -> bool {
        !self.shares_name
    }

    /// Whether this is what the `Host` of a request names, in any case, with or without a port.
    pub fn is_named_by(&self, authority: &str) -> bool {
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (authority, None),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case(&self.name) && (!self.shares_name || port == self.port)
    }
}

/// Whether the page for people is answered (S12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageSetting {
    /// Where its cookie and files do not share a host, and where nobody but this machine can come.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl PageSetting {
    /// What it comes to for a public URL and the host of media links.
    pub fn is_on(self, public_url: &Url, media: Option<&MediaHost>) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Auto => media.is_some_and(MediaHost::has_own_name) || is_loopback(public_url),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(media: &str, public: &str) -> Option<MediaHost> {
        MediaHost::apart_from(&media.parse().unwrap(), &public.parse().unwrap())
    }

    #[test]
    fn a_host_of_its_own_is_known_by_its_name() {
        let host = host("https://files.example/", "https://api.example/").unwrap();
        for (authority, is_media) in [
            ("files.example", true),
            ("FILES.example:443", true),
            ("files.example.", true),
            ("files.example:8443", true),
            ("api.example", false),
            ("xfiles.example", false),
            ("files.example.evil", false),
            ("", false),
        ] {
            assert_eq!(host.is_named_by(authority), is_media, "{authority}");
        }
    }

    #[test]
    fn hosts_that_share_a_name_are_told_apart_by_their_ports() {
        let other = host("http://127.0.0.1:9000/", "http://127.0.0.1:8080/").unwrap();
        assert!(other.is_named_by("127.0.0.1:9000"));
        assert!(!other.is_named_by("127.0.0.1:8080") && !other.is_named_by("127.0.0.1"));
        let six = host("http://[::1]:9000/", "http://[::1]/").unwrap();
        assert!(six.is_named_by("[::1]:9000"));
        assert!(!six.is_named_by("[::1]"));
        assert_eq!(host("http://a.example/x/", "http://a.example/"), None);
    }
}
