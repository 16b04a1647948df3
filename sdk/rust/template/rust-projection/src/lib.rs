//! Counts the events of each partition by their kind.
//!
//! Commands append events: `brink_sdk::events::append_json("order.placed", &order)`.

use brink_sdk::events::Event;
use brink_sdk::{Problem, Projection, Target, records};

struct Counts;

impl Projection for Counts {
    fn target(source: &str, _event: &Event) -> Option<String> {
        // One partition of counts for each partition of events. None: the event is of no interest.
        Some(source.to_owned())
    }

    fn apply(target: &Target, events: &[Event]) -> Result<(), Problem> {
        for event in events {
            let key = target.key(&event.kind);
            let count = records::get_json::<u64>(&key)?.map_or(0, |entry| entry.value);
            records::put_json(&key, &(count + 1))?;
        }
        Ok(())
    }
}

brink_sdk::projection!(Counts);

#[cfg(test)]
mod tests {
    use super::*;
    use brink_sdk::testing::Platform;

    #[test]
    fn each_event_counts_once() {
        let platform = Platform::new();
        platform.config("target", "counts");
        for kind in ["order.placed", "order.shipped", "order.placed"] {
            platform.event("orders", "ada", kind, &());
        }
        for _ in 0..2 {
            platform.project::<Counts>("orders", "ada").unwrap();
        }
        assert_eq!(platform.read::<u64>("counts", "ada", "order.placed"), Some(2));
    }
}
