//! The command line of purges and PoPs.

use clap::{ArgGroup, Args};

/// `brink purge`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("selector").required(true).multiple(true).args(["keys", "urls", "prefixes", "hosts", "everything"]),
    after_help = "\
Examples:
  brink purge --key sku:4711 --wait
  brink purge --url https://shop.example/items/4711 --url https://shop.example/
  brink purge --prefix shop.example/items --soft
  brink purge --host shop.example --dry-run               how much it would end, at which PoPs; purges nothing
  brink purge --everything --max-objects 10000            refused (5) if it would end more: --confirm, or --stagger
  brink purge --everything --stagger 600                  stale now, gone in ten minutes
  brink purge --everything --wait=quorum --timeout 10     or --wait=pop:ams,pop:sfo

With --wait it shows when each PoP applied the purge, and exits with 6 if one that is waited for stays silent; it says since
when the lease of a silent PoP keeps it from serving what the purge ended. Once a PoP has applied it, nothing stored before it
is served there: there is no need to purge twice."
)]
pub(crate) struct Purge {
    /// Answers that carry this name (cache.tag, Surrogate-Key, Cache-Tag); may be repeated
    #[arg(long = "key", value_name = "NAME")]
    pub(crate) keys: Vec<String>,
    /// One URL, with or without scheme; may be repeated
    #[arg(long = "url", value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// All URLs of a host below a path: HOST/PATH; may be repeated
    #[arg(long = "prefix", value_name = "HOST/PATH")]
    pub(crate) prefixes: Vec<String>,
    /// All URLs of a host; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Everything
    #[arg(long, alias = "all", conflicts_with_all = ["keys", "urls", "prefixes", "hosts"])]
    pub(crate) everything: bool,
    /// Make the answers stale instead of ending them
    #[arg(long)]
    pub(crate) soft: bool,
    /// Only say how many stored answers it would end, at which PoPs
    #[arg(long, conflicts_with_all = ["wait", "max_objects", "confirm", "stagger", "idempotency_key"])]
    pub(crate) dry_run: bool,
    /// Refuse it if it would end more stored answers than this, all PoPs together
    #[arg(long, value_name = "N")]
    pub(crate) max_objects: Option<u64>,
    /// Purge whatever the budget says
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Make the answers stale now, and end them so many seconds later
    #[arg(long, value_name = "SECONDS", conflicts_with = "soft", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) stagger: Option<u64>,
    /// Repeating the command with the same key purges nothing anew: 1 to 128 visible characters, kept for 24 hours
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until every PoP (all), more than half (quorum) or these (pop:NAME, with commas) have applied it
    #[arg(long, value_name = "WHO", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub(crate) wait: Option<String>,
    /// How long to wait for PoPs, in seconds; with --dry-run and --max-objects for their counts, up to 10
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: Option<u32>,
}

/// `brink purges`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink purges
  brink purges 01JABCDEF                                  one purge: where it was applied, when
  brink purges --url https://shop.example/items/4711      what ended this URL: itself, a prefix, its host, everything
  brink purges --by module:orders --from 2h")]
pub(crate) struct Purges {
    /// Show this purge
    #[arg(conflicts_with_all = ["selector", "key", "url", "host", "by", "from", "to", "before"])]
    pub(crate) id: Option<String>,
    /// Those with a selector of this kind
    #[arg(long, value_name = "KIND", value_parser = ["key", "url", "prefix", "host", "module", "everything"])]
    pub(crate) selector: Option<String>,
    /// Those that ended what carries this name
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Those that ended this URL
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Those that ended something of this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Those that this token (its id) or module (module:NAME) asked for
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,
    /// Not before this moment: 2026-11-21T08:30:00Z, or how long ago: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "WHEN")]
    pub(crate) from: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "WHEN")]
    pub(crate) to: Option<String>,
    /// Go on before this purge
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) limit: u32,
}

/// `brink pops`.
#[derive(Debug, Args)]
#[command(after_help = "\
LAG is changes that the PoP has not applied yet, STALE how old what it serves is as the prober's canary record says, QUARANTINED
since when it has not reported for longer than its lease, and so calls nothing fresh. RTT is the round trip of its last report,
RECORDS the share of record reads that it answered itself, FENCED fills that it did not store because a change overtook them,
EXPIRED how often its lease ran out.")]
pub(crate) struct Pops {
    /// Go on, once a second, until Ctrl-C
    #[arg(long, short)]
    pub(crate) watch: bool,
}
