//! Every call of `brink:platform` reaches the host with the right values, and what it answers comes back.

use crate::{
    guest,
    host::{Notes, context, get, load, sandbox},
};
use brink_sandbox::{Context, Grants, Limits};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// What the host was asked, and what the guest printed of its answers, in order.
async fn notes_of(body: &str, change: impl FnOnce(&mut Context)) -> Vec<String> {
    let body = format!("{body} (call $finish (call $respond (local.get $out) (i32.const 200)))");
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::module(&body)).await;
    let (notes, mut context): (Arc<Notes>, Context) = context();
    change(&mut context);
    let response = module.handle(get("/"), context, &Limits::default()).await;
    assert_eq!(response.unwrap().status(), 200);
    notes.all()
}

pub(crate) async fn check(body: &str, expected: &[&str]) {
    assert_eq!(notes_of(body, |_| {}).await, expected, "{body}");
}

/// The case of a result at 256.
pub(crate) const CASE: &str = "(call $print_number (i64.load8_u (i32.const 256)))";
/// The case of an error whose case begins at 264.
pub(crate) const ERROR_CASE: &str = "(call $print_number (i64.load8_u (i32.const 264)))";

#[tokio::test]
async fn records_get() {
    // result { option { entry { sort, value, version } } } : cases at 256 and 264, the entry at 272.
    let call = r#"(call $records_get @"stock" @"ams" @"sku-1" (i32.const 256))"#;
    let print = "(call $print_at (i32.const 272)) (call $print_at (i32.const 280))
        (call $print_number (i64.load (i32.const 288)))";
    check(
        &format!("{call} {CASE} {ERROR_CASE} {print}"),
        &[
            "get stock/ams/sku-1",
            "info: 0",
            "info: 1",
            "info: sku-1",
            "info: value of sku-1",
            "info: 7",
        ],
    )
    .await;
    let absent = r#"(call $records_get @"stock" @"ams" @"absent" (i32.const 256))"#;
    check(
        &format!("{absent} {CASE} {ERROR_CASE}"),
        &["get stock/ams/absent", "info: 0", "info: 0"],
    )
    .await;
    let away = r#"(call $records_get @"stock" @"ams" @"away" (i32.const 256))"#;
    check(
        &format!("{away} {CASE} {ERROR_CASE} (call $print_at (i32.const 272))"),
        &[
            "get stock/ams/away",
            "info: 1",
            "info: 3",
            "info: the core is away",
        ],
    )
    .await;
    // Not asked at all.
    let wrong = r#"(call $records_get @"Stock!" @"ams" @"a" (i32.const 256))"#;
    check(
        &format!("{wrong} {CASE} {ERROR_CASE} (call $print_at (i32.const 272))"),
        &[
            "info: 1",
            "info: 0",
            r#"info: collection "Stock!" is not valid: 1 to 64 of a-z, 0-9, _ and -"#,
        ],
    )
    .await;
}

#[tokio::test]
async fn records_get_many() {
    // Two keys at 512: each three times address and length.
    let texts = [
        ("stock", 0),
        ("ams", 8),
        ("a", 16),
        ("stock", 24),
        ("sfo", 32),
        ("b", 40),
    ];
    let mut body = String::from("(local $address i32) (local $length i32)");
    for (text, offset) in texts {
        body += &format!(
            r#"@"{text}" (local.set $length) (local.set $address)
            (i32.store (i32.const {}) (local.get $address)) (i32.store (i32.const {}) (local.get $length))"#,
            512 + offset,
            516 + offset
        );
    }
    // The answer's list lies at 264: an option of an entry is 32 bytes.
    body += &format!(
        "(call $records_get_many (i32.const 512) (i32.const 2) (i32.const 256)) {CASE}
        (call $print_number (i64.load32_u (i32.const 268)))
        (local.set $address (i32.load (i32.const 264)))
        (call $print_number (i64.load8_u (local.get $address)))
        (call $print_at (i32.add (local.get $address) (i32.const 8)))
        (call $print_number (i64.load8_u offset=32 (local.get $address)))"
    );
    check(
        &body,
        &[
            "get-many stock/ams/a stock/sfo/b",
            "info: 0",
            "info: 2",
            "info: 1",
            "info: a",
            "info: 0",
        ],
    )
    .await;
    let many = format!(
        "(call $records_get_many (i32.const 8192) (i32.const 101) (i32.const 256)) {CASE}
        (call $print_at (i32.const 272))"
    );
    check(
        &many,
        &["info: 1", "info: get-many of 101 keys, the limit is 100"],
    )
    .await;
}

#[tokio::test]
async fn records_scan() {
    let scan = |limit: u32| {
        format!(
            r#"(call $records_scan @"stock" @"ams" (i32.const 1) @"a" (i32.const 2) @"m"
                (i32.const {limit}) (i32.const 1) (i32.const 256)) {CASE}"#
        )
    };
    let print = "(call $print_number (i64.load32_u (i32.const 268)))
        (call $print_number (i64.load8_u (i32.const 272)))";
    check(
        &format!("{} {print}", scan(50)),
        &[
            r#"scan Range { collection: "stock", partition: "ams", lower: Inclusive("a"), upper: Exclusive("m"), limit: 50, descending: true }"#,
            "info: 0",
            "info: 2",
            "info: 1",
        ],
    )
    .await;
    check(&scan(1001), &["info: 1"]).await;
    check(&scan(0), &["info: 1"]).await;
}

#[tokio::test]
async fn records_writes() {
    let put = |some: u32, lifetime: u64| {
        format!(
            r#"(call $records_put @"stock" @"ams" @"a" @"v" (i32.const {some}) (i64.const {lifetime}) (i32.const 256))
            {CASE}"#
        )
    };
    let version = "(call $print_number (i64.load (i32.const 264)))";
    check(
        &format!("{} {version}", put(0, 0)),
        &[r#"put stock/ams/a b"v" None"#, "info: 0", "info: 41"],
    )
    .await;
    check(
        &put(1, 5000),
        &[r#"put stock/ams/a b"v" Some(5000)"#, "info: 0"],
    )
    .await;
    check(&put(1, 0), &["info: 1"]).await;

    let large = format!(
        r#"(drop (memory.grow (i32.const 20)))
        (call $records_put @"stock" @"ams" @"a" (i32.const 65536) (i32.const 1048577) (i32.const 0) (i64.const 0) (i32.const 256))
        {CASE} (call $print_at (i32.const 272))"#
    );
    check(
        &large,
        &[
            "info: 1",
            "info: bytes in a record's value is 1048577, the limit is 1048576",
        ],
    )
    .await;

    let delete = format!(r#"(call $records_delete @"stock" @"ams" @"a" (i32.const 256)) {CASE}"#);
    check(&delete, &["delete stock/ams/a", "info: 0"]).await;

    // The conflict's version: an option at 272.
    let cas = format!(
        r#"(call $records_cas @"stock" @"ams" @"a" (i32.const 1) (i64.const 3) @"v" (i32.const 0) (i64.const 0) (i32.const 256))
        {CASE} {ERROR_CASE} (call $print_number (i64.load8_u (i32.const 272))) (call $print_number (i64.load (i32.const 280)))"#
    );
    check(
        &cas,
        &[
            r#"cas stock/ams/a Some(3) b"v" None"#,
            "info: 1",
            "info: 2",
            "info: 1",
            "info: 9",
        ],
    )
    .await;
}

#[tokio::test]
async fn commands() {
    let call = |command: &str, key: &str| {
        format!(
            r#"(call $commands_execute @"{command}" @"stock" @"ams" @"in" (i32.const 1) @"{key}" (i32.const 256)) {CASE}"#
        )
    };
    // The error's case at 260.
    let print =
        "(call $print_number (i64.load8_u (i32.const 260))) (call $print_at (i32.const 264))";
    check(
        &format!("{} {print}", call("place-order", "key-1")),
        &[
            r#"CommandCall { command: "place-order", collection: "stock", partition: "ams", input: b"in", idempotency_key: Some("key-1") }"#,
            "info: 1",
            "info: 2",
            "info: not enough",
        ],
    )
    .await;
    check(
        &format!("{} {print}", call("Place Order", "key-1")),
        &[
            "info: 1",
            "info: 0",
            r#"info: module name "Place Order" is not valid: 1 to 63 of a-z, 0-9 and -, not beginning or ending with -"#,
        ],
    )
    .await;
    check(
        &format!("{} {print}", call("place-order", "key 1")),
        &[
            "info: 1",
            "info: 0",
            "info: an idempotency key is 1 to 128 visible ASCII characters",
        ],
    )
    .await;
}

/// A list of one name, at 512.
fn name(text: &str) -> String {
    format!(
        r#"@"{text}" (local.set $length) (local.set $address)
        (i32.store (i32.const 512) (local.get $address)) (i32.store (i32.const 516) (local.get $length))"#
    )
}

#[tokio::test]
async fn cache() {
    let locals = "(local $address i32) (local $length i32)";
    let tag = "(call $cache_tag (i32.const 512) (i32.const 1) (i32.const 256))";
    check(
        &format!("{locals} {} {tag} {CASE}", name("sku:1")),
        &[r#"tag ["sku:1"]"#, "info: 0"],
    )
    .await;
    check(
        &format!("{locals} {} {tag} {CASE}", name("sku 1")),
        &["info: 1"],
    )
    .await;
    check(
        "(call $cache_lifetime (i32.const 60)) (call $cache_no_store)",
        &["lifetime 60", "no-store"],
    )
    .await;
    // 128 names of an answer, then one more.
    let many = format!(
        "{locals} (local $left i32) {} (local.set $left (i32.const 129))
        (loop $more {tag}
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))) {CASE}",
        name("n")
    );
    let notes = notes_of(&many, |_| {}).await;
    assert_eq!(notes.len(), 129);
    assert_eq!(notes.last().unwrap(), "info: 1");

    let purge = format!(
        "{locals} {} (call $cache_purge (i32.const 512) (i32.const 1) (i32.const 256)) {CASE}",
        name("sku:1")
    );
    check(
        &format!("{purge} (call $print_at (i32.const 260))"),
        &[r#"purge ["sku:1"]"#, "info: 0", "info: 01PURGE"],
    )
    .await;
    let denied = notes_of(
        &format!("{purge} (call $print_at (i32.const 264))"),
        |context| context.grants.purge = false,
    )
    .await;
    assert_eq!(
        denied,
        ["info: 1", "info: the deployment has no grant `purge`"]
    );
}

#[tokio::test]
async fn config_log_and_identity() {
    check(
        r#"(call $config_get @"currency" (i32.const 256)) (call $print_at (i32.const 260))
        (call $config_get @"absent" (i32.const 256)) (call $print_number (i64.load8_u (i32.const 256)))
        (call $config_all (i32.const 256)) (call $print_number (i64.load32_u (i32.const 260)))
        (call $print_at (i32.load (i32.const 256)))"#,
        &["info: EUR", "info: 0", "info: 1", "info: currency"],
    )
    .await;
    // One field at 512: name, value.
    check(
        r#"(local $address i32) (local $length i32)
        @"sku" (local.set $length) (local.set $address)
        (i32.store (i32.const 512) (local.get $address)) (i32.store (i32.const 516) (local.get $length))
        @"17" (local.set $length) (local.set $address)
        (i32.store (i32.const 520) (local.get $address)) (i32.store (i32.const 524) (local.get $length))
        (call $log (i32.const 4) @"short of stock" (i32.const 512) (i32.const 1))
        (call $log (i32.const 0) @"detail" (i32.const 0) (i32.const 0))"#,
        &["error: short of stock sku=17", "trace: detail"],
    )
    .await;
    check(
        "(call $tenant (i32.const 256)) (call $print_at (i32.const 256))
        (call $region (i32.const 256)) (call $print_at (i32.const 256))
        (call $pop (i32.const 256)) (call $print_at (i32.const 256))",
        &["info: acme", "info: eu", "info: ams"],
    )
    .await;
    check(
        "(call $subject (i32.const 256)) (call $print_at (i32.const 260))
        (call $claims (i32.const 256)) (call $print_at (i32.load (i32.const 256)))",
        &["subject", "info: alice", "claims", "info: role"],
    )
    .await;
}

#[tokio::test]
async fn clock_and_random() {
    let still = |context: &mut Context| {
        context.now = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        context.grants = Grants {
            clock: true,
            random: true,
            ..Grants::default()
        };
    };
    let body = "(call $print_number (call $now_ms))
        (call $wall_now (i32.const 256)) (call $print_number (i64.load (i32.const 256)))
        (call $random_bytes (i32.const 16) (i32.const 256)) (call $print_number (i64.load32_u (i32.const 260)))";
    assert_eq!(
        notes_of(body, still).await,
        [
            "unnamed",
            "info: 1700000000123",
            "info: 1700000000",
            "unnamed",
            "info: 16"
        ]
    );
}

#[tokio::test]
async fn log_lines_have_limits() {
    let body = r#"(local $left i32) (local.set $left (i32.const 1003))
        (loop $more
            (call $print @"line")
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $print (i32.const 0) (i32.const 65536))"#;
    let sandbox = sandbox();
    let body = format!("{body} (call $finish (call $respond (local.get $out) (i32.const 200)))");
    let module = load(&sandbox, &guest::module(&body)).await;
    let (notes, context) = context();
    let response = module.handle(get("/"), context, &Limits::default()).await;
    drop(response.unwrap());
    let notes = notes.all();
    assert_eq!(notes.len(), 1001);
    assert_eq!(
        notes.last().unwrap(),
        "warn: 4 log lines over the limit of 1000 a run were dropped"
    );
}
