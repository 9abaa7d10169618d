//! `run.json`: what a run is, how it stands, and every session that worked on it.

use std::fs;

use kernels::cuda::Versions;
use serde::{Deserialize, Serialize};

/// Only so many sessions are kept, the newest: enough for a run that is restarted every hour of a month.
const MOST_SESSIONS: usize = 1000;
/// No argument of a command is kept beyond this.
const LONGEST_ARGUMENT: usize = 4096;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At work; or, if its lock is free, it was killed.
    Running,
    /// Stopped on request, to be continued.
    Interrupted,
    /// All its steps are done.
    Finished,
    /// Ended by an error.
    Failed,
}

/// The content of `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct RunInfo {
    /// Name of the program: the mark by which a run directory is known as ours.
    pub program: String,
    /// How the run stands.
    pub status: Status,
    /// When the run was begun, UTC.
    pub created: String,
    /// When this file was written, UTC.
    pub updated: String,
    /// A hash that tells what it learns from and begins with apart from any other; none before that was found out.
    pub data: Option<String>,
    /// Who worked on it, in order.
    pub sessions: Vec<Session>,
}

/// One start of the program on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Version of the program.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// The computer.
    pub host: String,
    /// The process number.
    pub process: u32,
    /// What computed; none if the session ended before that was known.
    pub machine: Option<Machine>,
    /// When it was started, UTC.
    pub started: String,
    /// When it ended, UTC; none while it works, and if it was killed.
    pub ended: Option<String>,
    /// Why it ended.
    pub exit_reason: Option<String>,
}

/// What computes in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor or GPU, as it calls itself.
    pub processor: String,
    /// The instruction set in use, `sm_90` for a GPU of compute capability 9.0. Another one may change the last bits of what is
    /// computed.
    pub isa: String,
    /// Threads of the processor in use. What is computed does not depend on them.
    pub threads: usize,
    /// The device as settings name it. Earlier versions knew one.
    #[serde(default = "only_device")]
    pub device: String,
    /// What was meant by the precision `auto`.
    #[serde(default = "only_precision")]
    pub precision: String,
    /// Driver and libraries of a GPU; not known of earlier versions' sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Versions>,
    /// Multiprocessors of a GPU; not known of earlier versions' sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<usize>,
    /// Whether the algorithms of its matrix products were chosen by timing, and are kept beside this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_products: bool,
    /// Whether they add up each sum in one piece.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsplit_products: bool,
}

fn only_device() -> String {
    "cpu".into()
}

fn only_precision() -> String {
    "f32".into()
}

impl Machine {
    /// This computer's processor with an instruction set and a number of threads.
    pub fn new(isa: String, threads: usize) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default(); // other systems have no such file
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let processor = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned();
        let (device, precision) = (only_device(), only_precision());
        Self {
            processor,
            isa,
            threads,
            device,
            precision,
            gpu: None,
            multiprocessors: None,
            timed_products: false,
            unsplit_products: false,
        }
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        self.device != only_device()
    }

    /// What computes otherwise than in an earlier session, so that results may differ in their last bits: what it is now, and what it
    /// was. Of a GPU that is its kind, how many multiprocessors it lets us have, its driver, and the compiler and the library of its kernels; of a processor the instruction set.
    pub fn change_since(&self, before: &Self) -> Option<(String, String)> {
        let count = |multiprocessors: usize| format!("{multiprocessors} multiprocessors");
        let now = self.multiprocessors.map(count).unwrap_or_default();
        let multiprocessors = (&now, &before.multiprocessors.map_or(now.clone(), count));
        let mut parts = match (&self.gpu, &before.gpu) {
            (Some(now), Some(then)) => vec![
                ("", &self.processor, &before.processor),
                ("", &self.isa, &before.isa),
                ("", multiprocessors.0, multiprocessors.1),
                ("a driver for CUDA ", &now.driver, &then.driver),
                ("NVRTC ", &now.nvrtc, &then.nvrtc),
                ("cuBLASLt ", &now.cublaslt, &then.cublaslt),
            ],
            (Some(_), None) if before.is_gpu() => {
                let [now, before] = ["batches cut as this version cuts them", "as an earlier one did"];
                return Some((now.into(), before.into()));
            }
            _ => vec![("", &self.isa, &before.isa)],
        };
        parts.retain(|(_, now, then)| now != then);
        let side =
            |of: fn(&(&str, &String, &String)) -> String| parts.iter().map(of).collect::<Vec<_>>().join(", ");
        (!parts.is_empty()).then(|| {
            (side(|(what, now, _)| format!("{what}{now}")), side(|(what, _, then)| format!("{what}{then}")))
        })
    }
}

impl RunInfo {
    /// Adds a session, which is now at work; of a finished run it is not said yet that there is anything left to do.
    pub fn begin(&mut self, mut session: Session) {
        for argument in &mut session.command {
            if argument.len() > LONGEST_ARGUMENT {
                argument.truncate(argument.floor_char_boundary(LONGEST_ARGUMENT));
                argument.push('…');
            }
        }
        self.updated = session.started.clone();
        if self.status != Status::Finished {
            self.status = Status::Running;
        }
        self.sessions.push(session);
        self.sessions.drain(..self.sessions.len().saturating_sub(MOST_SESSIONS));
    }

    /// The session at work, or the last one.
    pub fn last(&self) -> Option<&Session> {
        self.sessions.last()
    }
}

/// What tells the data that a run learns from, and the model that it begins with, apart from any others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A hash of both.
    all: String,
    /// A hash of the data, which is all that earlier versions noted.
    data: String,
}

impl Identity {
    /// Of data and weights by their hashes; none for a model that begins at random.
    pub fn new(data: String, weights: Option<&str>) -> Self {
        let both = format!("{data} {}", weights.unwrap_or("at random"));
        Self { all: blake3::hash(both.as_bytes()).to_hex().to_string(), data }
    }

    /// The hash that a run notes.
    pub fn hash(&self) -> &str {
        &self.all
    }

    /// Whether a run that noted this hash goes on with it.
    pub fn continues(&self, noted: &str) -> bool {
        noted == self.all || noted == self.data
    }
}

/// `run.json` as it is or was written: earlier versions kept only the last session, and a count of all.
#[derive(Deserialize)]
struct Written {
    program: String,
    status: Status,
    created: String,
    updated: String,
    data: Option<String>,
    sessions: Sessions,
    version: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    host: Option<String>,
    process: Option<u32>,
    exit_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sessions {
    #[expect(dead_code, reason = "of the sessions before the last nothing else is known")]
    Counted(u32),
    Kept(Vec<Session>),
}

impl From<Written> for RunInfo {
    fn from(written: Written) -> Self {
        let sessions = match written.sessions {
            Sessions::Kept(sessions) => sessions,
            Sessions::Counted(_) => vec![Session {
                version: written.version.unwrap_or_default(),
                command: written.command,
                host: written.host.unwrap_or_default(),
                process: written.process.unwrap_or_default(),
                machine: None,
                started: written.created.clone(),
                ended: written.exit_reason.is_some().then(|| written.updated.clone()),
                exit_reason: written.exit_reason,
            }],
        };
        Self {
            program: written.program,
            status: written.status,
            created: written.created,
            updated: written.updated,
            data: written.data,
            sessions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_with_the_weights_it_began_with_and_one_of_an_earlier_version_with_its_data() {
        let [mine, others, none] =
            [Some("mine"), Some("others"), None].map(|weights| Identity::new("data".into(), weights));
        for (now, noted, continues) in [
            (&mine, mine.hash(), true),
            (&mine, others.hash(), false),
            (&mine, none.hash(), false),
            (&none, mine.hash(), false),
            (&none, none.hash(), true),
            (&mine, "data", true),
            (&none, "data", true),
            (&Identity::new("text".into(), Some("mine")), mine.hash(), false),
        ] {
            assert_eq!(now.continues(noted), continues, "{now:?} {noted}");
        }
    }

    fn session(command: &str) -> Session {
        Session {
            version: "1".into(),
            command: vec![command.into()],
            host: "h".into(),
            process: 1,
            machine: Some(Machine::new("scalar".into(), 2)),
            started: "now".into(),
            ended: None,
            exit_reason: None,
        }
    }

    fn info() -> RunInfo {
        RunInfo {
            program: "p".into(),
            status: Status::Interrupted,
            created: "then".into(),
            updated: "then".into(),
            data: None,
            sessions: vec![],
        }
    }

    #[test]
    fn sessions_are_kept_within_bounds() {
        let mut info = info();
        for number in 0..MOST_SESSIONS + 5 {
            info.begin(session(&format!("{number}")));
        }
        assert_eq!((info.status, info.sessions.len()), (Status::Running, MOST_SESSIONS));
        assert_eq!(info.sessions[0].command, ["5"]);
        info.begin(session(&"é".repeat(1 << 20)));
        assert!(info.last().is_some_and(|last| last.command[0].len() <= LONGEST_ARGUMENT + '…'.len_utf8()));
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<RunInfo>(&text).unwrap(), info);
        assert!(info.last().and_then(|last| last.machine.as_ref()).is_some_and(|m| !m.processor.is_empty()));
    }

    #[test]
    fn what_computes_otherwise_is_told() {
        let gpu = |name: &str, nvrtc: &str, cublaslt: &str| {
            let versions = Versions { driver: "13.0".into(), nvrtc: nvrtc.into(), cublaslt: cublaslt.into() };
            let (processor, isa, device) = (name.into(), "sm_90".into(), "cuda:0".into());
            Machine {
                processor,
                isa,
                threads: 2,
                device,
                precision: "bf16".into(),
                gpu: Some(versions),
                multiprocessors: Some(132),
                timed_products: false,
                unsplit_products: false,
            }
        };
        let told = |now: &Machine, before: &Machine| now.change_since(before);
        let said = |now: &str, before: &str| Some((now.to_owned(), before.to_owned()));
        let h100 = gpu("H100", "13.0", "13.0.2");
        assert_eq!(told(&h100, &Machine { threads: 9, device: "cuda:1".into(), ..h100.clone() }), None);
        assert_eq!(told(&gpu("H200", "13.0", "13.0.2"), &h100), said("H200", "H100"));
        assert_eq!(
            told(&gpu("H100", "13.1", "13.2.0"), &h100),
            said("NVRTC 13.1, cuBLASLt 13.2.0", "NVRTC 13.0, cuBLASLt 13.0.2")
        );
        let half = Machine { multiprocessors: Some(66), ..h100.clone() };
        assert_eq!(told(&half, &h100), said("66 multiprocessors", "132 multiprocessors"));
        assert_eq!(told(&half, &Machine { multiprocessors: None, ..half.clone() }), None, "it is not known");
        let of_earlier_version = Machine { gpu: None, ..h100.clone() };
        assert!(
            told(&h100, &of_earlier_version).is_some_and(|(_, before)| before == "as an earlier one did")
        );
        let cpu = Machine::new("avx2".into(), 2);
        assert_eq!(told(&cpu, &Machine { processor: "another".into(), ..cpu.clone() }), None);
        assert_eq!(told(&cpu, &h100), said("avx2", "sm_90"));
        let written = serde_json::to_string(&h100).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&written).unwrap(), h100);
        assert!(!serde_json::to_string(&cpu).unwrap().contains("gpu"));
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let info: RunInfo = serde_json::from_str(
            r#"{"program": "albert-train", "version": "0.1.0", "command": ["albert-train", "pretrain"], "host": "h",
                "process": 7, "status": "interrupted", "exit_reason": "SIGTERM", "created": "a", "updated": "b",
                "sessions": 3, "data": "hash"}"#,
        )
        .unwrap();
        let [last] = info.sessions.as_slice() else { panic!("{info:?}") };
        assert_eq!((last.process, last.ended.as_deref(), last.machine.as_ref()), (7, Some("b"), None));
        assert_eq!((info.status, info.data.as_deref()), (Status::Interrupted, Some("hash")));
    }
}
