//! Histograms whose observations go into their buckets at once.
//!
//! The exporter keeps each observation until somebody asks or some seconds have passed: eight bytes and a shared list for
//! each, which a server of 100,000 requests a second feels. Here an observation is two additions.

use metrics::{HistogramFn, Key, SharedString};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Upper bounds of durations (`*_seconds`): 100 us to 10 s, finest where a cache answers.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Upper bounds of sizes (`*_bytes`) and all else: 256 B to 64 MiB.
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
/// Parts of a second that a sum counts.
const PARTS_OF_SECOND: f64 = 1e9;

/// All histograms of a process, by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Histograms(Mutex<BTreeMap<String, Family>>);

/// Those of one name.
#[derive(Debug, Default)]
struct Family {
    meaning: Option<SharedString>,
    /// By their labels as they are written: `a="b",c="d"`.
    by_labels: BTreeMap<String, Arc<Buckets>>,
}

/// One histogram.
#[derive(Debug)]
pub(crate) struct Buckets {
    bounds: &'static [f64],
    /// Observations up to each bound and above the one before it; the last is for those above all.
    counts: Box<[AtomicU64]>,
    /// In parts.
    sum: AtomicU64,
    parts: f64,
}

impl Buckets {
    fn new(name: &str) -> Self {
        let (bounds, parts): (&'static [f64], f64) = if name.ends_with("_seconds") {
            (&SECONDS, PARTS_OF_SECOND)
        } else {
            (&BYTES, 1.0)
        };
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            parts,
        }
    }

    fn put(&self, name: &str, labels: &str, text: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut seen = 0;
        let bounds = self.bounds.iter().map(f64::to_string);
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            seen += count.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {seen}"
            );
        }
        let braced = match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        // Beyond 2⁵³ parts the last digits are lost.
        #[allow(clippy::cast_precision_loss)]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.parts;
        let _ = writeln!(
            text,
            "{name}_sum{braced} {sum}\n{name}_count{braced} {seen}"
        );
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // What is no number, or below zero, adds nothing.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let parts = (value * self.parts) as u64;
        self.sum.fetch_add(parts, Ordering::Relaxed);
    }
}

impl Histograms {
    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a name means.
    pub(crate) fn describe(&self, name: &str, meaning: SharedString) {
        self.families().entry(name.to_owned()).or_default().meaning = Some(meaning);
    }

    /// The histogram of a name and labels: a new one, or the one that is there.
    pub(crate) fn register(&self, key: &Key) -> Arc<Buckets> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value())))
            .collect();
        let mut families = self.families();
        let family = families.entry(key.name().to_owned()).or_default();
        let histogram = family.by_labels.entry(labels.join(","));
        let histogram = histogram.or_insert_with(|| Arc::new(Buckets::new(key.name())));
        Arc::clone(histogram)
    }

    /// Appends all in Prometheus' text format.
    pub(crate) fn put(&self, text: &mut String) {
        for (name, family) in &*self.families() {
            if family.by_labels.is_empty() {
                continue;
            }
            if let Some(meaning) = &family.meaning {
                let meaning = meaning.replace('\\', "\\\\").replace('\n', "\\n");
                let _ = writeln!(text, "# HELP {name} {meaning}");
            }
            let _ = writeln!(text, "# TYPE {name} histogram");
            for (labels, histogram) in &family.by_labels {
                histogram.put(name, labels, text);
            }
        }
    }
}

/// A label's value as the text format has it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Label;

    #[test]
    fn observations_are_in_their_buckets_at_once() {
        let histograms = Histograms::default();
        histograms.describe("x_seconds", "What\ntook".into());
        let plain = histograms.register(&Key::from_name("x_seconds"));
        for value in [0.000_1, 0.000_11, 3.5, 11.0, -1.0, f64::NAN] {
            plain.record(value);
        }
        let labels = vec![Label::new("route", "a \"b\\"), Label::new("n", "1")];
        histograms
            .register(&Key::from_parts("y_bytes", labels))
            .record(257.0);
        let mut text = String::new();
        histograms.put(&mut text);
        for line in [
            "# HELP x_seconds What\\ntook",
            "# TYPE x_seconds histogram",
            // Below zero is in the first bucket, what is no number too: it is above no bound.
            "x_seconds_bucket{le=\"0.0001\"} 3",
            "x_seconds_bucket{le=\"0.00025\"} 4",
            "x_seconds_bucket{le=\"2.5\"} 4",
            "x_seconds_bucket{le=\"5\"} 5",
            "x_seconds_bucket{le=\"10\"} 5",
            "x_seconds_bucket{le=\"+Inf\"} 6",
            "x_seconds_count 6",
            "x_seconds_sum 14.50021",
            "y_bytes_bucket{route=\"a \\\"b\\\\\",n=\"1\",le=\"1024\"} 1",
            "y_bytes_sum{route=\"a \\\"b\\\\\",n=\"1\"} 257",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_name_with_labels_is_one_histogram() {
        let histograms = Histograms::default();
        let key = Key::from_parts("x_seconds", vec![Label::new("a", "b")]);
        histograms.register(&key).record(1.0);
        histograms.register(&key).record(1.0);
        let mut text = String::new();
        histograms.put(&mut text);
        assert!(text.contains("x_seconds_count{a=\"b\"} 2"), "{text}");
    }
}
