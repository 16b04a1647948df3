//! `brink:platform/log`: lines go into the PoP's log and, with the next report, to the core.

use super::run::Run;
use crate::reports::unix_ms;
use brink_protocol::link::LogLine;
use brink_sandbox::{Level, LogSink};
use std::time::SystemTime;

impl LogSink for Run {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        let (tenant, module) = (self.tenant.as_str(), self.module.as_str());
        let trace_id = self.trace.trace_id().to_string();
        macro_rules! tell {
            ($level:ident) => {
                tracing::event!(target: "brink::module", tracing::Level::$level, tenant, module, trace_id, ?fields, "{message}")
            };
        }
        match level {
            Level::Trace => tell!(TRACE),
            Level::Debug => tell!(DEBUG),
            Level::Info => tell!(INFO),
            Level::Warn => tell!(WARN),
            Level::Error => tell!(ERROR),
        }
        if self.platform.link.is_some() {
            self.platform.reports.logged(LogLine {
                at_ms: unix_ms(SystemTime::now()),
                tenant: self.tenant.clone(),
                module: self.module.clone(),
                place: self.platform.pop.as_str().to_owned(),
                level: level.as_str().to_owned(),
                message,
                fields,
                trace_id: Some(trace_id),
            });
        }
    }
}
