//! `brink:platform/identity`: being asked for the caller makes the answer the caller's own.

use super::run::Run;
use brink_sandbox::Identity;

impl Identity for Run {
    fn tenant(&self) -> String {
        self.tenant.as_str().to_owned()
    }

    fn subject(&self) -> Option<String> {
        self.note().private = true;
        self.caller.as_ref().and_then(|c| c.subject.clone())
    }

    fn claims(&self) -> Vec<(String, String)> {
        self.note().private = true;
        self.caller
            .as_ref()
            .map(|c| c.claims.clone())
            .unwrap_or_default()
    }

    fn region(&self) -> String {
        self.platform.progress.region()
    }

    fn pop(&self) -> String {
        self.platform.pop.as_str().to_owned()
    }
}
