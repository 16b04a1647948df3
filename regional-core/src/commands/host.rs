//! What a command is given besides the records and events of its partition: who calls, and a log.

use crate::logs::Logs;
use brink_protocol::{ModuleName, TenantName, link::LogLine};
use brink_sandbox::{Identity, Level, LogSink};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Who calls a command, and where it runs.
pub(super) struct CommandIdentity {
    pub(super) tenant: TenantName,
    pub(super) subject: Option<String>,
    /// Set when it is asked for the caller.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) region: String,
    pub(super) node: String,
}

impl Identity for CommandIdentity {
    fn tenant(&self) -> String {
        self.tenant.to_string()
    }

    fn subject(&self) -> Option<String> {
        self.asked.store(true, Ordering::Relaxed);
        self.subject.clone()
    }

    fn claims(&self) -> Vec<(String, String)> {
        // They are not sent along: there are none, whoever calls.
        Vec::new()
    }

    fn region(&self) -> String {
        self.region.clone()
    }

    fn pop(&self) -> String {
        self.node.clone()
    }
}

/// Puts a command's lines among those of all modules.
pub(super) struct CommandLog {
    pub(super) logs: Arc<Logs>,
    pub(super) tenant: TenantName,
    pub(super) module: ModuleName,
    pub(super) node: String,
    pub(super) trace_id: Option<String>,
    pub(super) now_ms: u64,
}

impl LogSink for CommandLog {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.logs.add([LogLine {
            at_ms: self.now_ms,
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            place: self.node.clone(),
            level: level.as_str().to_owned(),
            message,
            fields,
            trace_id: self.trace_id.clone(),
        }]);
    }
}
