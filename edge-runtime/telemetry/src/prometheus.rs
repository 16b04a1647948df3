//! The metrics registry, in Prometheus' text format.

use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::error::Error;
use crate::histograms::Histograms;

/// How often the exporter puts its own things in order.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    rest: PrometheusHandle,
    histograms: Arc<Histograms>,
}

/// Counters and gauges are the exporter's, histograms ours.
struct Registry {
    rest: PrometheusRecorder,
    histograms: Arc<Histograms>,
}

impl Recorder for Registry {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.rest.describe_counter(name, unit, meaning);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.rest.describe_gauge(name, unit, meaning);
    }

    fn describe_histogram(&self, name: KeyName, _unit: Option<Unit>, meaning: SharedString) {
        self.histograms.describe(name.as_str(), meaning);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.rest.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.rest.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.register(key))
    }
}

/// The process's registry: installed by the first caller, shared by the others.
pub(crate) fn install() -> Result<Metrics, Error> {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock();
    if let Some(metrics) = INSTALLED.get() {
        return Ok(metrics.clone());
    }
    let rest = PrometheusBuilder::new().build_recorder();
    let metrics = Metrics {
        rest: rest.handle(),
        histograms: Arc::default(),
    };
    let histograms = Arc::clone(&metrics.histograms);
    metrics::set_global_recorder(Registry { rest, histograms })
        .map_err(|error| Error::Metrics(error.to_string()))?;
    let upkeep = metrics.rest.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })
        .map_err(Error::Start)?;
    Ok(INSTALLED.get_or_init(|| metrics).clone())
}

/// All metrics, with the process's own behind them.
pub(crate) fn render(metrics: &Metrics) -> String {
    let mut text = metrics.rest.render();
    metrics.histograms.put(&mut text);
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
