//! The cache: responses in memory and on disk, kept coherent by the feed.
//!
//! ```text
//! lookup -> Hit(answer)            send it; run `answer.revalidate` beside, if there is one
//!        -> Forward(fill)          prepare(headers), ask module or origin, then one of
//!                                    complete(..) -> Answer   the body is at hand
//!                                    pass(..)                 it is streamed, or not to be stored
//!                                    failed(..)               no answer came; maybe a stale one may be served
//!        -> Unavailable(problem)
//! ```

mod config;
mod engine;
mod error;
mod exchange;
mod fill;

pub use config::Config;
pub use engine::{Applied, Cache, Figures};
pub use error::Error;
pub use exchange::{Answer, CacheRequest, Dependencies, Lookup};
pub use fill::Fill;
