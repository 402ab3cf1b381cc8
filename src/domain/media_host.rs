//! The host that serves files only, if media links use a different host from everything else (S12).

use serde::Deserialize;
use url::{Host, Url};

/// A host that serves only media links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHost {
    name: String,
    port: Option<u16>,
    /// Whether the public URL has the same host name, so that only the ports differ.
    shares_name: bool,
}

impl MediaHost {
    /// The host of `media_url`; `None` when both URLs have the same host and port.
    pub fn distinct_from(media_url: &Url, public_url: &Url) -> Option<Self> {
        let name = media_url.host_str()?.to_ascii_lowercase();
        let shares_name = public_url.host_str().is_some_and(|other| other == name);
        if shares_name && media_url.port() == public_url.port() {
            return None;
        }
        Some(Self { name, port: media_url.port(), shares_name })
    }

    /// Whether browsers separate its cookies from those of the public host. Cookies ignore ports,
    /// so the names must differ.
    pub fn has_own_name(&self) -> bool {
        !self.shares_name
    }

    /// Whether a request's `Host` names this host. Case is ignored, and so is the port unless only
    /// the ports differ.
    pub fn matches_authority(&self, authority: &str) -> bool {
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (authority, None),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case(&self.name) && (!self.shares_name || port == self.port)
    }
}

/// Whether the web page is served (S12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageSetting {
    /// Served if its cookie and the files do not share a host name, or if the public URL is
    /// loopback.
    Auto,
    /// Always served.
    On,
    /// Never served.
    Off,
}

impl PageSetting {
    /// Whether the page is served, given the public URL and the host of media links.
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
        MediaHost::distinct_from(&media.parse().unwrap(), &public.parse().unwrap())
    }

    #[test]
    fn a_separate_host_is_matched_by_name() {
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
            assert_eq!(host.matches_authority(authority), is_media, "{authority}");
        }
    }

    #[test]
    fn hosts_with_the_same_name_are_distinguished_by_port() {
        let other = host("http://127.0.0.1:9000/", "http://127.0.0.1:8080/").unwrap();
        assert!(other.matches_authority("127.0.0.1:9000"));
        assert!(
            !other.matches_authority("127.0.0.1:8080") && !other.matches_authority("127.0.0.1")
        );
        let six = host("http://[::1]:9000/", "http://[::1]/").unwrap();
        assert!(six.matches_authority("[::1]:9000"));
        assert!(!six.matches_authority("[::1]"));
        assert_eq!(host("http://a.example/x/", "http://a.example/"), None);
    }
}
