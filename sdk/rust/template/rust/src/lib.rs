//! Answers `GET /{{name}}` with a greeting, and `GET /{{name}}/items/SKU` with the catalog's item.

use brink_sdk::records::{self, Key};
use brink_sdk::{Method, Problem, Request, Response, cache, config, identity};
use serde::Serialize;

#[derive(Serialize)]
struct Greeting {
    greeting: String,
    pop: String,
}

fn handle(request: Request) -> Result<Response, Problem> {
    let segments = request.segments();
    match (request.method(), segments.as_slice()) {
        (Method::Get, [_]) => {
            let word = config::get("greeting").unwrap_or_else(|| "Hello".to_owned());
            let name = request.query("name").unwrap_or("world");
            cache::lifetime(60);
            Ok(Response::json(&Greeting { greeting: format!("{word}, {name}!"), pop: identity::pop() }))
        }
        (Method::Get, [_, "items", sku]) => {
            // Reading the record makes it a tag of the answer: a write to it takes the answer out of every cache.
            let item = records::get(&Key::new("catalog", "items", *sku))?;
            let item = item.ok_or_else(|| Problem::not_found(format!("no item {sku}")))?;
            cache::lifetime(3600);
            Ok(Response::new("application/json", item.value).etag())
        }
        (Method::Get, _) => Err(Problem::not_found("nothing here")),
        _ => Ok(Response::method_not_allowed(&["GET", "HEAD"])),
    }
}

brink_sdk::module!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use brink_sdk::testing::Platform;

    #[test]
    fn greets() {
        let platform = Platform::new();
        platform.config("greeting", "Hej");
        let response = handle(Request::get("/{{name}}?name=Ada")).unwrap();
        assert_eq!(response.body(), br#"{"greeting":"Hej, Ada!","pop":"test"}"#);
        assert_eq!(platform.lifetime(), Some(60));
    }

    #[test]
    fn answers_with_an_item_or_says_that_there_is_none() {
        let platform = Platform::new();
        platform.record("catalog", "items", "AB-1", &"a shelf");
        assert_eq!(handle(Request::get("/{{name}}/items/AB-1")).unwrap().body(), br#""a shelf""#);
        assert_eq!(handle(Request::get("/{{name}}/items/none")).unwrap_err().status(), 404);
        assert_eq!(handle(Request::given("DELETE", "/{{name}}")).unwrap().status(), 405);
    }
}
