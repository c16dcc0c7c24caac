//! Why a command failed: what a person reads, what a script tests.
//!
//! Not the errors of the layers below; each is turned into one of these where a command meets it.
//!
//! Invariant: a failure holds no secret; it travels over the control socket and is printed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::ExitCode;

/// The kind of a failure; its word is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The command line or the config file says something that cannot be.
    Usage,
    /// What was named is not there.
    NotFound,
    /// What was to be made is already there.
    Exists,
    /// It cannot be done in the present state.
    Refused,
    /// A check found something.
    ProblemsFound,
    /// No server answers, or another process holds the data directory.
    Unreachable,
    /// Everything else: the disk, the network, a mistake of ours.
    Failed,
}

impl Code {
    /// The exit code of the process: 1 failed, 2 usage, 3 not found, 4 problems found, 5 unreachable.
    pub const fn exit(self) -> u8 {
        match self {
            Self::Exists | Self::Refused | Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::ProblemsFound => 4,
            Self::Unreachable => 5,
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
}

/// A command's outcome.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Something that is not there: `not_found("account", "ann@example.org")`.
    pub fn not_found(kind: &str, name: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {kind} {name}"))
    }

    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Something went wrong that is nobody's mistake in typing.
    pub fn failed(what: &str, error: impl fmt::Display) -> Self {
        Self::new(Code::Failed, format!("{what}: {error}"))
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of the process.
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(self.code.exit())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        let code = match &error {
            E::NotFound(_) => Code::NotFound,
            E::Exists(_) => Code::Exists,
            E::InUse(_) | E::HasChildren | E::OverQuota { .. } | E::TooManyEmails { .. } | E::Limit(_) | E::Denied | E::Invalid(_) => {
                Code::Refused
            }
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<crate::config::Problem> for Failure {
    fn from(problem: crate::config::Problem) -> Self {
        Self { code: Code::Usage, message: problem.to_string(), hint: problem.hint }
    }
}
