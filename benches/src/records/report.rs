//! What the runs showed, as people read it.

use super::load::{Sample, median};
use std::fmt;

/// The runs of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    pub(super) samples: Vec<Sample>,
    /// CPU time of the core's process for each operation, in microseconds.
    pub(super) core_us: Vec<f64>,
    /// The same of this process.
    pub(super) own_us: Vec<f64>,
    /// The same of everything else on the machine: of the engine, above all.
    pub(super) rest_us: Vec<f64>,
}

impl Runs {
    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) at_once: usize,
    pub(super) runs: Runs,
    /// What it is beside: runs of the same rounds.
    pub(super) beside: Option<Runs>,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub struct Report {
    sections: Vec<(String, Vec<Line>)>,
}

impl Report {
    /// Begins a section; its heading says what its figures are of.
    pub(super) fn section(&mut self, heading: String) {
        self.sections.push((heading, Vec::new()));
    }

    pub(super) fn add(&mut self, line: Line) {
        if let Some((_, lines)) = self.sections.last_mut() {
            lines.push(line);
        }
    }

    /// How many lines there are.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.sections.iter().map(|(_, lines)| lines.len()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (heading, lines) in &self.sections {
            writeln!(f, "\n{heading}\n")?;
            writeln!(
                f,
                "| what | at once | per second (least to most) | p50, us | p99, us | CPU, us: core / client / rest | rate beside | p50 added, us |\n|---|---:|---:|---:|---:|---:|---:|---:|"
            )?;
            for line in lines {
                line.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = &self.runs;
        let rates = || runs.samples.iter().map(|sample| sample.rate);
        let least = rates().fold(f64::INFINITY, f64::min);
        let most = rates().fold(0.0, f64::max);
        write!(
            f,
            "| {} | {} | {:.0} ({least:.0} to {most:.0}) | {:.1} | {:.1} | {} / {} / {} |",
            self.what,
            self.at_once,
            runs.middle(|sample| sample.rate),
            runs.middle(|sample| sample.p50_us),
            runs.middle(|sample| sample.p99_us),
            cpu(&runs.core_us),
            cpu(&runs.own_us),
            cpu(&runs.rest_us),
        )?;
        let Some(beside) = &self.beside else {
            return writeln!(f, " | |");
        };
        let pairs = || runs.samples.iter().zip(&beside.samples);
        let ratios = || pairs().map(|(own, other)| own.rate / other.rate);
        let added = median(pairs().map(|(own, other)| own.p50_us - other.p50_us));
        let least = ratios().fold(f64::INFINITY, f64::min);
        let most = ratios().fold(0.0, f64::max);
        writeln!(
            f,
            " {:.2} ({least:.2} to {most:.2}) | {added:.0} |",
            median(ratios())
        )
    }
}

fn cpu(values: &[f64]) -> String {
    if values.is_empty() {
        "-".to_owned()
    } else {
        format!("{:.1}", median(values.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(rates: [f64; 3], p50_us: f64) -> Runs {
        let sample = |rate| Sample {
            rate,
            p50_us,
            p99_us: 9.0,
            count: 1,
        };
        Runs {
            samples: rates.map(sample).to_vec(),
            ..Runs::default()
        }
    }

    #[test]
    fn lines_show_medians_spread_and_what_is_beside() {
        let mut report = Report::default();
        report.section("Heading".to_owned());
        report.add(Line {
            what: "get".to_owned(),
            at_once: 16,
            runs: runs([100.0, 80.0, 90.0], 150.0),
            beside: Some(runs([100.0, 100.0, 100.0], 50.0)),
        });
        let text = report.to_string();
        let expected =
            "| get | 16 | 90 (80 to 100) | 150.0 | 9.0 | - / - / - | 0.90 (0.80 to 1.00) | 100 |\n";
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(report.lines(), 1);
    }
}
