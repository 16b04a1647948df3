//! The curl lines that `up` prints: what Brink does, to be tried by hand. Each exits with an error when it fails.

use crate::{
    curl::{self, Control},
    platform::Pop,
    samples, seed,
};
use std::path::Path;

/// Oldest curl that prints a header by `%header{}`.
const HEADER_SINCE: (u32, u32) = (7, 84);

/// A line and what it shows.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) shows: String,
    pub(super) command: String,
}

/// What the lines are made of.
struct Lines<'a> {
    ca: String,
    header_file: String,
    /// Where the head of the order's answer is kept, for its session token.
    order_file: String,
    show: &'static str,
    control: &'a Control,
    lines: Vec<Line>,
}

/// The lines for a platform of at least two PoPs; of one PoP, both of each pair are the same.
pub(super) fn all(control: &Control, pops: &[Pop]) -> Vec<Line> {
    let [first, rest @ ..] = pops else {
        return Vec::new();
    };
    let second = rest.first().unwrap_or(first);
    let mut lines = Lines {
        ca: quoted(&control.ca),
        header_file: quoted(&control.header_file),
        order_file: quoted(&control.header_file.with_file_name("order.headers")),
        show: show_cache_status(),
        control,
        lines: Vec::new(),
    };
    let sku = seed::sku(0);
    let path = format!("/inventory/availability/{sku}");
    lines.read(
        &format!("availability at {}: the module answers", first.name),
        first,
        &path,
        "",
    );
    lines.read("again: a hit", first, &path, " --http2");
    if curl::has_http3() {
        lines.read("again, over HTTP/3", first, &path, " --http3-only");
    } else {
        lines.read("again, over HTTP/1.1", first, &path, " --http1.1");
    }
    lines.read(
        &format!("at {}: its own cache, its own miss", second.name),
        second,
        &path,
        "",
    );
    lines.order(first, &sku);
    lines.read(
        &format!(
            "availability at {}: the new number, without any purge",
            first.name
        ),
        first,
        &path,
        "",
    );
    lines.read_own(
        &format!(
            "and at {}, with the order's session token: never the older number",
            second.name
        ),
        second,
        &path,
    );
    lines.read(
        "how old may it be at most? Brink-Coherence: bound, in milliseconds",
        first,
        &path,
        " --header 'brink-coherence: ?1' --include",
    );
    lines.read("a greeting, which reads no record", first, "/hello", "");
    lines.purge("purge it by the name it has", r#"{"keys":["greetings"]}"#);
    lines.read(
        &format!("at {} the module answers anew", first.name),
        first,
        "/hello",
        "",
    );
    let urls: Vec<String> = pops
        .iter()
        .map(|pop| format!("\"{}{path}\"", pop.url()))
        .collect();
    lines.purge(
        "purge by URL",
        &format!(r#"{{"urls":[{}]}}"#, urls.join(",")),
    );
    lines.read(
        &format!("at {} the module answers anew", second.name),
        second,
        &path,
        "",
    );
    lines.purge("purge everything", r#"{"everything":true}"#);
    lines.read("all has to be made anew", first, &path, "");
    lines.read(
        "search: a scan of one partition",
        second,
        "/inventory/search?prefix=SHELF&warehouse=AMS1&limit=3",
        "",
    );
    let key = format!(" --header 'x-api-key: {}'", samples::PARTNER_KEY);
    lines.read(
        "a route behind the plugin api-key",
        first,
        "/partner?name=Ada",
        &key,
    );
    lines.purge_here(
        &format!(
            "PURGE at {}: handed to the core, for every PoP",
            second.name
        ),
        second,
        &path,
    );
    lines.control("what the core knows of the PoPs", "/v1/pops");
    lines.admin("why an answer is in the cache", first, &path);
    lines.lines
}

impl Lines<'_> {
    fn push(&mut self, shows: &str, command: String) {
        self.lines.push(Line {
            shows: shows.to_owned(),
            command,
        });
    }

    /// What every line begins with.
    fn curl(&self) -> String {
        format!(
            "curl --fail-with-body --silent --show-error --max-time 20 --cacert {}",
            self.ca
        )
    }

    fn read(&mut self, shows: &str, pop: &Pop, path: &str, options: &str) {
        let command = format!(
            "{}{options}{} '{}{path}'",
            self.curl(),
            self.show,
            pop.url()
        );
        self.push(shows, command);
    }

    fn order(&mut self, pop: &Pop, sku: &str) {
        let customer = seed::customer_id(0);
        let body = format!(
            r#"{{"customer":"{customer}","warehouse":"AMS1","currency":"EUR","lines":[{{"sku":"{sku}","quantity":3}}]}}"#
        );
        let headers = "--header 'content-type: application/json' --header 'idempotency-key: try-1'";
        let keep = format!("--dump-header {}", self.order_file);
        let command = format!(
            "{} {headers} {keep} --data '{body}'{} '{}/orders'",
            self.curl(),
            self.show,
            pop.url()
        );
        self.push(
            &format!("order three at {}: the core reserves them", pop.name),
            command,
        );
    }

    /// With the token that the order's answer carried.
    fn read_own(&mut self, shows: &str, pop: &Pop, path: &str) {
        let token = format!(
            r#" --header "$(grep -i '^brink-session:' {} | tr -d '\r')""#,
            self.order_file
        );
        self.read(shows, pop, path, &token);
    }

    fn purge_here(&mut self, shows: &str, pop: &Pop, path: &str) {
        let command = format!(
            "{} --header @{} --request PURGE '{}{path}'",
            self.curl(),
            self.header_file,
            pop.url()
        );
        self.push(shows, command);
    }

    fn purge(&mut self, shows: &str, body: &str) {
        let header = format!(
            "--header @{} --header 'content-type: application/json'",
            self.header_file
        );
        let command = format!(
            "{} {header} --data '{body}' '{}/v1/purges'",
            self.curl(),
            self.control.url
        );
        self.push(shows, command);
    }

    fn control(&mut self, shows: &str, path: &str) {
        let command = format!(
            "{} --header @{} '{}{path}'",
            self.curl(),
            self.header_file,
            self.control.url
        );
        self.push(shows, command);
    }

    fn admin(&mut self, shows: &str, pop: &Pop, path: &str) {
        let command = format!(
            "curl --fail-with-body --silent --show-error --get --data-urlencode 'url={}{path}' 'http://{}/cache'",
            pop.url(),
            pop.admin
        );
        self.push(shows, command);
    }
}

fn show_cache_status() -> &'static str {
    let version = curl::version().unwrap_or_default();
    let mut numbers = version
        .split([' ', '.'])
        .skip(1)
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= HEADER_SINCE {
        r" --write-out '\n%{http_code} Cache-Status: %header{cache-status}\n'"
    } else {
        " --include"
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    if text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
