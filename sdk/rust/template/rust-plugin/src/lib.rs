//! Turns away clients whose `user-agent` begins with a blocked text, and adds a header to every answer.
//!
//! Config: `blocked`, texts separated by commas.

use brink_sdk::{Plugin, RequestAction, RequestHead, Response, ResponseAction, ResponseHead, config};

struct Filter;

impl Plugin for Filter {
    fn on_request(request: RequestHead) -> RequestAction {
        let agent = request.headers.get("user-agent").unwrap_or_default();
        let blocked = config::get("blocked").unwrap_or_default();
        match blocked.split(',').map(str::trim).any(|start| !start.is_empty() && agent.starts_with(start)) {
            true => RequestAction::Answer(Response::problem(403, "Forbidden", "this client is blocked")),
            false => RequestAction::Pass,
        }
    }

    fn on_response(_request: RequestHead, mut response: ResponseHead) -> ResponseAction {
        response.headers.set("x-frame-options", "DENY");
        ResponseAction::Change(response)
    }
}

brink_sdk::plugin!(Filter);

#[cfg(test)]
mod tests {
    use super::*;
    use brink_sdk::testing::Platform;

    #[test]
    fn blocks_by_user_agent() {
        let platform = Platform::new();
        platform.config("blocked", "bad/, worse/");
        for (agent, blocked) in [("worse/1", true), ("good/1 bad/", false), ("", false)] {
            let mut request = RequestHead::given("GET", "/");
            request.headers.set("user-agent", agent);
            let answered = matches!(Filter::on_request(request), RequestAction::Answer(response) if response.status() == 403);
            assert_eq!(answered, blocked, "{agent}");
        }
    }
}
