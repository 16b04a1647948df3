//! Log lines of a run, within their limits: what a module logs, and what it writes to stdout and stderr.

use crate::context::{Level, LogSink};
use bytes::Bytes;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// Longest line with its fields, in bytes. What is over is cut.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Most lines of one run. What is over is counted and dropped.
pub const LOG_LINES_MAX: u32 = 1000;
/// Most fields of one line. What is over is dropped.
pub const LOG_FIELDS_MAX: usize = 64;

/// The lines of one store's runs, one run after the other.
pub(crate) struct Lines(Mutex<State>);

struct State {
    sink: Arc<dyn LogSink>,
    left: u32,
    dropped: u64,
    /// Begun lines of stdout and stderr.
    begun: [Vec<u8>; 2],
}

/// Which of the two standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Lines {
    pub(crate) fn new(sink: Arc<dyn LogSink>) -> Self {
        Self(Mutex::new(State {
            sink,
            left: LOG_LINES_MAX,
            dropped: 0,
            begun: [Vec::new(), Vec::new()],
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins: its lines go to `sink`.
    pub(crate) fn start(&self, sink: Arc<dyn LogSink>) {
        let mut state = self.state();
        state.sink = sink;
        state.left = LOG_LINES_MAX;
        state.dropped = 0;
        state.begun.iter_mut().for_each(Vec::clear);
    }

    /// The run has ended: begun lines are lines now, and what was dropped is told.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        for stream in [Stream::Stdout, Stream::Stderr] {
            state.end_line(stream);
        }
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            state.sink.emit(
                Level::Warn,
                format!("{dropped} log lines over the limit of {LOG_LINES_MAX} a run were dropped"),
                Vec::new(),
            );
        }
    }

    /// One line.
    pub(crate) fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.state().emit(level, message, fields);
    }

    /// Bytes of a standard stream: a line ends with `\n`.
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let begun = state.begun(stream);
            let room = LOG_LINE_BYTES_MAX.saturating_sub(begun.len());
            begun.extend_from_slice(text.get(..room).unwrap_or(text));
            if ended {
                state.end_line(stream);
            }
        }
    }
}

impl State {
    fn begun(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.begun;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.begun(stream));
        let (level, name) = match stream {
            Stream::Stdout => (Level::Info, "stdout"),
            Stream::Stderr => (Level::Warn, "stderr"),
        };
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if !line.is_empty() {
            let text = String::from_utf8_lossy(line).into_owned();
            self.emit(level, text, vec![("stream".into(), name.into())]);
        }
    }

    fn emit(&mut self, level: Level, mut message: String, mut fields: Vec<(String, String)>) {
        let Some(left) = self.left.checked_sub(1) else {
            self.dropped += 1;
            return;
        };
        self.left = left;
        let mut room = LOG_LINE_BYTES_MAX;
        cut(&mut message, &mut room);
        fields.truncate(LOG_FIELDS_MAX);
        for (name, value) in &mut fields {
            cut(name, &mut room);
            cut(value, &mut room);
        }
        self.sink.emit(level, message, fields);
    }
}

/// Cuts `text` to the room that is left, at a character's boundary.
fn cut(text: &mut String, room: &mut usize) {
    if text.len() > *room {
        text.truncate(text.floor_char_boundary(*room));
        *room = 0;
    } else {
        *room -= text.len();
    }
}

/// Standard output or standard error of an instance.
#[derive(Clone)]
pub(crate) struct Stdio {
    pub(crate) lines: Arc<Lines>,
    pub(crate) stream: Stream,
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE_BYTES_MAX)
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lines.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Level, String, usize)>>);

    impl LogSink for Kept {
        fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
            self.0.lock().unwrap().push((level, message, fields.len()));
        }
    }

    fn kept(write: impl FnOnce(&Lines)) -> Vec<(Level, String, usize)> {
        let sink = Arc::new(Kept::default());
        let lines = Lines::new(sink.clone());
        write(&lines);
        lines.finish();
        sink.0.lock().unwrap().clone()
    }

    #[test]
    fn streams_become_lines() {
        let kept = kept(|lines| {
            lines.write(Stream::Stdout, b"on");
            lines.write(Stream::Stderr, b"other\r\n");
            lines.write(Stream::Stdout, b"e\n\ntwo\nrest \xff");
        });
        let kept: Vec<_> = kept.iter().map(|(l, m, _)| (*l, m.as_str())).collect();
        assert_eq!(
            kept,
            [
                (Level::Warn, "other"),
                (Level::Info, "one"),
                (Level::Info, "two"),
                (Level::Info, "rest \u{fffd}"),
            ]
        );
    }

    #[test]
    fn limits() {
        let kept = kept(|lines| {
            let fields = vec![("a".to_owned(), "b".to_owned()); 100];
            lines.emit(Level::Info, "é".repeat(LOG_LINE_BYTES_MAX), fields);
            for _ in 0..LOG_LINES_MAX + 4 {
                lines.write(Stream::Stdout, b"x\n");
            }
        });
        assert_eq!(kept.len(), LOG_LINES_MAX as usize + 1);
        let (_, message, fields) = kept.first().unwrap();
        assert_eq!(
            (message.len(), *fields),
            (LOG_LINE_BYTES_MAX, LOG_FIELDS_MAX)
        );
        let (level, message, _) = kept.last().unwrap();
        assert_eq!(*level, Level::Warn);
        assert_eq!(
            message,
            "5 log lines over the limit of 1000 a run were dropped"
        );
    }
}
