//! Publishing, deploying, rolling back, routes.

use crate::{client::Control, guests, server::Server};
use brink_protocol::{
    control::{Deployed, Version},
    deployment::{Deployment, Route},
};
use serde_json::{Value, json};

async fn publish(control: &Control, name: &str, component: bytes::Bytes) -> crate::client::Answer {
    control
        .send(
            "POST",
            &format!("/v1/modules/{name}/versions"),
            "application/wasm",
            component,
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_immutable_and_refusals_say_why() {
    let server = Server::start().await;
    let control = server.control();
    let first: Version = publish(&control, "hello", guests::module(1))
        .await
        .expect(201)
        .parse();
    assert_eq!((first.version, first.published_by.as_str()), (1, "root"));
    publish(&control, "hello", guests::module(2))
        .await
        .expect(201);
    let again: Version = publish(&control, "hello", guests::module(1))
        .await
        .expect(200)
        .parse();
    assert_eq!(again, first);
    let versions: Vec<Version> = control
        .get("/v1/modules/hello/versions")
        .await
        .expect(200)
        .parse();
    assert_eq!(
        versions
            .iter()
            .map(|version| version.version)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    let newest: Vec<Version> = control.get("/v1/modules").await.expect(200).parse();
    assert_eq!((newest.len(), newest[0].version), (1, 2));
    let bytes = control
        .get(&format!("/v1/components/{}", first.digest))
        .await
        .expect(200);
    assert_eq!(bytes.body, guests::module(1));
    for (component, part) in [
        (bytes::Bytes::from_static(b"hello"), "not WebAssembly"),
        (guests::no_world(), "exports"),
        (guests::wants_too_much(), "wasi:keyvalue/store@0.2.0"),
    ] {
        let refused = publish(&control, "hello", component).await;
        assert_eq!(refused.problem(422), "component-refused");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{detail}");
    }
    publish(&control, "Hello", guests::module(1))
        .await
        .problem(422);
    let text = control
        .send("POST", "/v1/modules/hello/versions", "text/plain", "x")
        .await;
    assert_eq!(text.problem(415), "media-type");
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_and_roll_back() {
    let server = Server::start().await;
    let control = server.control();
    for n in 1..=3 {
        publish(&control, "hello", guests::module(n))
            .await
            .expect(201);
    }
    let deploy = async |body: Value| -> Deployed {
        let answer = control
            .json("POST", "/v1/deployments", body)
            .await
            .expect(200);
        let deployed: Deployed = answer.parse();
        assert_eq!(
            answer.header("brink-position"),
            deployed.position.to_string()
        );
        deployed
    };
    let first = deploy(json!({"module": "hello", "version": 1, "config": {"a": "1"}})).await;
    assert_eq!(
        (first.deployment.version, first.previous_version),
        (1, None)
    );
    assert_eq!(
        (first.routes.len(), first.routes[0].path.as_str()),
        (1, "/hello")
    );
    let second = deploy(json!({"module": "hello", "version": 2})).await;
    assert_eq!(
        (
            second.previous_version,
            second.deployment.config["a"].as_str()
        ),
        (Some(1), "1")
    );
    let third = deploy(json!({"module": "hello", "config": {"a": "3"}})).await;
    assert_eq!(third.deployment.version, 3, "the newest");
    let back = async |body: Value| {
        control
            .json("POST", "/v1/deployments/hello/rollback", body)
            .await
    };
    let two: Deployed = back(json!({})).await.expect(200).parse();
    assert_eq!((two.deployment.version, two.previous_version), (2, Some(3)));
    let one: Deployed = back(json!({})).await.expect(200).parse();
    assert_eq!(
        (one.deployment.version, one.deployment.config["a"].as_str()),
        (1, "1")
    );
    assert_eq!(back(json!({})).await.problem(409), "conflict");
    deploy(json!({"module": "hello", "version": 3})).await;
    let to: Deployed = back(json!({"to": 1})).await.expect(200).parse();
    assert_eq!(to.deployment.version, 1);
    assert_eq!(back(json!({"to": 2})).await.problem(409), "conflict");
    // All of it outlives a restart.
    let server = server.restart().await;
    let list: Vec<Deployment> = server
        .control()
        .get("/v1/deployments")
        .await
        .expect(200)
        .parse();
    assert_eq!((list.len(), list[0].version), (1, 1));
    server
        .control()
        .delete("/v1/deployments/hello")
        .await
        .expect(204);
    server
        .control()
        .delete("/v1/deployments/hello")
        .await
        .problem(404);
    let routes: Vec<Route> = server.control().get("/v1/routes").await.expect(200).parse();
    assert_eq!(routes, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_must_fit() {
    let server = Server::start().await;
    let control = server.control();
    publish(&control, "hello", guests::module(1))
        .await
        .expect(201);
    publish(&control, "count", guests::clock(1))
        .await
        .expect(201);
    for (body, status, slug) in [
        (json!({"module": "none"}), 404, "not-found"),
        (json!({"module": "hello", "version": 9}), 404, "not-found"),
        (json!({"module": "count"}), 422, "grants"),
        (
            json!({"module": "count", "grants": {"clock": true}, "routes": [{"path": "/c"}]}),
            422,
            "routes",
        ),
        (
            json!({"module": "hello", "limits": {"memory_bytes_max": 1u64 << 40}}),
            422,
            "limits",
        ),
        (
            json!({"module": "hello", "config": {"k": "x".repeat(70_000)}}),
            422,
            "config",
        ),
        (
            json!({"module": "hello", "routes": [{"path": "no-slash"}]}),
            422,
            "invalid",
        ),
        (
            json!({"module": "hello", "routes": [{"path": "/", "plugins": ["none"]}]}),
            422,
            "routes",
        ),
        (json!({"module": "hello", "colour": "red"}), 422, "invalid"),
        (json!({"version": 1}), 422, "invalid"),
    ] {
        let answer = control.json("POST", "/v1/deployments", body.clone()).await;
        assert_eq!(answer.problem(status), slug, "{body}");
    }
    control
        .json(
            "POST",
            "/v1/deployments",
            json!({"module": "count", "grants": {"clock": true}}),
        )
        .await
        .expect(200);
    let routes: Vec<Route> = control.get("/v1/routes").await.expect(200).parse();
    assert_eq!(routes, [], "a command has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes() {
    let server = Server::start().await;
    let control = server.control();
    publish(&control, "hello", guests::module(1))
        .await
        .expect(201);
    let body = json!({"module": "hello", "routes": [{"host": "Shop.example:443", "path": "/a/"}]});
    control
        .json("POST", "/v1/deployments", body)
        .await
        .expect(200);
    let origin = json!({"path": "/", "target": {"origin": "http://127.0.0.1:1"}, "when_disconnected": "fail"});
    let put: Route = control
        .json("PUT", "/v1/routes", origin)
        .await
        .expect(200)
        .parse();
    assert_eq!(put.path, "/");
    let routes: Vec<Route> = control.get("/v1/routes").await.expect(200).parse();
    let shown: Vec<_> = routes
        .iter()
        .map(|route| (route.host.as_deref(), route.path.as_str()))
        .collect();
    assert_eq!(shown, [(None, "/"), (Some("shop.example"), "/a")]);
    for (body, status) in [
        (json!({"path": "/b", "target": {"module": "none"}}), 422),
        (
            json!({"path": "/b", "target": {"origin": "file:///etc"}}),
            422,
        ),
        (json!({"path": "/b", "target": {"nobody": "x"}}), 422),
        (json!({"path": "/b?c", "target": {"module": "hello"}}), 422),
    ] {
        control
            .json("PUT", "/v1/routes", body)
            .await
            .problem(status);
    }
    control
        .delete("/v1/routes?host=shop.example&path=%2Fa%2F")
        .await
        .expect(204);
    control.delete("/v1/routes?path=/none").await.problem(404);
    control
        .delete("/v1/routes?host=shop.example")
        .await
        .problem(400);
}
