//! Which origin is asked, for how long it is left alone when it fails, and what may be asked again.
//!
//! Times are milliseconds since any moment that stays the same; chance is a number that differs each time.

mod breaker;
mod budget;
mod choice;
mod health;
mod repeat;

pub use breaker::{Breaker, Neighbours, Permit, State};
pub use budget::RetryBudget;
pub use choice::{Candidate, Standing, order};
pub use health::{Health, Thresholds, next_check_ms};
pub use repeat::{ATTEMPTS_MAX, Failure, Once, Repeat, repeat};
