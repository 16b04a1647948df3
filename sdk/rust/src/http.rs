//! Outbound HTTP, and calls of other modules.
//!
//! Outbound HTTP needs the grant `outbound-http`; the deployment says which hosts may be asked. An answer of this module
//! that depends on an outbound request is stored at PoPs only with a lifetime ([`crate::cache::lifetime`]): nobody can tell
//! the platform when the other server's data change.
//!
//! ```
//! use brink_sdk::{Problem, http, testing::Platform};
//! # let platform = Platform::new();
//! # platform.outbound(|_request| Ok(http::Answer { status: 200, headers: Vec::new(), body: b"1.08".to_vec() }));
//! let answer = http::send(http::Request::get("https://rates.example/EUR/USD").timeout_ms(500))?;
//! assert_eq!((answer.status, answer.body.as_slice()), (200, &b"1.08"[..]));
//! # Ok::<(), Problem>(())
//! ```
//!
//! Another module of the same tenant is called by its name ([`Request::module`]). It runs at the same place: there is no
//! network, no grant and no cache between. What it reads, says of its answer ([`crate::cache`]) and writes counts for the
//! caller's answer as if the caller had done it. It sees the headers that it is given and no others, but
//! [`crate::identity`] is that of the client. Modules call each other at most 8 deep, and one request calls at most 64;
//! a name that is not deployed is an [`Error::Failed`], a module that fails answers with its problem document.
//!
//! ```
//! use brink_sdk::{Problem, http, testing::Platform};
//! # let platform = Platform::new();
//! # platform.outbound(|request| {
//! #     assert_eq!(request.url(), "http://inventory.module.brink.internal/inventory/items/AB-1");
//! #     Ok(http::Answer { status: 200, headers: Vec::new(), body: b"{}".to_vec() })
//! # });
//! let item = http::send(http::Request::module("inventory", "/inventory/items/AB-1"))?;
//! assert_eq!(item.status, 200);
//! # Ok::<(), Problem>(())
//! ```

use crate::host;

pub use crate::message::{ANSWER_BYTES_MAX, Answer, Error, Request};

/// Sends a request and waits for the whole answer.
///
/// # Errors
/// The request is not possible, the server did not answer, or its answer is too long. A status of 400 and more is an answer.
pub fn send(request: Request) -> Result<Answer, Error> {
    host::outbound::send(request)
}
