//! `brink logs`.

use crate::{
    args::Logs,
    client::Client,
    error::Error,
    log_lines::{LINES_MAX, fetch, text},
    output::Output,
};
use std::time::Duration;

/// Between two questions with `--follow` when there was nothing new.
const PAUSE: Duration = Duration::from_millis(200);

/// Shows the last lines, and with `--follow` those that come.
pub(super) async fn run(args: &Logs, client: &Client, output: Output) -> Result<(), Error> {
    let module = args.name.as_ref();
    let mut lines = fetch(client, module, None, args.limit).await?;
    let mut last = 0;
    loop {
        for line in &lines {
            output.line(line, text)?;
            last = line.number;
        }
        if !args.follow {
            return Ok(());
        }
        if lines.is_empty() {
            // A proxy may cut the wait short; it must not make us ask without a pause.
            tokio::time::sleep(PAUSE).await;
        }
        lines = fetch(client, module, Some(last), LINES_MAX).await?;
    }
}
