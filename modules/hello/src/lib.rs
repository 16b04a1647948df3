//! The smallest module: a greeting, in JSON or in HTML.
//!
//! `GET /hello?name=Ada` answers `{"greeting":"Hello, Ada!","pop":"ams"}`, or a page if the client would rather have HTML.
//! It reads no record, so nothing but time or a purge takes its answers out: they carry the name `greetings` for that.
//! Config: `greeting` (default `Hello`), `lifetime` (seconds that PoPs keep the answer, default 60).

use brink_sdk::{Method, Problem, Request, Response, cache, config, escape_html, identity};
use serde::Serialize;

/// Longest name that is greeted, in characters.
const NAME_CHARS_MAX: usize = 64;

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Greeting {
    greeting: String,
    pop: String,
}

/// Answers a request.
///
/// # Errors
/// The name is too long, or the configured lifetime is not a number.
pub fn handle(request: Request) -> Result<Response, Problem> {
    if *request.method() != Method::Get {
        return Ok(Response::method_not_allowed(&["GET", "HEAD"]));
    }
    let name = request
        .query("name")
        .filter(|name| !name.is_empty())
        .unwrap_or("world");
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "name: at most {NAME_CHARS_MAX} characters"
        )));
    }
    let word = config::get("greeting").unwrap_or_else(|| "Hello".to_owned());
    let answer = Greeting {
        greeting: format!("{word}, {name}!"),
        pop: identity::pop(),
    };
    let html = request
        .header("accept")
        .is_some_and(|accept| prefers_html(&accept));

    // No record is read here, so nothing would tell a PoP how long the answer holds.
    cache::lifetime(config::parse("lifetime")?.unwrap_or(60));
    cache::tag(&["greetings"])?;
    let response = if html {
        Response::html(page(&answer))
    } else {
        Response::json(&answer)
    };
    Ok(response
        .header("vary", "accept")
        .header("cache-control", "no-cache")
        .etag())
}

/// Browsers name `text/html` first; API clients name it not at all.
fn prefers_html(accept: &str) -> bool {
    accept
        .split(',')
        .next()
        .is_some_and(|first| first.trim().starts_with("text/html"))
}

fn page(answer: &Greeting) -> String {
    let (greeting, pop) = (escape_html(&answer.greeting), escape_html(&answer.pop));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{greeting}</title>\n<h1>{greeting}</h1>\n<p>Answered by the PoP <b>{pop}</b>.</p>\n</html>\n"
    )
}

brink_sdk::module!(handle);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_sdk::testing::Platform;

    fn body(response: &Response) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[test]
    fn greets_in_json_by_default() {
        let platform = Platform::new();
        let response = handle(Request::get("/hello")).unwrap();
        assert_eq!(
            body(&response),
            r#"{"greeting":"Hello, world!","pop":"test"}"#
        );
        assert_eq!(platform.lifetime(), Some(60));
        assert_eq!(response.get("vary"), Some("accept"));
    }

    #[test]
    fn greets_in_html_and_escapes() {
        let platform = Platform::new();
        platform.config("greeting", "Hej").config("lifetime", "5");
        let request = Request::get("/hello?name=%3Cb%3E")
            .with_header("accept", "text/html,application/xml;q=0.9");
        let response = handle(request).unwrap();
        assert!(
            body(&response).contains("<h1>Hej, &lt;b&gt;!</h1>"),
            "{}",
            body(&response)
        );
        assert_eq!(platform.lifetime(), Some(5));
    }

    #[test]
    fn refuses() {
        let platform = Platform::new();
        let long = format!("/hello?name={}", "x".repeat(65));
        assert_eq!(handle(Request::get(&long)).unwrap_err().status(), 400);
        assert_eq!(
            handle(Request::given("POST", "/hello")).unwrap().status(),
            405
        );
        platform.config("lifetime", "soon");
        assert_eq!(handle(Request::get("/hello")).unwrap_err().status(), 500);
    }
}
