//! Structured log lines. They carry the request's trace by themselves; `println!` and `eprintln!` go nowhere.
//!
//! ```
//! use brink_sdk::{log, testing::Platform};
//! let platform = Platform::new();
//! let order = "01J";
//! log::info!("order {order} was placed", lines = 3, currency = "EUR");
//! assert_eq!(platform.log(), ["info order 01J was placed lines=3 currency=EUR"]);
//! ```
//!
//! Never log secrets, tokens, cookies or bodies.

use crate::bindings::module::brink::platform::log as wit;
use crate::host;

pub use crate::{debug, error, info, trace, warn};
pub use wit::Level;

/// Writes a line, at most 16 KiB. At most 1,000 lines a request; what is over is counted and dropped.
pub fn emit(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    host::log::emit(level, message, &fields);
}

/// Writes a line at a level: `log_at!(Level::Info, "text {inline}", field = value, ...)`.
#[macro_export]
macro_rules! log_at {
    ($level:expr, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::log::emit($level, &::std::format!($message), &[$((::std::stringify!($field), ::std::string::ToString::to_string(&$value))),*])
    };
}

/// Writes a line that follows single steps.
#[macro_export]
macro_rules! trace {
    ($($line:tt)*) => { $crate::log_at!($crate::log::Level::Trace, $($line)*) };
}

/// Writes a line for whoever looks for a mistake.
#[macro_export]
macro_rules! debug {
    ($($line:tt)*) => { $crate::log_at!($crate::log::Level::Debug, $($line)*) };
}

/// Writes a line that says what happened.
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { $crate::log_at!($crate::log::Level::Info, $($line)*) };
}

/// Writes a line that says what went wrong and was mended.
#[macro_export]
macro_rules! warn {
    ($($line:tt)*) => { $crate::log_at!($crate::log::Level::Warn, $($line)*) };
}

/// Writes a line that says what went wrong and could not be mended.
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { $crate::log_at!($crate::log::Level::Error, $($line)*) };
}
