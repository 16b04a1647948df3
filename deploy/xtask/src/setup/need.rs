//! What can be missing, how to see it, and what installs it.

use super::{cache_tests, find, python, trixie, wasm};
use crate::curl;
use std::{fmt, path::Path, process::Command};

/// Oldest Node.js that builds JavaScript modules.
const NODE_MAJOR_MIN: u32 = 18;

/// Something that is needed on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// For aws-lc and jemalloc, which are written in C.
    Compiler,
    /// For the files of the repository.
    Git,
    /// For everything that speaks HTTP here.
    Curl,
    /// Rust's standard library for guests.
    Wasm,
    /// For modules in JavaScript.
    Node,
    /// The public tests of HTTP caches.
    CacheTests,
    /// HTTP clients that are not ours.
    Python,
    /// A browser for one test.
    Chromium,
    /// For the engines.
    Java,
    /// For fetching the engines.
    Maven,
    /// The CQL engine of the tests.
    Cassandra,
    /// The Kafka broker of the tests.
    Kafka,
    /// A load generator for HTTP/2 and HTTP/3.
    H2load,
    /// A load generator for HTTP/1.1.
    Wrk,
    /// The servers that the edge is measured beside.
    Trixie,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => "a C compiler and make",
            Self::Git => "git",
            Self::Curl => "curl with HTTP/2",
            Self::Wasm => "Rust's standard library for wasm32-unknown-unknown",
            Self::Node => "Node.js and npm",
            Self::CacheTests => "http-cache-tests from npm",
            Self::Python => "Python 3 with aioquic, and the clients of Fastly and Cloudflare",
            Self::Chromium => "Chromium",
            Self::Java => "Java 17",
            Self::Maven => "Maven",
            Self::Cassandra => "Apache Cassandra from Maven Central",
            Self::Kafka => "Apache Kafka from Maven Central",
            Self::H2load => "h2load",
            Self::Wrk => "wrk",
            Self::Trixie => "nginx, HAProxy and Varnish of Debian 13",
        })
    }
}

impl Need {
    /// Whether it can be done without.
    #[must_use]
    pub fn optional(self) -> bool {
        matches!(self, Self::Chromium)
    }

    /// What is missing; none if it is there.
    #[must_use]
    pub fn lack(self, root: &Path) -> Option<String> {
        let program = |name: &str| {
            find(name)
                .is_none()
                .then(|| format!("`{name}` is not on the path"))
        };
        match self {
            Self::Compiler => program("cc").or_else(|| program("make")),
            Self::Git => program("git"),
            Self::Curl => match curl::version() {
                None => Some("`curl` is not on the path".to_owned()),
                Some(version) if !version.contains("HTTP2") => {
                    Some("this curl is built without HTTP/2".to_owned())
                }
                Some(_) => None,
            },
            Self::Wasm => wasm::lack(root),
            Self::Node => program("npm").or_else(old_node),
            Self::CacheTests => cache_tests::lack(root),
            Self::Python => python::lack(root),
            Self::Chromium => chromium()
                .is_none()
                .then(|| "no `chromium` is on the path".to_owned()),
            Self::Java => program("java"),
            Self::Maven => program("mvn"),
            Self::Cassandra => not_fetched(brink_engines::is_cassandra_fetched()),
            Self::Kafka => not_fetched(brink_engines::is_kafka_fetched()),
            Self::H2load => program("h2load"),
            Self::Wrk => program("wrk"),
            Self::Trixie => trixie::lack(),
        }
    }

    /// Debian's packages for it.
    #[must_use]
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Compiler => &["gcc", "libc6-dev", "make"],
            Self::Git => &["git"],
            Self::Curl => &["curl", "ca-certificates"],
            Self::Wasm => &["rustc-web", "rust-web-src", "lld"],
            Self::Node => &["nodejs", "npm"],
            Self::Python => python::packages(),
            Self::Chromium => &["chromium"],
            Self::Java => &["openjdk-17-jdk-headless"],
            Self::Maven => &["maven"],
            Self::CacheTests | Self::Cassandra | Self::Kafka | Self::Trixie => &[],
            Self::H2load => &["nghttp2-client"],
            Self::Wrk => &["wrk"],
        }
    }

    /// What to do about it by hand.
    #[must_use]
    pub fn hint(self) -> String {
        let packages = self.packages().join(" ");
        match self {
            Self::Wasm => format!(
                "Run `rustup target add wasm32-unknown-unknown`, or as root on Debian `apt-get install {packages}`"
            ),
            Self::Cassandra | Self::Kafka => "See what Maven said above".to_owned(),
            Self::CacheTests => "See what npm said above".to_owned(),
            Self::Trixie => "See what apt-get said above".to_owned(),
            Self::Python if packages.is_empty() => "See what pip said above".to_owned(),
            _ => format!("On Debian, as root: `apt-get install {packages}`"),
        }
    }
}

fn not_fetched(is_fetched: bool) -> Option<String> {
    (!is_fetched).then(|| "it is not fetched yet".to_owned())
}

/// The browser.
#[must_use]
pub fn chromium() -> Option<std::path::PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(find)
}

fn old_node() -> Option<String> {
    let output = Command::new("node").arg("--version").output();
    let Ok(output) = output else {
        return Some("`node` is not on the path".to_owned());
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => None,
        _ => Some(format!(
            "node is {version}, {NODE_MAJOR_MIN} or newer is needed"
        )),
    }
}
