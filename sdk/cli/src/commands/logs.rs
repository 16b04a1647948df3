//! `brink logs`.

use crate::{
    args::Logs,
    client::Client,
    error::Error,
    log_lines::{LINES_MAX, fetch, text},
    output::Output,
};
use std::time::Duration;

/// How often new lines are asked for with `--follow`.
const POLL: Duration = Duration::from_millis(500);

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
        tokio::time::sleep(POLL).await;
        lines = fetch(client, module, Some(last), LINES_MAX).await?;
    }
}
