//! Session tokens on answers to writes (coherence.md, P4).

use super::app::App;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use brink_protocol::{Position, control::POSITION_HEADER, session::SESSION_HEADER};
use http::HeaderValue;
use std::sync::Arc;

/// Whoever carries the token back sees what this request wrote, at any PoP.
pub(super) async fn sign(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let position = response.headers().get(POSITION_HEADER);
    let position = position.and_then(|value| value.to_str().ok()?.parse::<Position>().ok());
    let token = position.and_then(|position| app.sessions.sign(&position));
    if let Some(Ok(token)) = token.map(|token| HeaderValue::from_str(&token)) {
        response.headers_mut().insert(SESSION_HEADER, token);
    }
    response
}
