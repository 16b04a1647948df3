//! A planet in one thread: cores, a thousand PoPs, clients, a bad network and crashes, all from one seed; and the checker
//! that holds the promises of coherence against every answer that a client saw.
//!
//! [`history`] and [`checker`] also serve runs with real processes: whoever records the same events is held to the same
//! promises.

pub mod checker;
pub mod history;
