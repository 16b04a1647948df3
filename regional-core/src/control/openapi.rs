//! The description of the control API: OpenAPI 3.1, made from the handlers and types themselves.

use super::{
    backups, cloudflare, deployments, erasures, events, fastly, modules, partitions, placements,
    projections, purges, records, status, tenants, tokens, trail, workflows,
};
use axum::Json;
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        let key = ApiKey::Header(ApiKeyValue::new("Fastly-Key"));
        components.add_security_scheme("fastly", SecurityScheme::ApiKey(key));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Brink control API",
        description = "Publish, deploy, route, purge, watch. Every error is a problem document (RFC 9457); every write \
            answers with its position in the header `brink-position`, and with a session token in `brink-session`."
    ),
    paths(
        modules::publish, modules::list, modules::versions, modules::component,
        deployments::deploy, deployments::list, deployments::rollback, deployments::remove,
        deployments::routes, deployments::put_route, deployments::remove_route,
        purges::create, purges::list, purges::status,
        fastly::key, fastly::keys, fastly::all, fastly::url,
        cloudflare::purge, cloudflare::invalidate,
        records::import, records::browse, trail::read, partitions::read, partitions::hot,
        events::read, events::append,
        projections::list, projections::letters, projections::retry, projections::drop_letter,
        projections::replay, projections::drop_target,
        workflows::start, workflows::list, workflows::get, workflows::retry, workflows::cancel,
        placements::put, placements::get, placements::list, placements::remove,
        placements::regions, placements::set_main, placements::promote,
        tokens::create, tokens::list, tokens::remove, tokens::audit,
        backups::list, backups::take, backups::doctor, erasures::create, erasures::status, erasures::key,
        tenants::export, tenants::import,
        status::health, status::status, status::pops, status::pop_admin, status::logs,
    ),
    components(schemas(brink_protocol::problem::Problem)),
    security(("token" = [])),
    modifiers(&Bearer)
)]
struct Document;

static DOCUMENT: LazyLock<openapi::OpenApi> = LazyLock::new(Document::openapi);

/// The document.
pub(super) async fn document() -> Json<&'static openapi::OpenApi> {
    Json(&DOCUMENT)
}
