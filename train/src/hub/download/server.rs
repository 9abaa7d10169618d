//! What is asked of the Hub, and what its answers mean.

use std::fmt;
use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::address::{Origin, resolve};
use super::environment::{certificates, text_in, token};
use super::hash::Hash;
use super::proxy::Proxies;
use crate::hub::cache::Variables;
use crate::hub::{DownloadError, Reference, is_name};

/// Where models are where nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest time for a connection, for an answer to begin, and for more of it to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before a question is asked again whose answer may be better then.
const WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];
/// Who asks for a longer wait (`Retry-After`) is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Answers that may be better a moment later.
const PASSING: [u16; 6] = [408, 429, 500, 502, 503, 504];
/// Ways that an address may lead on.
const REDIRECTS: usize = 10;
/// No list of a model's files has so many bytes.
const LONGEST_LIST: u64 = 1 << 24;

const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";
const ERROR_CODE: &str = "x-error-code";

/// What the Hub says of a model.
pub struct Listing {
    /// The commit that the revision is.
    pub commit: String,
    /// All its files.
    pub files: Vec<String>,
    pub licence: Option<String>,
}

/// What it says of a file.
#[derive(Clone, Debug)]
pub struct RemoteFile {
    pub name: String,
    pub hash: Hash,
    /// In bytes.
    pub size: Option<u64>,
}

/// A file that comes in.
pub struct Incoming {
    /// The place in the file of the first byte that comes.
    pub start: u64,
    pub bytes: Box<dyn Read>,
    /// Who sends it.
    pub host: String,
}

/// A server that is, or behaves as, the Hub.
pub struct Server {
    agent: Agent,
    /// Where its addresses begin, without a slash at the end.
    endpoint: String,
    origin: Origin,
    /// The header that shows who asks. It is for `origin` alone.
    token: Option<HeaderValue>,
    proxies: Proxies,
}

impl Server {
    /// The server that the environment names.
    pub fn of(variables: Variables<'_>) -> Result<Self, DownloadError> {
        let variable = "HF_ENDPOINT";
        let endpoint = text_in(variables, variable)?.unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let origin = endpoint.parse().ok().as_ref().and_then(Origin::of);
        // A password in it would be shown in messages.
        let Some(origin) = origin.filter(|_| !endpoint.contains(['@', '?', '#'])) else {
            let problem = format!("is no address of a server\n  help: write it as {ENDPOINT}");
            return Err(DownloadError::Setting { variable, problem });
        };
        let config = Agent::config_builder()
            .user_agent(concat!("albert-train/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Redirects are followed here, where it is seen who is shown the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Which one is asked depends on the server.
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .tls_config(TlsConfig::builder().root_certs(certificates(variables)?).build());
        let (agent, proxies) = (config.build().into(), Proxies::of(variables)?);
        Ok(Self { agent, endpoint, origin, token: token(variables)?, proxies })
    }

    /// What this server is called in messages.
    pub fn host(&self) -> String {
        self.origin.to_string()
    }

    /// The files of a model.
    pub fn listing(&self, reference: &Reference) -> Result<Listing, DownloadError> {
        let (model, revision) = (reference.model(), reference.revision().replace('/', "%2F"));
        let address = format!("{}/api/models/{model}/revision/{revision}", self.endpoint);
        let question = Question { reference, file: None };
        let mut answer = self.ask(&Method::GET, &address, 0, &question)?;
        let odd = |problem: String| question.odd(&answer.host, problem);
        let body = answer.response.body_mut().with_config().limit(LONGEST_LIST).read_to_vec();
        let body = body.map_err(|error| odd(problem(&error)))?;
        let model: ListedModel = serde_json::from_slice(&body).map_err(|error| odd(error.to_string()))?;
        if !is_name(&model.sha) {
            return Err(odd("its `sha` is no commit".into()));
        }
        let licence = |tag: &String| tag.strip_prefix("license:").map(str::to_owned);
        Ok(Listing {
            licence: model.tags.iter().find_map(licence),
            commit: model.sha,
            files: model.siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// Size and hash of a file of a commit.
    pub fn describe(&self, question: &Question<'_>, commit: &str) -> Result<RemoteFile, DownloadError> {
        let answer = self.ask(&Method::HEAD, &self.address(question, commit), 0, question)?;
        let headers = answer.response.headers();
        let etag = text_of(headers, LINKED_ETAG).or_else(|| text_of(headers, header::ETAG.as_str()));
        let Some(hash) = etag.and_then(Hash::of_etag) else {
            let problem = "it does not say the file's hash (ETag), so that nothing can be checked";
            return Err(question.odd(&answer.host, problem.into()));
        };
        let size =
            text_of(headers, LINKED_SIZE).or_else(|| text_of(headers, header::CONTENT_LENGTH.as_str()));
        let size =
            size.filter(|_| !answer.response.status().is_redirection() || headers.contains_key(LINKED_SIZE));
        let name = question.file.unwrap_or_default().to_owned();
        Ok(RemoteFile { name, hash, size: size.and_then(|size| size.parse().ok()) })
    }

    /// Begins to receive a file from byte `from`, or from its beginning if the server knows nothing else; `None` if there
    /// is nothing from there.
    pub fn open(
        &self,
        question: &Question<'_>,
        commit: &str,
        from: u64,
    ) -> Result<Option<Incoming>, DownloadError> {
        let Answer { response, host } =
            self.ask(&Method::GET, &self.address(question, commit), from, question)?;
        let start = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(None),
            StatusCode::PARTIAL_CONTENT => {
                let range = text_of(response.headers(), header::CONTENT_RANGE.as_str()).unwrap_or_default();
                let start =
                    range.trim_start_matches("bytes ").split('-').next().and_then(|at| at.parse().ok());
                let start = start.filter(|&start: &u64| start <= from);
                start.ok_or_else(|| question.odd(&host, format!("it sent another part, {range:?}")))?
            }
            _ => 0,
        };
        Ok(Some(Incoming { start, bytes: Box::new(response.into_body().into_reader()), host }))
    }

    fn address(&self, question: &Question<'_>, commit: &str) -> String {
        let (model, file) = (question.reference.model(), question.file.unwrap_or_default());
        format!("{}/{model}/resolve/{commit}/{file}", self.endpoint)
    }

    /// Asks, and asks again where that may help.
    fn ask(
        &self,
        method: &Method,
        address: &str,
        from: u64,
        question: &Question<'_>,
    ) -> Result<Answer, DownloadError> {
        let mut waits = WAITS.into_iter();
        loop {
            let (error, is_passing, least) = match self.send(method, address, from) {
                Ok(answer) if answer.is_good(from) => return Ok(answer),
                Ok(answer) => {
                    let is_passing = PASSING.contains(&answer.response.status().as_u16());
                    (self.refusal(&answer, question), is_passing, answer.retry_after())
                }
                Err(Failure { host, problem, help, is_passing }) => {
                    (DownloadError::Unreachable { host, problem, help }, is_passing, Duration::ZERO)
                }
            };
            match waits.next().filter(|_| is_passing && least <= LONGEST_WAIT) {
                Some(wait) => sleep(wait.max(least)),
                None => return Err(error),
            }
        }
    }

    /// Asks once, and follows where the answers lead. Whoever is not this server is not shown the token, and nobody after.
    fn send(&self, method: &Method, address: &str, from: u64) -> Result<Answer, Failure> {
        let odd = |problem: &str| Failure {
            host: self.host(),
            problem: problem.into(),
            help: "check HF_ENDPOINT",
            is_passing: false,
        };
        let mut uri: Uri = address.parse().map_err(|_| odd("the address is odd"))?;
        let mut token = self.token.as_ref();
        for _ in 0..=REDIRECTS {
            let origin = Origin::of(&uri).ok_or_else(|| odd("it leads to an odd address"))?;
            token = token.filter(|_| origin == self.origin);
            let mut request = Request::builder().method(method).uri(uri.clone());
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, token);
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let request = request.body(()).map_err(|_| odd("the address is odd"))?;
            let proxy = self.proxies.to(&origin).map_err(|problem| Failure {
                host: origin.to_string(),
                problem,
                help: "write the proxy's address as http://HOST:PORT; NO_PROXY lists servers that are asked without it",
                is_passing: false,
            })?;
            let request = match proxy {
                None => request,
                by => self.agent.configure_request(request).proxy(by).build(),
            };
            let response = self.agent.run(request).map_err(|error| Failure::of(&origin, &error))?;
            let location = text_of(response.headers(), header::LOCATION.as_str());
            // What a HEAD is sent for is said before the way leads elsewhere.
            let is_told = method == Method::HEAD && response.headers().contains_key(LINKED_ETAG);
            match location.filter(|_| response.status().is_redirection() && !is_told) {
                Some(location) => {
                    uri = resolve(&uri, location).ok_or_else(|| odd("it leads to an odd address"))?;
                }
                None => return Ok(Answer { response, host: origin.to_string() }),
            }
        }
        Err(odd("it leads from one address to the next and to no file"))
    }

    /// Why an answer is no file.
    fn refusal(&self, answer: &Answer, question: &Question<'_>) -> DownloadError {
        let (status, host) = (answer.response.status(), answer.host.clone());
        let reference = question.reference;
        let (model, revision) = (reference.model().to_owned(), reference.revision().to_owned());
        let signed = self.token.is_some();
        let code = text_of(answer.response.headers(), ERROR_CODE).unwrap_or_default();
        // Who has large files knows nothing of models, and was shown no token.
        if host != self.host() && [401, 403, 404].contains(&status.as_u16()) {
            let help = "that is where the Hub keeps the file: try again; if it stays so, something on the way (a firewall, a proxy) \
                        refuses it";
            return DownloadError::Status {
                host,
                what: question.to_string(),
                status: status.to_string(),
                help,
            };
        }
        match (status.as_u16(), code, question.file) {
            (_, "RevisionNotFound", _) => DownloadError::NoRevision { model, revision, host },
            (401 | 403, "GatedRepo", _) => {
                let page = format!("{}/{model}", self.endpoint);
                let then = if signed { "" } else { ", then put your access token into HF_TOKEN" };
                let help = format!("its owner wants terms accepted first: do so at {page}{then}");
                DownloadError::Refused { model, host, signed, help }
            }
            (401, _, _) | (403, "RepoNotFound", _) if !signed => {
                DownloadError::NoModel { model, host, signed }
            }
            (401, "RepoNotFound", _) | (404, "RepoNotFound", _) => {
                DownloadError::NoModel { model, host, signed }
            }
            (401 | 403, ..) => {
                let help = if signed {
                    "check that the token (HF_TOKEN, or the file that `hf auth login` wrote) is valid and may read it"
                } else {
                    "put an access token that may read it into HF_TOKEN"
                };
                DownloadError::Refused { model, host, signed, help: help.into() }
            }
            (404, _, Some(file)) => DownloadError::NoFile { model, file: file.into(), host },
            (404, _, None) => DownloadError::NoModel { model, host, signed },
            (number, ..) => {
                let help = match number {
                    429 => {
                        "too many requests: wait some minutes; an access token in HF_TOKEN raises the limit"
                    }
                    _ if PASSING.contains(&number) => "the server has a problem: try again later",
                    _ => "check HF_ENDPOINT, and a proxy's settings if there is one",
                };
                DownloadError::Status { host, what: question.to_string(), status: status.to_string(), help }
            }
        }
    }
}

/// What is asked for: a model, or a file of it.
pub struct Question<'a> {
    pub reference: &'a Reference,
    pub file: Option<&'a str>,
}

impl Question<'_> {
    /// That an answer to it does not mean what it should.
    pub fn odd(&self, host: &str, problem: String) -> DownloadError {
        DownloadError::Answer { host: host.into(), what: self.to_string(), problem }
    }
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            Some(file) => write!(f, "{file} of {}", self.reference.model()),
            None => f.write_str(self.reference.model()),
        }
    }
}

/// The Hub's words for a model.
#[derive(Deserialize)]
struct ListedModel {
    sha: String,
    siblings: Vec<ListedFile>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct ListedFile {
    rfilename: String,
}

struct Answer {
    response: Response<Body>,
    /// Who gave it.
    host: String,
}

impl Answer {
    /// Whether it is what was asked for, from a byte on. Redirects that are left are those that say what a HEAD asks.
    fn is_good(&self, from: u64) -> bool {
        let status = self.response.status();
        let is_told = status.is_redirection() && self.response.headers().contains_key(LINKED_ETAG);
        let is_beyond = from > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE;
        status.is_success() || is_told || is_beyond
    }

    /// How long its sender wants to be left alone, where it says so in seconds.
    fn retry_after(&self) -> Duration {
        let seconds = text_of(self.response.headers(), header::RETRY_AFTER.as_str());
        let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
        Duration::from_secs(seconds.unwrap_or_default())
    }
}

/// No answer.
struct Failure {
    host: String,
    problem: String,
    help: &'static str,
    is_passing: bool,
}

impl Failure {
    fn of(origin: &Origin, error: &ureq::Error) -> Self {
        use ureq::Error;
        let text = problem(error);
        let help = match error {
            // Certificates are judged within the connection.
            _ if text.contains("certificate") => {
                "if a proxy on the way has certificates of its own, name their file (PEM) by SSL_CERT_FILE"
            }
            _ => "check the network, HF_ENDPOINT and HTTPS_PROXY; then run the same command again",
        };
        let is_passing = match error {
            Error::Io(error) => {
                error.kind() != io::ErrorKind::ConnectionRefused && error.kind() != io::ErrorKind::InvalidData
            }
            Error::Timeout(_) | Error::Protocol(_) => true,
            _ => false,
        };
        Self { host: origin.to_string(), problem: text, help, is_passing }
    }
}

/// What went wrong on the way, in words without addresses: those may be signed.
fn problem(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => "its address is odd".into(),
        ureq::Error::HostNotFound => "there is no server of this name, or no network".into(),
        ureq::Error::Io(error) => error.to_string(), // without "io: " before it
        error => error.to_string(),
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(set: &[(&str, &str)]) -> Result<Server, String> {
        let variables =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Server::of(&variables).map_err(|error| error.to_string())
    }

    #[test]
    fn the_server_is_the_one_that_is_named() {
        assert_eq!(server(&[]).unwrap().host(), "https://huggingface.co");
        let mirror = server(&[("HF_ENDPOINT", "http://localhost:8080/hub/")]).unwrap();
        assert_eq!(mirror.host(), "http://localhost:8080");
        assert_eq!(mirror.endpoint, "http://localhost:8080/hub");
        for wrong in ["localhost", "https://", "ftp://a", "https://me:secret@hub.example", "https://a b"] {
            let error = server(&[("HF_ENDPOINT", wrong)]).err().unwrap();
            assert!(error.contains("HF_ENDPOINT is no address") && !error.contains("secret"), "{error}");
        }
    }
}
