//! Any JSON body of the control API is read or refused.
#![no_main]

use brink_protocol::{control, deployment::Route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<control::Deploy>(bytes);
    let _ = serde_json::from_slice::<control::NewPurge>(bytes);
    let _ = serde_json::from_slice::<control::NewToken>(bytes);
    let _ = serde_json::from_slice::<control::Rollback>(bytes);
    let _ = serde_json::from_slice::<control::ImportLine>(bytes);
    if let Ok(route) = serde_json::from_slice::<Route>(bytes)
        && let Ok(normal) = route.normal()
    {
        assert_eq!(normal.clone().normal().as_ref(), Ok(&normal), "a normal route stays as it is");
    }
});
