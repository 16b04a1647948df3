//! What telemetry is told.

use serde::Deserialize;

/// Logs, metrics and traces of one process.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What runs: `brink-edge`, `brink-core`. In every log line, and OpenTelemetry's `service.name`.
    pub service: String,
    /// Which one of them: a PoP's or a node's name. In every log line, and OpenTelemetry's `service.instance.id`.
    pub node: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: `info`, `off`, `warn,brink_edge=debug`, ... (the directives of `tracing_subscriber::EnvFilter`).
    /// Spans below it cost next to nothing.
    pub log_filter: String,
    /// Base URL of an OpenTelemetry collector that takes OTLP over plain HTTP with protobuf, such as
    /// `http://127.0.0.1:4318`; `/v1/traces` is appended. A collector elsewhere is reached through one beside
    /// this process. `None`: no spans are exported.
    pub otlp_endpoint: Option<String>,
    /// Share of the traces begun here that is exported, 0 to 1. Traces begun elsewhere keep their sender's decision.
    pub sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: "brink".to_owned(),
            node: String::new(),
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// One line of text, for people.
    Text,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn defaults_keys_and_mistakes() {
        let parse = |text| toml::from_str::<Config>(text);
        assert_eq!(parse("").unwrap(), Config::default());
        let text = r#"
            service = "brink-edge"
            node = "ams"
            log_format = "text"
            log_filter = "warn"
            otlp_endpoint = "http://127.0.0.1:4318"
            sample_ratio = 0.1
        "#;
        let config = parse(text).unwrap();
        assert_eq!(
            (config.node.as_str(), config.log_format),
            ("ams", LogFormat::Text)
        );
        assert!(
            parse("log_fliter = 'x'")
                .unwrap_err()
                .to_string()
                .contains("log_fliter")
        );
        assert!(parse("log_format = 'xml'").is_err());
    }
}
