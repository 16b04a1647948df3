//! A platform in memory, for tests of guests on the machine of their author: `cargo test`, no component, no core.
//!
//! ```
//! use brink_sdk::{Problem, Request, Response, cache, records::{self, Key}, testing::Platform};
//!
//! fn handle(request: Request) -> Result<Response, Problem> {
//!     let sku = request.query("sku").ok_or_else(|| Problem::bad_request("sku is missing"))?;
//!     let item = records::get(&Key::new("catalog", "items", sku))?.ok_or_else(|| Problem::not_found(sku))?;
//!     cache::lifetime(60);
//!     Ok(Response::new("application/json", item.value))
//! }
//!
//! let platform = Platform::new();
//! platform.record("catalog", "items", "AB-1", &"a shelf");
//! assert_eq!(handle(Request::get("/?sku=AB-1")).unwrap().body(), br#""a shelf""#);
//! assert_eq!(platform.lifetime(), Some(60));
//! assert_eq!(handle(Request::get("/?sku=x")).unwrap_err().status(), 404);
//! ```
//!
//! It is there on every target but `wasm32`. It keeps the platform's rules for records (versions, order, limits of counts),
//! events and commands (all or nothing, stored answers), applies projections and runs workflows; it has no cache, asks for no
//! grants, and nothing ends by its lifetime.

mod background;
pub(crate) mod platform;
mod state;

use crate::message::{Answer, Error, Request};
use serde::{Serialize, de::DeserializeOwned};
use state::{State, with};
use std::marker::PhantomData;
use std::rc::Rc;

/// The platform of the present thread, until it is dropped. One at a time: a second one replaces the first.
#[derive(Debug)]
#[must_use = "the platform is gone when it is dropped"]
pub struct Platform {
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

#[allow(
    clippy::new_without_default,
    reason = "it takes the place of the thread's platform, which a default should not"
)]
impl Platform {
    /// A platform without records, configuration or commands. Its clock stands at 2026-01-01T00:00:00Z, and its random
    /// bytes are the same in every run.
    pub fn new() -> Self {
        with(|state| *state = State::default());
        Self {
            thread: PhantomData,
        }
    }

    /// Sets a value of the configuration.
    pub fn config(&self, name: &str, value: &str) -> &Self {
        with(|state| state.config.insert(name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a record as JSON.
    ///
    /// # Panics
    /// The value has no JSON form.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot seed its records must stop"
    )]
    pub fn record<T: Serialize + ?Sized>(
        &self,
        collection: &str,
        partition: &str,
        sort: &str,
        value: &T,
    ) -> &Self {
        self.bytes(
            collection,
            partition,
            sort,
            &serde_json::to_vec(value).expect("a value with a JSON form"),
        )
    }

    /// Writes a record.
    pub fn bytes(&self, collection: &str, partition: &str, sort: &str, value: &[u8]) -> &Self {
        with(|state| state.put((collection.to_owned(), partition.to_owned()), sort, value));
        self
    }

    /// Reads a record, if it is there and is the JSON expected.
    #[must_use]
    pub fn read<T: DeserializeOwned>(
        &self,
        collection: &str,
        partition: &str,
        sort: &str,
    ) -> Option<T> {
        let key = (collection.to_owned(), partition.to_owned());
        let value = with(|state| state.partitions.get(&key)?.get(sort))?.value;
        serde_json::from_slice(&value).ok()
    }

    /// Deploys a command. [`crate::execute`] makes one of a typed function.
    pub fn command(
        &self,
        name: &str,
        command: impl Fn(&[u8]) -> Result<Vec<u8>, Vec<u8>> + 'static,
    ) -> &Self {
        with(|state| state.commands.insert(name.to_owned(), Rc::new(command)));
        self
    }

    /// Answers outbound requests.
    pub fn outbound(&self, server: impl Fn(&Request) -> Result<Answer, Error> + 'static) -> &Self {
        with(|state| state.outbound = Some(Rc::new(server)));
        self
    }

    /// What follows runs in a command over this partition: [`crate::events::append`] appends to its stream.
    pub fn within(&self, collection: &str, partition: &str) -> &Self {
        with(|state| {
            state.appended = 0;
            state.within = Some((collection.to_owned(), partition.to_owned()));
        });
        self
    }

    /// Sets the clock.
    pub fn now_ms(&self, now_ms: u64) -> &Self {
        with(|state| state.now_ms = now_ms);
        self
    }

    /// Sets the authenticated caller.
    pub fn subject(&self, subject: &str) -> &Self {
        with(|state| state.subject = Some(subject.to_owned()));
        self
    }

    /// The names that were given to [`crate::cache::tag`].
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        with(|state| state.tags.clone())
    }

    /// The last lifetime that was given to [`crate::cache::lifetime`], in seconds.
    #[must_use]
    pub fn lifetime(&self) -> Option<u32> {
        with(|state| state.lifetime)
    }

    /// Whether [`crate::cache::no_store`] was called.
    #[must_use]
    pub fn no_store(&self) -> bool {
        with(|state| state.no_store)
    }

    /// The names that were given to [`crate::cache::purge`].
    #[must_use]
    pub fn purged(&self) -> Vec<String> {
        with(|state| state.purged.clone())
    }

    /// The log's lines: level, message, fields.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        with(|state| state.log.clone())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        with(|state| *state = State::default());
    }
}
