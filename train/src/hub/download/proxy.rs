//! The proxy by which a server is asked.

use ureq::{Proxy, ProxyProtocol};

use super::address::Origin;
use super::environment::text_in;
use crate::hub::DownloadError;
use crate::hub::cache::Variables;

/// What the environment says of proxies: that of the address's scheme before `ALL_PROXY`. (`ureq` would take `ALL_PROXY` before the others,
/// whatever is asked for, and pass over a SOCKS proxy without a word.)
pub struct Proxies {
    /// Of `https:`.
    secure: Option<Named>,
    /// Of `http:`.
    plain: Option<Named>,
    /// Who is asked without one.
    excepted: Vec<String>,
}

/// A variable and its value, in which there may be a password.
type Named = (&'static str, String);

impl Proxies {
    /// Those that the environment names.
    ///
    /// # Errors
    /// If a variable is no text.
    pub fn of(variables: Variables<'_>) -> Result<Self, DownloadError> {
        let first = |names: &[&'static str]| -> Result<Option<Named>, DownloadError> {
            for &name in names {
                if let Some(value) = text_in(variables, name)? {
                    return Ok(Some((name, value.trim().to_owned())));
                }
            }
            Ok(None)
        };
        let (_, excepted) = first(&["no_proxy", "NO_PROXY"])?.unwrap_or_default();
        let excepted = excepted.split([',', ' ']).filter(|entry| !entry.is_empty());
        Ok(Self {
            secure: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            plain: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            excepted: excepted.map(str::to_owned).collect(),
        })
    }

    /// The one by which a server is asked; none where it is asked directly.
    ///
    /// # Errors
    /// What is wrong with the variable, without its value.
    pub fn to(&self, origin: &Origin) -> Result<Option<Proxy>, String> {
        let named = if origin.is_secure() { &self.secure } else { &self.plain };
        let Some((variable, address)) = named else { return Ok(None) };
        if self.excepted.iter().any(|entry| origin.is_meant_by(entry)) {
            return Ok(None);
        }
        match Proxy::new(address) {
            Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => {
                Ok(Some(proxy))
            }
            Ok(_) => Err(format!("{variable} names a SOCKS proxy, and HTTP proxies alone are used")),
            Err(_) => Err(format!("{variable} is no address of a proxy")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_that_of_the_scheme() {
        let by = |set: &[(&str, &str)], address: &str| -> Result<Option<String>, String> {
            let variables =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            let origin = Origin::of(&address.parse().unwrap()).unwrap();
            let proxies = Proxies::of(&variables).map_err(|error| error.to_string())?;
            proxies.to(&origin).map(|proxy| proxy.map(|proxy| proxy.host().to_owned()))
        };
        let (hub, mirror) = ("https://hub.example", "http://mirror.example:8080");
        let of = |host: &str| -> Result<Option<String>, String> { Ok(Some(host.to_owned())) };
        assert_eq!(by(&[], hub), Ok(None));
        // What many a program that makes proxies sets.
        let both = [("ALL_PROXY", "socks5://all:1"), ("HTTPS_PROXY", "http://secure:2"), ("NO_PROXY", "")];
        assert_eq!(by(&both, hub), of("secure"));
        let error = by(&both, mirror).unwrap_err();
        assert!(error.contains("ALL_PROXY names a SOCKS proxy"), "{error}");
        assert_eq!(by(&both[1..], mirror), Ok(None), "that of the other scheme is not meant");
        let small = [("http_proxy", "small:1"), ("HTTP_PROXY", "http://capitals:2")];
        assert_eq!(by(&small, mirror), of("small"));
        let excepted = |list: &str| by(&[("ALL_PROXY", "http://all:1"), ("no_proxy", list)], mirror);
        assert_eq!(excepted("localhost, mirror.example"), Ok(None), "spaces after commas");
        assert_eq!(excepted("localhost,.other.example"), of("all"));
        for wrong in ["http://me:secret@", "ftp://me:secret@host", "http://me:secret@a b"] {
            let error = by(&[("HTTPS_PROXY", wrong)], hub).unwrap_err();
            assert!(error.contains("HTTPS_PROXY is no address") && !error.contains("secret"), "{error}");
        }
    }
}
