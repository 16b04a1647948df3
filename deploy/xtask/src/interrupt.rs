//! Asks to stop: Ctrl-C, SIGTERM, a closed terminal.

use anyhow::{Context, Result, bail};
use signal_hook::{consts, flag};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on signals to stop are noted instead of ending this program at once.
///
/// # Errors
/// The system does not let us.
pub fn watch() -> Result<()> {
    let requested = REQUESTED.get_or_init(Arc::default);
    for signal in [consts::SIGINT, consts::SIGTERM, consts::SIGHUP] {
        flag::register(signal, Arc::clone(requested)).context("signals cannot be watched")?;
    }
    Ok(())
}

/// Whether somebody asked to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED
        .get()
        .is_some_and(|requested| requested.load(Ordering::Relaxed))
}

/// Ends what runs if somebody asked to stop.
///
/// # Errors
/// Somebody asked to stop.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
