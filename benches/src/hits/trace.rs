//! Seeded traces of requests: which object, and how large it is.

use std::io::{BufWriter, Result, Write};

/// A request of a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) object: u64,
    /// In bytes, with its head: the same at each request.
    pub(super) bytes: u32,
}

/// How a trace's objects are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pattern {
    /// Always the same popularity.
    Zipf { skew: f64 },
    /// Of each hundred requests, one replaces a popular object by a new one.
    Drift { skew: f64 },
    /// Now and then ten thousand objects are asked for once, one after the other.
    Scans { skew: f64 },
    /// Every fourth request is for an object that nobody asks for again.
    OneHit { skew: f64 },
}

/// How large objects are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sizes {
    /// All 4 KiB.
    Equal,
    /// Log-normal around 12 KB, from the least that is possible to 4 MiB.
    LogNormal,
}

/// A trace to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    pub(super) name: &'static str,
    pub(super) pattern: Pattern,
    pub(super) sizes: Sizes,
}

const fn trace(name: &'static str, pattern: Pattern, sizes: Sizes) -> Trace {
    Trace {
        name,
        pattern,
        sizes,
    }
}

/// All traces there are.
pub(super) const TRACES: [Trace; 9] = [
    trace("zipf-1.0-equal", Pattern::Zipf { skew: 1.0 }, Sizes::Equal),
    trace("zipf-0.8", Pattern::Zipf { skew: 0.8 }, Sizes::LogNormal),
    trace("zipf-1.0", Pattern::Zipf { skew: 1.0 }, Sizes::LogNormal),
    trace("drift-equal", Pattern::Drift { skew: 0.9 }, Sizes::Equal),
    trace("drift", Pattern::Drift { skew: 0.9 }, Sizes::LogNormal),
    trace("scans-equal", Pattern::Scans { skew: 0.9 }, Sizes::Equal),
    trace("scans", Pattern::Scans { skew: 0.9 }, Sizes::LogNormal),
    trace("one-hit-equal", Pattern::OneHit { skew: 0.9 }, Sizes::Equal),
    trace("one-hit", Pattern::OneHit { skew: 0.9 }, Sizes::LogNormal),
];

/// Objects of one scan.
const SCAN_OBJECTS: u64 = 10_000;
/// One request in so many begins a scan.
const SCAN_EVERY: u64 = 50_000;
/// One request in so many changes what is popular.
const DRIFT_EVERY: usize = 100;
const EQUAL_BYTES: u32 = 4_096;
const MEDIAN_BYTES: f64 = 12_000.0;
const SIGMA: f64 = 1.5;
const BYTES_MAX: f64 = 4_194_304.0;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits fit.
        #[allow(clippy::cast_precision_loss)]
        let unit = (self.next() >> 11) as f64 / 9_007_199_254_740_992.0;
        unit
    }
}

impl Sizes {
    /// The size of an object, at least `bytes_min`.
    fn of(self, object: u64, bytes_min: u32) -> u32 {
        match self {
            Self::Equal => EQUAL_BYTES.max(bytes_min),
            Self::LogNormal => {
                let mut chance = Chance(object ^ 0x5eed);
                let (a, b) = (chance.unit().max(1e-12), chance.unit());
                let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                let bytes = (MEDIAN_BYTES.ln() + SIGMA * normal).exp();
                // Between the bounds it fits.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let bytes = bytes.clamp(f64::from(bytes_min), BYTES_MAX) as u32;
                bytes
            }
        }
    }
}

/// Ranks by popularity: the sum of all weights up to each.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(objects: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=objects).map(|rank| {
            // Ranks are far below 2⁵².
            #[allow(clippy::cast_precision_loss)]
            let weight = (rank as f64).powf(-skew);
            sum += weight;
            sum
        });
        Self(weights.collect())
    }

    fn rank(&self, chance: &mut Chance) -> usize {
        let at = chance.unit() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|sum| *sum < at)
    }
}

impl Trace {
    /// The trace: `requests` of about `objects` objects, none smaller than `bytes_min`.
    pub(super) fn make(
        &self,
        requests: usize,
        objects: usize,
        bytes_min: u32,
        seed: u64,
    ) -> Vec<Request> {
        let mut chance = Chance(seed);
        let (Pattern::Zipf { skew }
        | Pattern::Drift { skew }
        | Pattern::Scans { skew }
        | Pattern::OneHit { skew }) = self.pattern;
        let zipf = Zipf::new(objects, skew);
        let mut popular: Vec<u64> = (0..objects as u64).collect();
        let mut fresh = objects as u64;
        let mut made = Vec::with_capacity(requests);
        let request = |object| Request {
            object,
            bytes: self.sizes.of(object, bytes_min),
        };
        while made.len() < requests {
            match self.pattern {
                Pattern::Drift { .. } if made.len() % DRIFT_EVERY == 0 => {
                    // Half of them as popular as any, half at any rank.
                    let rank = match chance.below(2) {
                        0 => zipf.rank(&mut chance),
                        _ => usize::try_from(chance.below(objects as u64)).unwrap_or(0),
                    };
                    if let Some(object) = popular.get_mut(rank) {
                        *object = fresh;
                        fresh += 1;
                    }
                }
                Pattern::Scans { .. } if chance.below(SCAN_EVERY) == 0 => {
                    made.extend((fresh..fresh + SCAN_OBJECTS).map(request));
                    fresh += SCAN_OBJECTS;
                }
                Pattern::OneHit { .. } if chance.below(4) == 0 => {
                    made.push(request(fresh));
                    fresh += 1;
                    continue;
                }
                Pattern::Zipf { .. }
                | Pattern::Drift { .. }
                | Pattern::Scans { .. }
                | Pattern::OneHit { .. } => {}
            }
            let object = popular.get(zipf.rank(&mut chance)).copied();
            made.push(request(object.unwrap_or(0)));
        }
        made.truncate(requests);
        made
    }
}

/// Writes a trace as lines of time, object and size.
pub(super) fn write(trace: &[Request], file: std::fs::File) -> Result<()> {
    let mut file = BufWriter::new(file);
    for (time, Request { object, bytes }) in trace.iter().enumerate() {
        writeln!(file, "{time},{},{bytes}", object + 1)?;
    }
    file.flush()
}
