//! SIGTERM and SIGINT: the first drains, a second ends at once.

use crate::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first signal; ends the process at the second.
///
/// # Errors
/// The system does not let signals be taken.
#[cfg(unix)]
pub fn stop_on_signal(stop: CancellationToken) -> Result<JoinHandle<()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Error::Signals(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("draining");
            stop.cancel();
        }
    }))
}

/// Cancels `stop` at the first signal; ends the process at the second.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn stop_on_signal(stop: CancellationToken) -> Result<JoinHandle<()>, Error> {
    Ok(tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            stop.cancel();
        }
    }))
}
