//! Log lines: those of `tracing-subscriber`, with who wrote them and to which trace they belong.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Config, LogFormat};
use crate::error::Error;
use crate::trace_context::Ids;

/// The layer that writes log lines.
pub(crate) fn layer<S, W>(
    config: &Config,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| Error::LogFilter {
        filter: config.log_filter.clone(),
        reason: error.to_string(),
    })?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    Ok(match config.log_format {
        LogFormat::Json => {
            let quoted = |text: &str| format!("\"{}\"", escaped(text));
            let who = format!(
                "\"service\":{},\"node\":{},",
                quoted(&config.service),
                quoted(&config.node)
            );
            let format = tracing_subscriber::fmt::format()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(true);
            let layer = layer
                .fmt_fields(JsonFields::new())
                .event_format(JsonLine { format, who });
            layer.with_filter(filter).boxed()
        }
        LogFormat::Text => {
            let format = tracing_subscriber::fmt::format().with_ansi(false);
            layer
                .event_format(TextLine { format })
                .with_filter(filter)
                .boxed()
        }
    })
}

/// What may stand between quotes in JSON (RFC 8259 §7).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\0'..='\x1f' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => escaped.push(character),
        }
    }
    escaped
}

struct JsonLine {
    format: Format<Json>,
    /// `"service":"..","node":"..",`
    who: String,
}

struct TextLine {
    format: Format<Full>,
}

/// The ids of the innermost span that belongs to a trace.
fn ids<S, N>(context: &FmtContext<'_, S, N>) -> Option<Ids>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    context
        .event_scope()?
        .find_map(|span| span.extensions().get::<Ids>().copied())
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        // An object with at least a time stamp: ours go in front of it.
        let rest = line.strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, "{{{}", self.who)?;
        if let Some(Ids { trace_id, span_id }) = ids(context) {
            write!(
                writer,
                "\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\","
            )?;
        }
        writer.write_str(rest)
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.trim_end_matches('\n'))?;
        if let Some(Ids { trace_id, span_id }) = ids(context) {
            write!(writer, " trace_id={trace_id} span_id={span_id}")?;
        }
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::trace_context::TraceContext;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(config: &Config, log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = layer(config, move || writer.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn config(log_format: LogFormat, log_filter: &str) -> Config {
        Config {
            service: "brink-edge".to_owned(),
            node: "a\"b\nc'\\é".to_owned(),
            log_format,
            log_filter: log_filter.to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn json_lines_say_who_and_which_trace() {
        let parent = TraceContext::root();
        let lines = lines(&config(LogFormat::Json, "info"), || {
            tracing::info!(answer = 42, "outside");
            let span = tracing::info_span!("exchange", method = "GET");
            let here = TraceContext::begin(Some(&parent), &span);
            span.in_scope(|| {
                tracing::info_span!("inner").in_scope(|| tracing::warn!("inside"));
                tracing::debug!("not this one");
            });
            assert_eq!(here.trace_id(), parent.trace_id());
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(first["service"], "brink-edge");
        assert_eq!(first["node"], "a\"b\nc'\\é");
        assert_eq!(first["answer"], 42);
        assert_eq!(first["message"], "outside");
        assert_eq!(first.get("trace_id"), None);
        let second: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(second["trace_id"], parent.trace_id().to_string());
        assert_eq!(second["span_id"].as_str().unwrap().len(), 16);
        assert_eq!(second["spans"][0]["method"], "GET");
        assert_eq!(second["level"], "WARN");
    }

    #[test]
    fn text_lines_too() {
        let lines = lines(&config(LogFormat::Text, "info"), || {
            let span = tracing::info_span!("exchange");
            let here = TraceContext::begin(None, &span);
            span.in_scope(|| tracing::info!("hello"));
            span.in_scope(|| tracing::info!(trace = %here.trace_id(), "again"));
        });
        assert_eq!(lines.len(), 2);
        let (_, id) = lines[0].split_once("trace_id=").unwrap();
        assert!(lines[1].contains(&format!("trace={}", id.split(' ').next().unwrap())));
    }

    #[test]
    fn filters_are_checked() {
        let off = lines(&config(LogFormat::Json, "off"), || tracing::error!("no"));
        assert!(off.is_empty());
        let bad = config(LogFormat::Json, "a=b=c");
        let layer = layer::<tracing_subscriber::Registry, _>(&bad, io::stderr);
        assert!(matches!(layer.err(), Some(Error::LogFilter { .. })));
    }
}
