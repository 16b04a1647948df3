//! The metrics registry, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::Error;

/// Buckets of durations (`*_seconds`): 100 us to 10 s, finest where a cache answers.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Buckets of sizes (`*_bytes`): 256 B to 64 MiB.
const BYTES: [f64; 10] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// How often observations are put into their buckets; until then they pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's registry: installed by the first caller, shared by the others.
pub(crate) fn install() -> Result<PrometheusHandle, Error> {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock();
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let failed = |error: &dyn std::fmt::Display| Error::Metrics(error.to_string());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES))
        .map_err(|error| failed(&error))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(&error))?;
    let upkeep = handle.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })
        .map_err(Error::Start)?;
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

/// All metrics, with the process's own behind them.
pub(crate) fn render(handle: &PrometheusHandle) -> String {
    let mut text = handle.render();
    put_process(&mut text);
    text
}

/// The usual `process_*` metrics, as far as the system tells them.
fn put_process(text: &mut String) {
    let mut put = |name: &str, kind: &str, value: f64| {
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    };
    if let Some((cpu_seconds, resident_bytes)) = process_stat() {
        put("process_cpu_seconds_total", "counter", cpu_seconds);
        put("process_resident_memory_bytes", "gauge", resident_bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        put(
            "process_open_fds",
            "gauge",
            f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)),
        );
    }
}

/// CPU time in seconds and resident memory in bytes, of proc(5). Linux counts in hundredths of a second
/// and pages of 4096 bytes on every machine that Brink is built for.
fn process_stat() -> Option<(f64, f64)> {
    const TICKS_PER_SECOND: f64 = 100.0;
    const PAGE_BYTES: f64 = 4096.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may hold anything, in parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<f64> = fields
        .split_ascii_whitespace()
        .map(|it| it.parse().unwrap_or(0.0))
        .collect();
    let ticks = fields.get(11)? + fields.get(12)?;
    Some((ticks / TICKS_PER_SECOND, fields.get(21)? * PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_registry_with_buckets() {
        let first = install().unwrap();
        let second = install().unwrap();
        metrics::counter!("telemetry_test_total", "route" => "a").increment(3);
        metrics::histogram!("telemetry_test_seconds").record(0.003);
        let text = render(&second);
        for line in [
            "telemetry_test_total{route=\"a\"} 3",
            "telemetry_test_seconds_bucket{le=\"0.0025\"} 0",
            "telemetry_test_seconds_bucket{le=\"0.005\"} 1",
            "telemetry_test_seconds_count 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        let resident = text
            .lines()
            .find_map(|it| it.strip_prefix("process_resident_memory_bytes "));
        assert!(resident.unwrap().parse::<f64>().unwrap() > 1e6, "{text}");
        assert!(render(&first).contains("telemetry_test_total"));
    }
}
