//! What the environment says of how the Hub is asked.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use ureq::http::HeaderValue;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::files::read_plain;
use crate::hub::DownloadError;
use crate::hub::cache::{Variables, home, path_in};
use crate::visible::shown;

/// A variable as text; `None` if it is not set or empty.
pub fn text_in(variables: Variables<'_>, variable: &'static str) -> Result<Option<String>, DownloadError> {
    let text = |value: OsString| {
        let problem = "is not UTF-8".to_owned();
        value.into_string().map_err(|_| DownloadError::Setting { variable, problem })
    };
    Ok(variables(variable).map(text).transpose()?.filter(|text| !text.trim().is_empty()))
}

/// The header for whoever is to be shown who asks.
pub fn token(variables: Variables<'_>) -> Result<Option<HeaderValue>, DownloadError> {
    if text_in(variables, "HF_HUB_DISABLE_IMPLICIT_TOKEN")?.is_some_and(|value| is_true(&value)) {
        return Ok(None);
    }
    let (mut variable, mut token) = ("HF_TOKEN", text_in(variables, "HF_TOKEN")?);
    if token.is_none() {
        (variable, token) = (OLD_TOKEN, text_in(variables, OLD_TOKEN)?);
    }
    if token.is_none() {
        (variable, token) = ("HF_TOKEN_PATH", token_file(variables)?);
    }
    let Some(token) = token else { return Ok(None) };
    let Ok(mut header) = HeaderValue::from_str(&format!("Bearer {}", token.trim())) else {
        let problem = "holds characters that are in no access token\n  help: copy it again".into();
        return Err(DownloadError::Setting { variable, problem });
    };
    header.set_sensitive(true);
    Ok(Some(header))
}

/// What `HF_TOKEN` was called once.
const OLD_TOKEN: &str = "HUGGING_FACE_HUB_TOKEN";

/// What logging in wrote down.
fn token_file(variables: Variables<'_>) -> Result<Option<String>, DownloadError> {
    let path = path_in(variables, "HF_TOKEN_PATH").or_else(|| Some(home(variables)?.join("token")));
    let Some(path) = path else { return Ok(None) };
    match read_plain(&path, 1 << 16).map(String::from_utf8) {
        Ok(Ok(token)) => Ok(Some(token).filter(|token| !token.trim().is_empty())),
        Ok(Err(_)) => Err(unread("HF_TOKEN_PATH", &path, "it is not UTF-8")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread("HF_TOKEN_PATH", &path, &error.to_string())),
    }
}

fn unread(variable: &'static str, path: &Path, problem: &str) -> DownloadError {
    DownloadError::Setting {
        variable,
        problem: format!("names {}, which cannot be read: {problem}", shown(path)),
    }
}

/// Whose word is taken for who a server is: Mozilla's list, which is built in, or a file's.
pub fn certificates(variables: Variables<'_>) -> Result<RootCerts, DownloadError> {
    let named = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"];
    let named = named.into_iter().find_map(|name| Some((name, path_in(variables, name)?)));
    let Some((variable, path)): Option<(&'static str, PathBuf)> = named else { return Ok(RootCerts::WebPki) };
    let text = std::fs::read(&path).map_err(|error| unread(variable, &path, &error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(unread(variable, &path, "it holds no certificate in PEM"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The variable that says that the network is not to be used. The first that is set decides, as in huggingface_hub.
pub fn offline(variables: Variables<'_>) -> Result<Option<&'static str>, DownloadError> {
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if let Some(value) = text_in(variables, variable)? {
            return Ok(is_true(&value).then_some(variable));
        }
    }
    Ok(None)
}

/// Whether a variable says yes, as huggingface_hub reads it.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `of` makes of an environment in which these are set.
    fn with<T>(
        set: &[(&str, &str)],
        of: impl Fn(Variables<'_>) -> Result<T, DownloadError>,
    ) -> Result<T, String> {
        let variables =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        of(&variables).map_err(|error| error.to_string())
    }

    #[test]
    fn the_token_is_the_variables_or_the_files() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        std::fs::write(&path, "of_file\n").unwrap();
        let token = |set: &[(&str, &str)]| {
            with(set, super::token).map(|token| token.map(|token| token.to_str().unwrap().to_owned()))
        };
        let (home, path) = (home.path().to_str().unwrap(), path.to_str().unwrap());
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[("HF_HOME", home)]), Ok(Some("Bearer of_file".into())));
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), Ok(Some("Bearer of_file".into())));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", " given\n")]), Ok(Some("Bearer given".into())));
        assert_eq!(token(&[("HF_HOME", home), (OLD_TOKEN, "old")]), Ok(Some("Bearer old".into())));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "given")]), Ok(None));
        let error = token(&[("HF_TOKEN", "gi\nven")]).unwrap_err();
        assert!(error.contains("HF_TOKEN holds characters") && !error.contains("gi"), "{error}");
        let error = token(&[("HF_TOKEN_PATH", home)]).unwrap_err();
        assert!(error.contains("HF_TOKEN_PATH names") && error.contains("not a plain file"), "{error}");
    }

    #[test]
    fn the_first_variable_that_is_set_says_whether_to_ask() {
        let (hub, transformers) = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE");
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case; 7] = [
            (&[], None),
            (&[(hub, "yes"), (transformers, "0")], Some(hub)),
            (&[(hub, "True")], Some(hub)),
            (&[(hub, ""), (transformers, "on")], Some(transformers)),
            (&[(hub, "0"), (transformers, "1")], None),
            (&[(hub, "false")], None),
            (&[(hub, "2")], None),
        ];
        for (set, expected) in cases {
            assert_eq!(with(set, offline), Ok(expected), "{set:?}");
        }
    }

    #[test]
    fn certificates_come_from_a_file_that_has_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificates.pem");
        let of = |variable| with(&[(variable, path.to_str().unwrap())], certificates).err().unwrap();
        for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
            assert!(of(variable).contains(variable) && of(variable).contains("cannot be read"));
        }
        std::fs::write(&path, "none").unwrap();
        assert!(of("SSL_CERT_FILE").contains("no certificate"));
    }
}
