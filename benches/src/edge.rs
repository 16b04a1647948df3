//! An edge as `brink-edge run` makes it, whose coherence can be switched off: no shipped program can do that.

use anyhow::Result;
use brink_edge::{config::File, edge::Assembled};
use std::{path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Which edge.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Its configuration file
    #[arg(long)]
    config: PathBuf,
    /// Hits are not held against the changes, nor the lease looked at
    #[arg(long)]
    without_coherence: bool,
    /// Written when everything answers
    #[arg(long)]
    ready_file: PathBuf,
}

/// Serves until the process is killed.
///
/// # Errors
/// The file, an address or a directory cannot be used.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut settings = File::read(&arguments.config)?.settings()?;
    settings.cache.coherence = !arguments.without_coherence;
    // As in `brink-edge`: what metrics cost is part of a request.
    let telemetry = Arc::new(brink_telemetry::init(&settings.telemetry)?);
    let render = Arc::new(move || telemetry.render_metrics());
    let assembled = Assembled::new(settings, render).await?;
    assembled
        .run(CancellationToken::new(), Some(arguments.ready_file))
        .await?;
    Ok(())
}
