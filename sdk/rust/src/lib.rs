//! Write Brink modules, commands and plugins in Rust.
//!
//! A **module** answers HTTP requests at the edge, behind the cache:
//!
//! ```
//! use brink_sdk::{Method, Problem, Request, Response, cache, records::{self, Key}};
//!
//! fn handle(request: Request) -> Result<Response, Problem> {
//!     match (request.method(), request.segments().as_slice()) {
//!         (Method::Get, ["items", sku]) => {
//!             let item = records::get(&Key::new("catalog", "items", *sku))?;
//!             let item = item.ok_or_else(|| Problem::not_found(format!("no item {sku}")))?;
//!             cache::lifetime(300);
//!             Ok(Response::new("application/json", item.value).etag())
//!         }
//!         (_, ["items", _]) => Ok(Response::method_not_allowed(&["GET"])),
//!         _ => Err(Problem::not_found("nothing here")),
//!     }
//! }
//!
//! brink_sdk::module!(handle);
//! # let platform = brink_sdk::testing::Platform::new();
//! # platform.record("catalog", "items", "AB-1", &1);
//! # assert_eq!(handle(Request::get("/items/AB-1")).unwrap().status(), 200);
//! # assert_eq!(handle(Request::given("PUT", "/items/AB-1")).unwrap().status(), 405);
//! ```
//!
//! The record that the handler read is a tag of the answer: a write to it, anywhere, takes the answer out of every PoP's
//! cache. A **command** ([`command!`]) runs at the regional core in a transaction over one partition; a **plugin**
//! ([`plugin!`]) sees heads of requests and responses.
//!
//! # No ambient WASI
//!
//! Guests are built for `wasm32-unknown-unknown` and import only what they use from `brink:platform` and `wasi:http`: no clock,
//! environment, file system, threads or sockets unless the deployment grants it by name. The standard library's versions
//! compile and do not work:
//!
//! | instead of | use | grant |
//! |---|---|---|
//! | `std::time::SystemTime::now()`, `Instant::now()` (panic) | [`clock::now_ms`] | `clock` |
//! | `std::env::var`, arguments (empty) | [`config::get`] | |
//! | `std::fs` (always an error) | [`records`] | |
//! | `println!`, `eprintln!` (go nowhere) | [`log`] | |
//! | `std::thread::spawn` (always an error) | one request, one instance; [`records::get_many`] | |
//! | `std::net`, HTTP client crates (always an error) | [`http::send`] | `outbound-http` |
//! | `rand`, `getrandom`, `uuid` (do not compile) | [`random::bytes`], [`ulid::generate`] | `random` |
//! | `HashMap`'s random seed (fixed) | the same: keys from outside belong in a `BTreeMap` | |
//!
//! A panic ends the instance and the request with a 500; its message is lost. Return a [`Problem`] instead.
//!
//! # Tests
//!
//! On every other target the platform is in memory: [`testing::Platform`].

#[doc(hidden)]
pub mod bindings;
pub mod cache;
pub mod clock;
mod command;
pub mod commands;
pub mod config;
mod host;
pub mod http;
pub mod identity;
pub mod log;
mod message;
mod module;
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "tests have a server of their own"))]
mod outbound;
#[cfg(any(feature = "plugin", not(target_arch = "wasm32")))]
mod plugin;
mod problem;
pub mod random;
pub mod records;
mod request;
mod response;
mod streams;
mod target;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod ulid;

pub use command::execute;
#[doc(hidden)]
pub use module::serve;
#[cfg(any(feature = "plugin", not(target_arch = "wasm32")))]
pub use plugin::{Headers, Plugin, RequestAction, RequestHead, ResponseAction, ResponseHead};
#[doc(hidden)]
#[cfg(any(feature = "plugin", not(target_arch = "wasm32")))]
pub use plugin::{on_request, on_response};
pub use problem::{PROBLEM_JSON, Problem};
pub use request::{BODY_BYTES_MAX, BodyError, Method, Request};
pub use response::{Response, escape_html};

/// Makes a component of world `module` from a handler `fn(Request) -> Result<Response, E>`, where `E` is [`Problem`] or any
/// other type that becomes a [`Response`].
///
/// ```
/// use brink_sdk::{Problem, Request, Response};
/// fn handle(request: Request) -> Result<Response, Problem> {
///     Ok(Response::text(format!("hello, {}\n", request.query("name").unwrap_or("world"))))
/// }
/// brink_sdk::module!(handle);
/// ```
#[macro_export]
macro_rules! module {
    ($handler:path) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::module::exports::wasi::http::incoming_handler::Guest for Component {
                fn handle(
                    request: $crate::bindings::module::wasi::http::types::IncomingRequest,
                    out: $crate::bindings::module::wasi::http::types::ResponseOutparam,
                ) {
                    $crate::serve(request, out, $handler);
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::module::export!(Component with_types_in $crate::bindings::module);
        };
    };
}

/// Makes a component of world `command` from a function `fn(Input) -> Result<Output, Problem>` over JSON.
///
/// ```
/// use brink_sdk::{Problem, records::{self, Key}};
/// fn count(step: u64) -> Result<u64, Problem> {
///     let key = Key::new("counters", "visits", "");
///     let count = records::get_json::<u64>(&key)?.map_or(0, |entry| entry.value) + step;
///     records::put_json(&key, &count)?;
///     Ok(count)
/// }
/// brink_sdk::command!(count);
/// # let platform = brink_sdk::testing::Platform::new();
/// # assert_eq!((count(2).unwrap(), count(3).unwrap()), (2, 5));
/// ```
#[macro_export]
macro_rules! command {
    ($handler:path) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::command::Guest for Component {
                fn execute(input: ::std::vec::Vec<u8>) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::vec::Vec<u8>> {
                    $crate::execute(&input, $handler)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::command::export!(Component with_types_in $crate::bindings::command);
        };
    };
}

/// Makes a component of world `plugin` from a type that implements [`Plugin`]. Needs the feature `plugin`:
/// `brink-sdk = { features = ["plugin"], .. }`.
///
/// ```
/// use brink_sdk::{Plugin, RequestHead, ResponseAction, ResponseHead};
/// struct Frames;
/// impl Plugin for Frames {
///     fn on_response(_request: RequestHead, mut response: ResponseHead) -> ResponseAction {
///         response.headers.set("x-frame-options", "DENY");
///         ResponseAction::Change(response)
///     }
/// }
/// brink_sdk::plugin!(Frames);
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::plugin::Guest for Component {
                fn on_request(
                    request: $crate::bindings::plugin::brink::platform::plugin_types::RequestHead,
                ) -> $crate::bindings::plugin::brink::platform::plugin_types::RequestAction {
                    $crate::on_request::<$plugin>(request)
                }

                fn on_response(
                    request: $crate::bindings::plugin::brink::platform::plugin_types::RequestHead,
                    response: $crate::bindings::plugin::brink::platform::plugin_types::ResponseHead,
                ) -> $crate::bindings::plugin::brink::platform::plugin_types::ResponseAction {
                    $crate::on_response::<$plugin>(request, response)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::plugin::export!(Component with_types_in $crate::bindings::plugin);
        };
    };
}
