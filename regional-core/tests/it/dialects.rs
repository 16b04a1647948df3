//! Fastly's and Cloudflare's ways to ask for a purge, field by field. Their own clients are tried in the end-to-end tests.

use crate::{
    client::{Answer, Control},
    server::Server,
};
use brink_protocol::{control::PurgeStatus, purge::Selector};
use serde_json::{Value, json};

struct Stand {
    server: Server,
    operator: String,
    reader: String,
}

impl Stand {
    async fn start() -> Self {
        let server = Server::start().await;
        let control = server.control();
        let token = async |role: &str| {
            let new = json!({"label": "t", "role": role});
            let token = control.json("POST", "/v1/tokens", new).await.expect(201);
            token.json()["secret"].as_str().unwrap().to_owned()
        };
        let (operator, reader) = (token("operator").await, token("reader").await);
        Self {
            server,
            operator,
            reader,
        }
    }

    fn nobody(&self) -> Control {
        self.server.control().without_token()
    }

    async fn fastly(&self, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let key = ("fastly-key", self.operator.as_str());
        let fields = [&[key], fields].concat();
        let body = body.to_owned();
        self.nobody().send_with("POST", path, &fields, body).await
    }

    async fn cloudflare(&self, path: &str, body: &Value) -> Answer {
        let path = format!("/client/v4/zones/{path}");
        let control = self.nobody().with_token(&self.operator);
        control.json("POST", &path, body.clone()).await
    }

    async fn nothing_was_purged(&self) {
        let control = self.server.control();
        let page = control.get("/v1/purges").await.expect(200).json();
        assert_eq!(page["purges"], json!([]), "nothing was purged");
    }

    /// The purge that an answer leads to.
    async fn purge(&self, answer: &Answer) -> PurgeStatus {
        let id = answer.header("brink-purge");
        assert_eq!(answer.header("location"), format!("/v1/purges/{id}"));
        let path = format!("/v1/purges/{id}");
        let status: PurgeStatus = self.server.control().get(&path).await.expect(200).parse();
        assert_eq!(answer.header("brink-position"), status.position.to_string());
        assert!(!answer.header("brink-session").is_empty());
        status
    }
}

fn key(name: &str) -> Selector {
    Selector::Key(name.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn fastly_purges() {
    let stand = Stand::start().await;
    let answer = stand
        .fastly("/service/default/purge/a%2Fb", &[], "")
        .await
        .expect(200);
    let purge = stand.purge(&answer).await;
    assert_eq!(answer.json(), json!({"status": "ok", "id": purge.id}));
    assert_eq!((purge.selectors, purge.soft), (vec![key("a/b")], false));

    let soft = [("fastly-soft-purge", "1")];
    let answer = stand
        .fastly("/service/default/purge/a", &soft, "")
        .await
        .expect(200);
    assert!(stand.purge(&answer).await.soft);

    let fields = [("surrogate-key", "a b"), ("surrogate-key", " c ")];
    let answer = stand
        .fastly("/service/default/purge", &fields, "")
        .await
        .expect(200);
    let purge = stand.purge(&answer).await;
    assert_eq!(purge.selectors, [key("a"), key("b"), key("c")]);
    assert_eq!(
        answer.json(),
        json!({"a": purge.id, "b": purge.id, "c": purge.id})
    );
    let body = json!({"surrogate_keys": ["x", "y"]}).to_string();
    let answer = stand
        .fastly("/service/default/purge", &[], &body)
        .await
        .expect(200);
    assert_eq!(stand.purge(&answer).await.selectors, [key("x"), key("y")]);

    let answer = stand
        .fastly("/service/default/purge_all", &soft, "")
        .await
        .expect(200);
    let purge = stand.purge(&answer).await;
    assert_eq!(
        (purge.selectors, purge.soft),
        (vec![Selector::Everything], false)
    );

    for (path, url) in [
        ("/purge/shop.example/a%2Fb?c=d", "shop.example/a%2Fb?c=d"),
        ("/purge/https://Shop.example/a/", "shop.example/a/"),
        ("/purge/shop.example", "shop.example/"),
    ] {
        let answer = stand.fastly(path, &soft, "").await.expect(200);
        let purge = stand.purge(&answer).await;
        assert_eq!(
            (purge.selectors, purge.soft),
            (vec![Selector::Url(url.into())], true)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_purge() {
    let stand = Stand::start().await;
    let key = [
        ("fastly-key", stand.operator.as_str()),
        ("host", "shop.example"),
    ];
    for target in ["/v1/purges?a", "https://shop.example/v1/purges?a"] {
        let answer = stand
            .nobody()
            .send_with("PURGE", target, &key, "")
            .await
            .expect(200);
        let url = Selector::Url("shop.example/v1/purges?a".into());
        assert_eq!(stand.purge(&answer).await.selectors, [url]);
    }
    let bearer = stand.nobody().with_token(&stand.operator);
    let host = [("host", "shop.example")];
    bearer.send_with("PURGE", "/", &host, "").await.expect(200);
    stand
        .nobody()
        .send_with("PURGE", "/", &host, "")
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn fastly_refuses() {
    let stand = Stand::start().await;
    let many = vec!["k"; 257].join(" ");
    for (path, fields, body, status) in [
        ("/service/other/purge/a", &[][..], "", 404),
        ("/service/default/purge/a%20b", &[], "", 400),
        (
            "/service/default/purge",
            &[("surrogate-key", many.as_str())],
            "",
            400,
        ),
        ("/service/default/purge", &[("surrogate-key", " ")], "", 400),
        ("/service/default/purge", &[], "{}", 400),
        ("/service/default/purge", &[], "nothing", 400),
        (
            "/service/default/purge/a",
            &[("fastly-purge-environment", "staging")],
            "",
            400,
        ),
        (
            "/service/default/purge/a",
            &[("idempotency-key", "a b")],
            "",
            400,
        ),
        ("/purge/a%20b/", &[], "", 400),
        ("/purge/shop.example/../b", &[], "", 400),
    ] {
        let answer = stand.fastly(path, fields, body).await.expect(status);
        let error = answer.json();
        assert!(
            error["msg"].is_string() && error["detail"].is_string(),
            "{path}: {error}"
        );
    }
    for (token, status) in [("brk_none", 401), (stand.reader.as_str(), 403)] {
        for path in [
            "/service/default/purge/a",
            "/service/default/purge_all",
            "/purge/a/b",
        ] {
            let fields = [("fastly-key", token)];
            let answer = stand.nobody().send_with("POST", path, &fields, "").await;
            assert!(answer.expect(status).json()["msg"].is_string());
        }
    }
    stand
        .nobody()
        .send("POST", "/service/default/purge_all", "", "")
        .await
        .expect(401);
    stand.nothing_was_purged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudflare_purges() {
    let stand = Stand::start().await;
    let url = |url: &str| Selector::Url(url.into());
    for (body, selectors) in [
        (
            json!({"files": ["https://a.example/x", {"url": "http://a.example/y", "headers": {"Origin": "z"}}]}),
            vec![url("a.example/x"), url("a.example/y")],
        ),
        (json!({"tags": ["t1", "t2"]}), vec![key("t1"), key("t2")]),
        (
            json!({"hosts": ["A.example"]}),
            vec![Selector::Host("a.example".into())],
        ),
        (
            json!({"prefixes": ["a.example/x/"]}),
            vec![Selector::Prefix("a.example/x".into())],
        ),
        (
            json!({"purge_everything": true}),
            vec![Selector::Everything],
        ),
    ] {
        let answer = stand
            .cloudflare("default/purge_cache", &body)
            .await
            .expect(200);
        let purge = stand.purge(&answer).await;
        let result = json!({"id": purge.id});
        assert_eq!(
            answer.json(),
            json!({"success": true, "errors": [], "messages": [], "result": result})
        );
        assert_eq!((purge.selectors, purge.soft), (selectors.clone(), false));
        let answer = stand
            .cloudflare("default/invalidate_cache", &body)
            .await
            .expect(200);
        let purge = stand.purge(&answer).await;
        assert_eq!((purge.selectors, purge.soft), (selectors, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudflare_refuses() {
    let stand = Stand::start().await;
    for (path, body, status, code) in [
        (
            "other/purge_cache",
            json!({"purge_everything": true}),
            404,
            7003,
        ),
        ("default/purge_cache", json!({}), 400, 1012),
        ("default/purge_cache", json!({"tags": "a"}), 400, 1014),
        (
            "default/purge_cache",
            json!({"tags": vec!["t"; 101]}),
            400,
            1014,
        ),
        (
            "default/purge_cache",
            json!({"tags": ["x".repeat(1025)]}),
            400,
            1016,
        ),
        (
            "default/purge_cache",
            json!({"files": ["/relative"]}),
            400,
            1016,
        ),
        (
            "default/purge_cache",
            json!({"prefixes": ["a.example/x?y"]}),
            400,
            1016,
        ),
    ] {
        let answer = stand.cloudflare(path, &body).await.expect(status);
        let answer = answer.json();
        assert_eq!(answer["success"], false);
        assert_eq!(answer["errors"][0]["code"], code, "{answer}");
        assert!(answer["errors"][0]["message"].is_string());
    }
    let path = "/client/v4/zones/default/purge_cache";
    let body = json!({"purge_everything": true});
    let unknown = stand.nobody().with_token("brk_none");
    let answer = unknown.json("POST", path, body.clone()).await.expect(401);
    assert_eq!(answer.json()["errors"][0]["code"], 1000);
    let reader = stand.nobody().with_token(&stand.reader);
    let answer = reader.json("POST", path, body.clone()).await.expect(403);
    assert_eq!(answer.json()["errors"][0]["code"], 10000);
    let global = [("x-auth-key", "k"), ("x-auth-email", "a@b")];
    let answer = stand
        .nobody()
        .send_with("POST", path, &global, body.to_string())
        .await;
    let message = answer.expect(400).json()["errors"][0]["message"].to_string();
    assert!(
        message.contains("Global keys") && message.contains("Bearer"),
        "{message}"
    );
    stand.nothing_was_purged().await;
    let authorization = format!("Bearer {}", stand.operator);
    let once = [
        ("authorization", authorization.as_str()),
        ("idempotency-key", "k"),
    ];
    for (tag, status, said) in [
        ("a", 200, "null"),
        ("b", 400, "key was used for another purge"),
    ] {
        let body = json!({"tags": [tag]}).to_string();
        let answer = stand.nobody().send_with("POST", path, &once, body).await;
        let message = answer.expect(status).json()["errors"][0]["message"].to_string();
        assert!(message.contains(said), "{message}");
    }
}
