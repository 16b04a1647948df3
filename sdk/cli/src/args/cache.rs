//! The command line of what caches do.

use clap::{Args, Subcommand};

/// `brink cache`.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: CacheAction,
}

/// What `brink cache` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// Say what a PoP's cache would do with a request, and why
    Explain(CacheExplain),
}

/// `brink cache explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink cache explain https://shop.example/items/4711 --pop ams
  brink cache explain https://shop.example/ -H 'accept-language: de' -H 'cookie: lang=de' --pop ams
  brink cache explain http://localhost/ --admin http://127.0.0.1:9901 --json

It asks the admin address of the PoP, which does all that it would do with such a request but fetch, store and run plugins.
The core knows the addresses of its PoPs and tells them to operators of the default tenant; others, for example behind a tunnel,
stand in ~/.config/brink/config.toml:

  [pops]
  ams = \"http://10.0.1.7:9901\"")]
pub(crate) struct CacheExplain {
    /// The URL, as clients ask for it
    pub(crate) url: String,
    /// A field of the request; may be repeated. Values of Authorization and Cookie are never shown
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// The PoP
    #[arg(long, value_name = "NAME")]
    pub(crate) pop: Option<String>,
    /// Its admin address, if none is configured for its name: http[s]://HOST[:PORT]. Default: BRINK_ADMIN
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
}
