//! Why a command did not do what it was asked, what to do about it, and the exit code that says so to scripts.

use brink_protocol::problem::Problem;
use serde_json::{Value, json};

/// The exit codes of `brink`, as `brink --help` lists them. 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The operation was tried and failed.
    Failed = 1,
    /// The command line, a file of the project or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// The control API could not be reached.
    Unreachable = 3,
    /// The token is missing, unknown, or not allowed to do this.
    Denied = 4,
    /// The server refused the request as invalid.
    Refused = 5,
    /// What was waited for did not happen in time.
    TimedOut = 6,
}

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operation was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The command line, a file of the project or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// The control API could not be reached.
    #[error("the control API at {control} could not be reached: {cause}\n{advice}")]
    Unreachable {
        /// The configured URL.
        control: String,
        /// What the network or TLS said.
        cause: String,
        /// What to do.
        advice: &'static str,
    },
    /// The control API answered with an error: RFC 9457.
    #[error("{}", describe(.0))]
    Answer(Problem),
    /// What was waited for did not happen in time.
    #[error("{0}")]
    TimedOut(String),
}

impl Error {
    /// A failure of `what`, for the reason `cause`.
    pub(crate) fn failed(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {cause}"))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Failed(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Answer(problem) => match problem.status {
                401 | 403 => Exit::Denied,
                408 | 429 => Exit::Failed,
                400..=499 => Exit::Refused,
                _ => Exit::Failed,
            },
        }
    }

    /// The form of `--json`: one object on standard error.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "message": self.to_string(), "exit_code": self.exit() as u8 });
        if let (Self::Answer(problem), Some(error)) = (self, error.as_object_mut()) {
            error.insert("problem".into(), json!(problem));
        }
        json!({ "error": error })
    }
}

/// A problem document as people read it, with what to do where the status says it.
fn describe(problem: &Problem) -> String {
    let mut text = match &problem.detail {
        Some(detail) if detail.starts_with(&problem.title) => detail.clone(),
        Some(detail) => format!("{}: {detail}", problem.title),
        None => problem.title.clone(),
    };
    // What a server says cannot move the terminal's cursor.
    text = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.push_str(&format!(" (status {}", problem.status));
    if let Some(instance) = &problem.instance {
        text.push_str(&format!(", request {instance}"));
    }
    text.push(')');
    match problem.status {
        401 => text.push_str(
            "\nThe token is missing, unknown or expired. Give one with `brink login --token-file FILE`, \
             --token-file FILE or BRINK_TOKEN_FILE.",
        ),
        403 => text.push_str("\nThe token's role does not allow this. Ask an admin for one that does: `brink token create --role ROLE`."),
        429 => text.push_str("\nToo many requests: try again a little later."),
        500..=599 => text.push_str("\nThe fault is the server's: its log has the details under this request."),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn exit_codes() {
        let answer =
            |status| Error::Answer(Problem::new(status, "x", "Title", "detail")).exit() as u8;
        for (status, exit) in [
            (400, 5),
            (401, 4),
            (403, 4),
            (404, 5),
            (409, 5),
            (413, 5),
            (422, 5),
            (429, 1),
            (500, 1),
            (503, 1),
        ] {
            assert_eq!(answer(status), exit, "{status}");
        }
        assert_eq!(Error::Usage(String::new()).exit() as u8, 2);
        assert_eq!(Error::TimedOut(String::new()).exit() as u8, 6);
    }

    #[test]
    fn problems_are_readable() {
        let problem = Problem::new(
            422,
            "import",
            "Component refused",
            "it imports wasi:sockets/tcp",
        )
        .with_instance("01J");
        let error = Error::Answer(problem);
        assert_eq!(
            error.to_string(),
            "Component refused: it imports wasi:sockets/tcp (status 422, request 01J)"
        );
        assert_eq!(error.to_json()["error"]["exit_code"], 5);
        assert_eq!(error.to_json()["error"]["problem"]["status"], 422);
        let denied =
            Error::Answer(Problem::new(401, "token", "Unauthorized", "no token")).to_string();
        assert!(denied.contains("brink login"), "{denied}");
        let colourful = Error::Answer(Problem::new(400, "x", "Title", "a\x1b[31mb\nc")).to_string();
        assert_eq!(colourful, "Title: a [31mb c (status 400)");
    }
}
