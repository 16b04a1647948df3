//! A program that ends with us, and takes its data along.
//!
//! A shell beside it waits at a pipe that only we hold: signals for the program go through it, and its end comes
//! however we went. No code of ours runs between fork and exec, and it does not matter which thread starts the program.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

/// `$1` is removed when the parent has gone; the rest is the program. Each line of the input is a signal for it.
const SCRIPT: &str = r#"
data=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- & program=$!
(
  while read -r signal <&3; do kill -"$signal" $program; done
  trap '' TERM
  kill -KILL $program
  [ -z "$data" ] || { sleep 1; rm -rf "$data"; }
) & keeper=$!
wait $program; status=$?
kill -TERM $keeper
exit $status
"#;

/// What is sent to a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// End now.
    Kill,
    /// Come to an end.
    Terminate,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

/// The program. Dropped: it is killed.
#[derive(Debug)]
pub(crate) struct Bound {
    child: Child,
    /// None: it has ended.
    signals: Option<ChildStdin>,
}

impl Bound {
    /// Starts `command`, with its output added to `log`. `data` is removed when our process ends before this is dropped.
    pub(crate) fn start(command: &Command, log: File, data: Option<&Path>) -> io::Result<Self> {
        let mut outer = Command::new("sh");
        outer.args(["-c", SCRIPT, "sh"]);
        outer.arg(data.unwrap_or(Path::new("")));
        outer.arg(command.get_program()).args(command.get_args());
        let mut child = outer
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for us alone.
            .process_group(0)
            .spawn()?;
        let signals = child.stdin.take();
        Ok(Self { child, signals })
    }

    /// How it ended; none while it runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends a signal to the program. Nothing happens if it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let line = match signal {
            Signal::Kill => "KILL\n",
            Signal::Terminate => "TERM\n",
            Signal::Stop => "STOP\n",
            Signal::Continue => "CONT\n",
        };
        if let Some(mut signals) = self.signals.as_ref() {
            let _ = signals.write_all(line.as_bytes());
        }
    }

    /// Kills it at once, as a power failure would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::Kill);
        let _ = self.child.wait();
        self.signals = None;
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.kill();
    }
}
