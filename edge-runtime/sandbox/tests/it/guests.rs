//! Modules of this repository, as their own toolchain builds them. Needs `BRINK_GUESTS`, the directory of built
//! components (`cargo xtask test` sets it); without it these tests have nothing to run.

use crate::host::{self, context, load, sandbox};
use brink_sandbox::{
    Component, Config, Context, Grants, Limits, RequestAction, RequestHead, RunError, Sandbox,
    World, inspect,
};
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
    let inspection = inspect(&bytes).unwrap();
    assert_eq!(inspection.world, World::Module);
    assert_eq!(inspection.grants_used(), Grants::default());
    let sandbox = sandbox();
    let hello = load(&sandbox, &bytes).await;
    let limits = Limits {
        instance_reuse_max: 3,
        ..Limits::default()
    };
    let (notes, context) = context();
    for name in ["Ada", "Grace", "Edsger", "Barbara"] {
        let request = host::get(&format!("/hello?name={name}"));
        let response = hello.handle(request, context.clone(), &limits).await;
        let answer = host::read(response.unwrap()).await.unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (
                200,
                format!(r#"{{"greeting":"Hello, {name}!","pop":"ams"}}"#)
            )
        );
    }
    assert!(
        notes.all().contains(&"lifetime 60".to_owned()),
        "{:?}",
        notes.all()
    );
}

#[tokio::test]
async fn plugin() {
    let Some(bytes) = built("api-key") else {
        return;
    };
    assert_eq!(inspect(&bytes).unwrap().world, World::Plugin);
    let plugin = load(&sandbox(), &bytes).await;
    let head = RequestHead {
        method: http::Method::GET,
        scheme: "https".into(),
        authority: "shop.example".into(),
        path_and_query: "/".parse().unwrap(),
        headers: http::HeaderMap::new(),
        client_address: "192.0.2.7".into(),
    };
    let (_, context) = context();
    let action = plugin.on_request(&head, context, &Limits::default()).await;
    let Ok(RequestAction::Answer(response)) = action else {
        panic!("a request without a key: {action:?}");
    };
    assert!(response.status().is_client_error() || response.status().is_server_error());
}

#[tokio::test]
async fn commands_and_modules_of_the_shop_fit() {
    for (name, world) in [
        ("place-order", World::Command),
        ("orders-by-customer", World::Projection),
        ("orders", World::Module),
        ("inventory", World::Module),
    ] {
        let Some(bytes) = built(name) else { return };
        let inspection = inspect(&bytes).unwrap();
        assert_eq!(inspection.world, world, "{name}");
        let component = load(&sandbox(), &bytes).await;
        assert_eq!(component.world(), world);
    }
}

async fn hostile(component: &Component, path: &str) -> Result<host::Answer, RunError> {
    let limits = Limits {
        memory_bytes_max: 32 << 20,
        cpu_time_ms_max: 100,
        wall_time_ms_max: 1_000,
        response_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let response = component
        .handle(host::get(path), Context::denied(), &limits)
        .await?;
    host::read(response).await
}

/// Waits until what was still running has ended.
async fn ended(sandbox: &Sandbox) {
    while sandbox.instances() > 0 {
        tokio::task::yield_now().await;
    }
}

/// The kind of fault of each of its paths; none: it may answer, whatever it is.
const HOSTILE: &[(&str, Option<&str>)] = &[
    ("/loop", Some("module-cpu-time")),
    ("/allocate", Some("module-out-of-memory")),
    ("/recurse", Some("module-trapped")),
    ("/trap", Some("module-trapped")),
    ("/trap-late", Some("module-trapped")),
    ("/big-body", Some("module-response-too-large")),
    ("/never", Some("module-wall-time")),
    ("/never-late", Some("module-wall-time")),
    ("/no-answer", Some("module-no-response")),
    ("/bad-headers", Some("module-bad-response")),
    ("/short-body", Some("module-bad-response")),
    ("/forbidden-headers", None),
    ("/many-headers", None),
    ("/huge-header", None),
    ("/bad-status", None),
];

#[tokio::test]
async fn hostile_ones_are_held() {
    let Some(bytes) = built("hostile") else {
        return;
    };
    let sandbox = host::with(Config {
        instances_max: 1,
        ..Config::default()
    });
    let component = load(&sandbox, &bytes).await;
    for (path, expected) in HOSTILE {
        for _ in 0..2 {
            let answer = hostile(&component, path).await;
            match (&answer, expected) {
                (Err(fault), Some(slug)) => assert_eq!(fault.slug(), *slug, "{path}: {fault}"),
                (Err(fault), None) => assert!(fault.status() == 500, "{path}: {fault}"),
                (Ok(answer), None) => assert!(
                    answer.status >= 200 && answer.headers.len() < 10_000,
                    "{path}: {answer:?}"
                ),
                (Ok(answer), Some(_)) => panic!("{path}: {answer:?}"),
            }
            ended(&sandbox).await;
            let ok = hostile(&component, "/ok").await.unwrap();
            ended(&sandbox).await;
            assert_eq!((ok.status, ok.body.as_str()), (200, "ok\n"), "after {path}");
        }
    }
}
