//! Modules of this repository and from elsewhere, as their own toolchains build them. Needs `BRINK_GUESTS`, the
//! directory of built guests; without it, these tests have nothing to run.

use crate::host::{ask, load, sandbox};
use brink_sandbox::{Limits, World, inspect};
use bytes::Bytes;
use std::path::PathBuf;

/// The component `name`, if guests were built. A guest that should be there and is not is a failure.
fn built(name: &str) -> Option<Bytes> {
    let dir = PathBuf::from(std::env::var_os("BRINK_GUESTS")?);
    let path = dir.join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => panic!("BRINK_GUESTS is set, but {}: {error}", path.display()),
    }
}

#[tokio::test]
async fn hello() {
    let Some(bytes) = built("hello") else { return };
    assert_eq!(inspect(&bytes).unwrap().world, World::Module);
    let sandbox = sandbox();
    let hello = load(&sandbox, &bytes).await;
    let limits = Limits {
        instance_reuse_max: 3,
        ..Limits::default()
    };
    for _ in 0..4 {
        assert_eq!(ask(&hello, &limits).await.unwrap().status, 200);
    }
}
