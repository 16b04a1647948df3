//! The world `projection`: code that makes records of events, at the regional core.

use crate::bindings::module::brink::platform::event_types;
use crate::config;
use crate::events::Event;
use crate::problem::Problem;
use crate::records::{Key, Range};

/// The partition that a run of a projection reads and writes, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The partition whose events are applied.
    pub source: String,
    /// The target collection: the deployment's configuration value `target`.
    pub collection: String,
    /// What [`Projection::target`] named.
    pub partition: String,
}

impl Target {
    /// A record of the partition.
    #[must_use]
    pub fn key(&self, sort: impl Into<String>) -> Key {
        Key::new(&*self.collection, &*self.partition, sort)
    }

    /// The records of the partition.
    pub fn range(&self) -> Range {
        Range::of(&*self.collection, &*self.partition)
    }
}

/// A projection. [`crate::projection!`] makes a component of a type that implements it.
///
/// The records that `apply` writes are committed together with how far the stream has been read: each event takes effect exactly
/// once. A run may be repeated before it counts; it has no other effects than its writes.
pub trait Projection {
    /// Which partition of the target collection an event of the partition `source` changes; none: the event is of no
    /// interest. It says the same whenever it is asked.
    fn target(source: &str, event: &Event) -> Option<String>;

    /// Applies events of one source partition, in order, all of the same target.
    ///
    /// # Errors
    /// They are tried again with growing waits; then the first of them is put among the dead letters with the problem, and the
    /// rest goes on.
    fn apply(target: &Target, events: &[Event]) -> Result<(), Problem>;
}

/// Asks a projection for an event's target. [`crate::projection!`] calls it.
#[doc(hidden)]
#[must_use]
pub fn target<P: Projection>(source: &str, event: event_types::Event) -> Option<String> {
    P::target(source, &Event::of(event))
}

/// Applies events with the host's types. [`crate::projection!`] calls it.
#[doc(hidden)]
pub fn apply<P: Projection>(
    source: String,
    events: Vec<event_types::Event>,
) -> Result<(), Vec<u8>> {
    let events: Vec<Event> = events.into_iter().map(Event::of).collect();
    apply_events::<P>(source, &events).map_err(|problem| problem.to_bytes())
}

/// Applies events.
pub(crate) fn apply_events<P: Projection>(source: String, events: &[Event]) -> Result<(), Problem> {
    let Some(partition) = events.first().and_then(|event| P::target(&source, event)) else {
        return Ok(());
    };
    let collection = config::get("target").ok_or_else(|| {
        Problem::new(500, "Misconfigured").detail("the configuration has no value `target`")
    })?;
    let target = Target {
        source,
        collection,
        partition,
    };
    P::apply(&target, events)
}

/// Makes a component of world `projection` from a type that implements [`Projection`].
///
/// ```
/// use brink_sdk::{Problem, Projection, Target, events::Event, records};
/// struct OrdersByCustomer;
/// impl Projection for OrdersByCustomer {
///     fn target(_source: &str, event: &Event) -> Option<String> {
///         (event.kind == "order.placed").then(|| event.json::<(String, String)>().ok()).flatten().map(|(customer, _)| customer)
///     }
///     fn apply(target: &Target, events: &[Event]) -> Result<(), Problem> {
///         for event in events {
///             let (_, order) = event.json::<(String, String)>()?;
///             records::put_json(&target.key(&order), &event.at_ms)?;
///         }
///         Ok(())
///     }
/// }
/// brink_sdk::projection!(OrdersByCustomer);
/// # let platform = brink_sdk::testing::Platform::new();
/// # platform.config("target", "by-customer").event("orders", "ams", "order.placed", &("ada", "o-1"));
/// # platform.project::<OrdersByCustomer>("orders", "ams").unwrap();
/// # assert!(platform.read::<u64>("by-customer", "ada", "o-1").is_some());
/// ```
#[macro_export]
macro_rules! projection {
    ($projection:ty) => {
        const _: () = {
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
            mod bindings {
            // The part of wit/platform.wit that a projection exports; a test holds it to that file.
            $crate::wit_bindgen::generate!({
                inline: r#"
package brink:platform@0.1.0;

interface event-types {
    record event {
        number: u64,
        kind: string,
        at-ms: u64,
        payload: list<u8>,
    }
}

world projection {
    use event-types.{event};

    export target: func(partition: string, event: event) -> option<string>;
    export apply: func(partition: string, events: list<event>) -> result<_, list<u8>>;
}
"#,
                world: "projection",
                runtime_path: "::brink_sdk::wit_bindgen::rt",
                with: { "brink:platform/event-types@0.1.0": ::brink_sdk::bindings::module::brink::platform::event_types },
            });

            pub struct Component;

            #[cfg(target_arch = "wasm32")]
            export!(Component);
            }

            impl bindings::Guest for bindings::Component {
                fn target(
                    partition: ::std::string::String,
                    event: $crate::bindings::module::brink::platform::event_types::Event,
                ) -> ::core::option::Option<::std::string::String> {
                    $crate::project_target::<$projection>(&partition, event)
                }

                fn apply(
                    partition: ::std::string::String,
                    events: ::std::vec::Vec<$crate::bindings::module::brink::platform::event_types::Event>,
                ) -> ::core::result::Result<(), ::std::vec::Vec<u8>> {
                    $crate::project_apply::<$projection>(partition, events)
                }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contract;
    use crate::records;
    use crate::testing::Platform;

    struct Counts;

    impl Projection for Counts {
        fn target(source: &str, event: &Event) -> Option<String> {
            (event.kind != "noise").then(|| source.to_owned())
        }

        fn apply(target: &Target, events: &[Event]) -> Result<(), Problem> {
            let key = target.key("count");
            let count = records::get_json::<usize>(&key)?.map_or(0, |entry| entry.value);
            if events.iter().any(|event| event.kind == "bad") {
                return Err(Problem::unprocessable("a bad event"));
            }
            records::put_json(&key, &(count + events.len()))?;
            Ok(())
        }
    }

    #[test]
    fn the_world_is_that_of_the_contract() {
        contract::check(include_str!("projection.rs"), "projection");
    }

    #[test]
    fn events_of_interest_are_applied_once() {
        let platform = Platform::new();
        platform.event("orders", "a", "placed", &1);
        let error = platform.project::<Counts>("orders", "a").unwrap_err();
        assert!(error.to_string().contains("target"), "{error}");
        platform.config("target", "counts");
        platform
            .event("orders", "a", "noise", &2)
            .event("orders", "a", "placed", &3);
        for _ in 0..2 {
            assert_eq!(platform.project::<Counts>("orders", "a"), Ok(()));
        }
        assert_eq!(platform.read::<u64>("counts", "a", "count"), Some(2));
        platform.event("orders", "a", "bad", &4);
        let problem = platform.project::<Counts>("orders", "a").unwrap_err();
        assert_eq!(problem.status(), 422);
        assert_eq!(platform.read::<u64>("counts", "a", "count"), Some(2));
    }

    #[test]
    fn problems_are_handed_to_the_host() {
        let _platform = Platform::new();
        let event = event_types::Event {
            number: 1,
            kind: "bad".to_owned(),
            at_ms: 0,
            payload: Vec::new(),
        };
        let refused = apply::<Counts>("a".to_owned(), vec![event]).unwrap_err();
        assert_eq!(Problem::from_bytes(&refused).unwrap().status(), 500);
        assert_eq!(apply::<Counts>("a".to_owned(), Vec::new()), Ok(()));
    }
}
