//! Whose certificates are trusted, and `login`.

use crate::{
    program::User,
    server::{Server, json, problem},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// A server whose certificate for `name` is of an authority of its own; and that authority as PEM.
pub(crate) fn server(name: &str) -> (Server, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let server = Server::start(Some(TlsAcceptor::from(Arc::new(config))))
        .on("GET /v1/pops", json(200, &serde_json::json!([])));
    (server, authority.pem())
}

#[test]
fn only_the_named_authority_is_trusted() {
    let (server, ca) = server("127.0.0.1");
    let (_, other) = self::server("127.0.0.1");
    let user = User::new().with("BRINK_CONTROL", format!("https://{}", server.address));
    user.write("ca.pem", &ca);
    user.write("other.pem", &other);
    user.write("empty.pem", "nothing\n");
    assert_eq!(
        user.run("pops --ca ca.pem").ok(),
        "No PoP was ever connected.\n"
    );
    for line in ["pops", "pops --ca other.pem"] {
        let error = user.run(line).fails(3);
        assert!(error.contains("--ca FILE"), "{error}");
    }
    for file in ["none.pem", "empty.pem"] {
        let error = user.run(&format!("pops --ca {file}")).fails(2);
        assert!(
            error.contains(file) && error.contains("BRINK_CA"),
            "{error}"
        );
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn certificates_for_other_names_and_other_protocols_are_explained() {
    let (server, ca) = server("elsewhere.example");
    let user = User::new();
    user.write("ca.pem", &ca);
    let error = user
        .run(&format!(
            "pops --ca ca.pem --control https://{}",
            server.address
        ))
        .fails(3);
    assert!(error.contains("another name"), "{error}");
    let plain = Server::new();
    let error = user
        .run(&format!(
            "pops --ca ca.pem --control https://{}",
            plain.address
        ))
        .fails(3);
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[test]
fn login_keeps_what_later_commands_need() {
    let (server, ca) = server("127.0.0.1");
    let status = serde_json::json!({
        "version": "0.1.0", "node": "a", "region": "b", "position": {}, "revision": 0, "deployments": 0, "routes": 0, "pops": []
    });
    let server = server.on("GET /v1/status", json(200, &status));
    let user = User::new();
    user.write("ca.pem", &ca);
    user.write("token", "hunter2");
    let control = format!("https://{}", server.address);
    assert!(user.run("login").fails(2).contains("--control"));
    assert!(
        user.run(&format!("login --control {control}"))
            .fails(2)
            .contains("--token-file")
    );
    let out = user
        .run(&format!(
            "login --control {control} --ca ca.pem --token-file token"
        ))
        .ok();
    assert!(
        out.contains("config.toml") && !out.contains("hunter2"),
        "{out}"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&user.config()), 0o700);
    for file in ["token", "config.toml", "ca.pem"] {
        assert_eq!(mode(&user.config().join(file)), 0o600, "{file}");
    }
    // The files that were named are no longer needed.
    std::fs::remove_file(user.path("ca.pem")).unwrap();
    std::fs::remove_file(user.path("token")).unwrap();
    user.run("pops").ok();
    assert_eq!(
        server.asked().last().unwrap().authorization.as_deref(),
        Some("Bearer hunter2")
    );
}

#[test]
fn login_does_not_keep_what_does_not_work() {
    let server = Server::new().on(
        "GET /v1/status",
        problem(401, "Unauthorized", "unknown token"),
    );
    let user = User::new();
    user.write("token", "hunter2");
    user.run(&format!(
        "login --control {} --token-file token",
        server.url()
    ))
    .fails(4);
    assert!(!user.config().join("config.toml").exists());
    user.run(&format!(
        "login --control {} --token-file token --no-check",
        server.url()
    ))
    .ok();
    assert!(user.config().join("config.toml").is_file());
}
