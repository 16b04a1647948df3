//! Write Brink modules, commands, plugins, projections and workflows in Rust.
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
//! cache ([`cache`] says what else counts, and what makes an answer its caller's own). A **command** ([`command!`]) runs at the regional core in a transaction over one partition; a **plugin**
//! ([`plugin!`]) sees heads of requests and responses; a **projection** ([`projection!`]) makes records of [`events`], and a **workflow**
//! ([`workflow!`]) decides, step by step, what commands do in several partitions: both run at the regional core.
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
#[cfg(test)]
mod contract;
pub mod events;
mod host;
pub mod http;
pub mod identity;
pub mod log;
mod message;
mod module;
#[cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "tests have a server of their own")
)]
mod outbound;
mod plugin;
#[doc(hidden)]
pub mod plugin_types;
mod problem;
mod projection;
pub mod random;
pub mod records;
mod refusal;
mod request;
mod response;
pub mod sourced;
mod streams;
mod target;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod ulid;
mod workflow;
#[doc(hidden)]
pub mod workflow_types;
pub mod workflows;

pub use command::execute;
#[doc(hidden)]
pub use module::serve;
pub use plugin::{Headers, Plugin, RequestAction, RequestHead, ResponseAction, ResponseHead};
#[doc(hidden)]
pub use plugin::{on_request, on_response};
pub use problem::{PROBLEM_JSON, Problem};
pub use projection::{Projection, Target};
#[doc(hidden)]
pub use projection::{apply as project_apply, target as project_target};
pub use request::{BODY_BYTES_MAX, BodyError, Method, Request};
pub use response::{Response, escape_html};
#[doc(hidden)]
pub use wit_bindgen;
pub use workflow::{Halt, STEPS_MAX, Steps, decide};
pub use workflow_types::{Decision, Outcome, Step, StepCall};

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
                fn execute(
                    input: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::vec::Vec<u8>> {
                    $crate::execute(&input, $handler)
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::command::export!(Component with_types_in $crate::bindings::command);
        };
    };
}

/// Makes a component of world `plugin` from a type that implements [`Plugin`].
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
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
            mod bindings {
            // The part of wit/platform.wit that a plugin exports; a test holds it to that file.
            $crate::wit_bindgen::generate!({
                inline: r#"
package brink:platform@0.1.0;

interface plugin-types {
    type headers = list<tuple<string, list<u8>>>;

    record request-head {
        method: string,
        scheme: string,
        authority: string,
        path-and-query: string,
        headers: headers,
        client-address: string,
    }

    record request-change {
        path-and-query: option<string>,
        set: headers,
        remove: list<string>,
    }

    record response-head {
        status: u16,
        headers: headers,
    }

    record response {
        status: u16,
        headers: headers,
        body: list<u8>,
    }

    variant request-action {
        pass,
        change(request-change),
        answer(response),
    }

    variant response-action {
        pass,
        change(response-head),
        answer(response),
    }
}

world plugin {
    use plugin-types.{request-head, response-head, request-action, response-action};

    export on-request: func(request: request-head) -> request-action;
    export on-response: func(request: request-head, response: response-head) -> response-action;
}
"#,
                world: "plugin",
                runtime_path: "::brink_sdk::wit_bindgen::rt",
                with: { "brink:platform/plugin-types@0.1.0": ::brink_sdk::plugin_types },
            });

            pub struct Component;

            #[cfg(target_arch = "wasm32")]
            export!(Component);
            }

            impl bindings::Guest for bindings::Component {
                fn on_request(request: $crate::plugin_types::RequestHead) -> $crate::plugin_types::RequestAction {
                    $crate::on_request::<$plugin>(request)
                }

                fn on_response(
                    request: $crate::plugin_types::RequestHead,
                    response: $crate::plugin_types::ResponseHead,
                ) -> $crate::plugin_types::ResponseAction {
                    $crate::on_response::<$plugin>(request, response)
                }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_plugins_world_is_that_of_the_contract() {
        crate::contract::check(include_str!("lib.rs"), "plugin");
    }
}
