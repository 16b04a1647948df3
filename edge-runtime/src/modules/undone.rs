//! Why the core did not do what a run asked of it, in the words of each interface.

use super::run::Run;
use crate::link::LinkError;
use brink_protocol::{link::CommandError, record::RecordError, workflow::WorkflowError};

/// Whether a question changes something: then who has no answer does not know whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    ToRead,
    ToChange,
}

/// Why the core did not do it.
pub(super) enum Undone {
    Invalid(String),
    Denied(String),
    Unavailable(String),
}

impl Run {
    /// What the run is told; noted down, because what it answers without the core holds only for now.
    pub(super) fn undone(&self, error: LinkError, asks: Asks) -> Undone {
        if error.is_passing() {
            let mut collected = self.note();
            collected.core_away = true;
            collected.no_store = true;
        }
        match error {
            LinkError::Refused {
                status: 400,
                detail,
            } => Undone::Invalid(detail),
            LinkError::Refused {
                status: 401 | 403 | 404,
                detail,
            } => Undone::Denied(detail),
            error if asks == Asks::ToChange && error.may_have_happened() => {
                Undone::Unavailable(format!("{error}; it may or may not have happened"))
            }
            error => Undone::Unavailable(error.to_string()),
        }
    }
}

macro_rules! told_as {
    ($($error:ident),*) => {$(
        impl From<Undone> for $error {
            fn from(undone: Undone) -> Self {
                match undone {
                    Undone::Invalid(text) => Self::Invalid(text),
                    Undone::Denied(text) => Self::Denied(text),
                    Undone::Unavailable(text) => Self::Unavailable(text),
                }
            }
        }
    )*};
}

told_as!(RecordError, CommandError, WorkflowError);
