//! Addresses: who is asked, and where an answer leads.

use std::fmt;

use ureq::http::Uri;

/// Who is asked: what a token is shown to or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().or(usual_port(&scheme))?;
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        usual_port(&scheme).map(|_| Self { scheme, host, port })
    }

    /// Whether it is asked by TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether an entry of `NO_PROXY` means it: `*`, a host, or a domain and with it the hosts in it; with a port or without.
    pub fn is_meant_by(&self, entry: &str) -> bool {
        let entry = entry.to_ascii_lowercase();
        let entry = entry.strip_suffix(&format!(":{}", self.port)).unwrap_or(&entry);
        let plain = |host: &str| host.trim_matches(['[', ']']).to_owned(); // an address of IPv6
        let (host, domain) =
            (plain(&self.host), plain(entry.trim_start_matches('*').trim_start_matches('.')));
        entry == "*" || host == domain || !domain.is_empty() && host.ends_with(&format!(".{domain}"))
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if usual_port(&self.scheme) == Some(self.port) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// The address that `location` is in an answer from `base` (RFC 3986, 5.2, of the forms that servers send).
pub fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let begin = location.split(['/', '?', '#']).next().unwrap_or_default();
    let absolute = if begin.contains(':') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    absolute.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Option<Origin> {
        Origin::of(&address.parse().unwrap())
    }

    #[test]
    fn a_server_is_the_same_by_scheme_host_and_port() {
        assert_eq!(origin("https://Hub.example/a?b"), origin("HTTPS://hub.example:443"));
        let others = ["http://hub.example", "https://hub.example:8443", "https://hub.example.org"];
        for other in others {
            assert_ne!(origin("https://hub.example"), origin(other), "{other}");
        }
        assert_eq!(origin("ftp://hub.example"), None);
        assert_eq!(origin("http://me:secret@[::1]:8080/a").unwrap().to_string(), "http://[::1]:8080");
    }

    #[test]
    fn an_entry_means_a_host_or_a_domain() {
        let mirror = origin("http://hub.Example:8080").unwrap();
        for entry in ["*", "hub.example", "HUB.example:8080", "example", ".example", "*.example"] {
            assert!(mirror.is_meant_by(entry), "{entry}");
        }
        for entry in ["", ".", "ub.example", "hub.example:80", "other.example", "hub.example.org", "8080"] {
            assert!(!mirror.is_meant_by(entry), "{entry}");
        }
        for entry in ["::1", "[::1]", "[::1]:80"] {
            assert!(origin("http://[::1]").unwrap().is_meant_by(entry), "{entry}");
        }
    }

    #[test]
    fn an_answer_leads_where_its_location_says() {
        let base: Uri = "https://hub.example/me/mine/resolve/0a1b/config.json?x".parse().unwrap();
        for (location, expected) in [
            ("https://other.example/a?b=c/d", "https://other.example/a?b=c/d"),
            ("//other.example/a", "https://other.example/a"),
            ("/api/a", "https://hub.example/api/a"),
            ("/login?next=https://a/b", "https://hub.example/login?next=https://a/b"),
            ("?y", "https://hub.example/me/mine/resolve/0a1b/config.json?y"),
            ("a", "https://hub.example/me/mine/resolve/0a1b/a"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), expected);
        }
    }
}
