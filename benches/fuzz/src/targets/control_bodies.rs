//! Any JSON body of the control API is read or refused.

use super::fields::texts;
use crate::Target;
use brink_protocol::{control, deployment::Route};

pub(crate) const TARGET: Target = Target {
    name: "control_bodies",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"host":"a.example","path":"/b/","target":{"module":"m"}}"#,
        r#"{"path":"/","target":{"origin":"https://o.example:8443"},"when_disconnected":"serve-stale"}"#,
        r#"{"names":["a"],"urls":["https://h/a"],"soft":true}"#,
    ])
}

fn run(bytes: &[u8]) {
    let _ = serde_json::from_slice::<control::Deploy>(bytes);
    let _ = serde_json::from_slice::<control::NewPurge>(bytes);
    let _ = serde_json::from_slice::<control::NewToken>(bytes);
    let _ = serde_json::from_slice::<control::Rollback>(bytes);
    let _ = serde_json::from_slice::<control::ImportLine>(bytes);
    if let Ok(route) = serde_json::from_slice::<Route>(bytes)
        && let Ok(normal) = route.normal()
    {
        assert_eq!(
            normal.clone().normal().as_ref(),
            Ok(&normal),
            "a normal route stays as it is"
        );
    }
}
