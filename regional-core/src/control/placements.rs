//! Collections and how they are placed, regions and what takes the place of a lost one.

use super::app::App;
use super::extract::{Admin, JsonBody, PathParts, Reader};
use super::records::head;
use super::reply::{Failure, Removed, Reply, Written};
use crate::{placement::Promotion, tokens::Caller};
use axum::{Json, extract::State};
use brink_protocol::{
    RegionName,
    control::{MainRegion, NewCollection, PromoteRegion, RegionCores, Regions},
    placement::{Collection, Pending, PlacementTable, Step},
};
use std::sync::Arc;

fn installation_only(caller: &Caller) -> Result<(), Failure> {
    if caller.is_installation_admin() {
        return Ok(());
    }
    Err(Failure::new(
        403,
        "forbidden",
        "The token may not do this",
        "Regions are the whole installation's: this needs an administrator of the tenant `default`.",
    ))
}

/// Declares how a collection is placed. Takes some seconds where several cores share a database: all have to know.
#[utoipa::path(put, path = "/v1/collections/{name}", tag = "placement", request_body = NewCollection,
    params(("name" = String, Path, description = "The collection")), responses((status = 200, body = Collection)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(name): PathParts<String>,
    JsonBody(new): JsonBody<NewCollection>,
) -> Reply<Written<Collection>> {
    let collection = Collection {
        tenant: caller.tenant.clone(),
        name: name.clone(),
        placement: new.placement,
        home: new.home,
        audit_ms: new.audit_ms,
        archive: new.archive,
    };
    let placements = app.home.placements();
    placements
        .declare(&caller, &name, Some(collection.clone()))
        .await?;
    Ok(Written::ok(head(&*app.store), collection))
}

/// Forgets how a collection is placed: its keys are taken as they are.
#[utoipa::path(delete, path = "/v1/collections/{name}", tag = "placement",
    params(("name" = String, Path, description = "The collection")), responses((status = 204)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(name): PathParts<String>,
) -> Reply<Removed> {
    let placements = app.home.placements();
    find(&app, &caller, &name)?;
    placements.declare(&caller, &name, None).await?;
    Ok(Removed(head(&*app.store)))
}

fn find(app: &App, caller: &Caller, name: &str) -> Result<Collection, Failure> {
    let table = app.home.placements().current();
    let found = table.collection(&caller.tenant, name).cloned();
    found.ok_or_else(|| Failure::not_found(format!("the collection {name} is not declared")))
}

/// How a collection is placed.
#[utoipa::path(get, path = "/v1/collections/{name}", tag = "placement",
    params(("name" = String, Path, description = "The collection")), responses((status = 200, body = Collection)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    PathParts(name): PathParts<String>,
) -> Reply<Json<Collection>> {
    find(&app, &caller, &name).map(Json)
}

/// Collections whose placement is declared.
#[utoipa::path(get, path = "/v1/collections", tag = "placement", responses((status = 200, body = [Collection])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Json<Vec<Collection>> {
    let table = app.home.placements().current();
    let own = table.collections.get(&caller.tenant);
    Json(
        own.map(|own| own.values().cloned().collect())
            .unwrap_or_default(),
    )
}

fn shown(app: &App, caller: &Caller) -> Regions {
    let placements = app.home.placements();
    let table = placements.current();
    let mut names: Vec<RegionName> = table.regions().into_iter().cloned().collect();
    names.extend(placements.own().cloned());
    names.sort();
    names.dedup();
    let cores = |name: RegionName| RegionCores {
        cores: app
            .home
            .cores(&name)
            .into_iter()
            .map(|core| core.node)
            .collect(),
        name,
    };
    Regions {
        own: app.region.clone(),
        main: table.main.clone(),
        promoted: table.promoted.clone(),
        pending: pending_of(&table, caller),
        regions: names.into_iter().map(cores).collect(),
    }
}

/// The changes under way that somebody may see: of the caller's own collections, and of regions.
fn pending_of(table: &PlacementTable, caller: &Caller) -> Vec<Pending> {
    let is_seen = |pending: &&Pending| match &pending.step {
        Step::Collection { tenant, .. } => *tenant == caller.tenant,
        Step::Main { .. } | Step::Promote { .. } => true,
    };
    let seen = table.all_pending().filter(is_seen).cloned();
    let shown = seen.map(|pending| Pending {
        // A token of another tenant.
        by: match &pending.step {
            Step::Main { .. } | Step::Promote { .. } if !caller.is_installation_admin() => {
                String::new()
            }
            _ => pending.by,
        },
        ..pending
    });
    shown.collect()
}

/// The regions, as this core knows them.
#[utoipa::path(get, path = "/v1/regions", tag = "placement", responses((status = 200, body = Regions)))]
pub(super) async fn regions(State(app): State<Arc<App>>, Reader(caller): Reader) -> Json<Regions> {
    Json(shown(&app, &caller))
}

/// Sets the home of partitions that no placement gives another.
#[utoipa::path(put, path = "/v1/regions/main", tag = "placement", request_body = MainRegion,
    responses((status = 200, body = Regions)))]
pub(super) async fn set_main(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    JsonBody(main): JsonBody<MainRegion>,
) -> Reply<Written<Regions>> {
    installation_only(&caller)?;
    app.home.placements().set_main(&caller, main.region).await?;
    Ok(Written::ok(head(&*app.store), shown(&app, &caller)))
}

/// Gives the homes of a region that is lost for good to another. What lay in the lost region alone is lost but for backups.
#[utoipa::path(post, path = "/v1/regions/{name}/promote", tag = "placement", request_body = PromoteRegion,
    params(("name" = String, Path, description = "The lost region")), responses((status = 200, body = Regions)))]
pub(super) async fn promote(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(from): PathParts<String>,
    JsonBody(promote): JsonBody<PromoteRegion>,
) -> Reply<Written<Regions>> {
    installation_only(&caller)?;
    let promotion = Promotion {
        from: from.parse()?,
        to: promote.to,
        data_center: promote.data_center,
    };
    app.home.placements().promote(&caller, &promotion).await?;
    Ok(Written::ok(head(&*app.store), shown(&app, &caller)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::control::Role;

    #[test]
    fn nobody_sees_what_another_tenant_declares() {
        let mut table = PlacementTable::default();
        let tenants = ["default", "shop", "bank"];
        for tenant in tenants {
            table.begin(Pending {
                id: tenant.into(),
                at_ms: 1,
                by: format!("{tenant}'s"),
                step: Step::Collection {
                    tenant: tenant.parse().unwrap(),
                    name: "c".into(),
                    to: None,
                },
            });
        }
        table.begin(Pending {
            id: "regions".into(),
            at_ms: 1,
            by: "root".into(),
            step: Step::Main { to: None },
        });
        for (tenant, by) in [("default", "root"), ("shop", ""), ("other", "")] {
            let caller = Caller {
                id: "t".into(),
                role: Role::Admin,
                tenant: tenant.parse().unwrap(),
            };
            let seen = pending_of(&table, &caller);
            let of_regions = seen.iter().find(|pending| pending.id == "regions").unwrap();
            assert_eq!(of_regions.by, by, "{tenant}");
            let own: Vec<_> = seen
                .iter()
                .filter(|p| p.id != "regions")
                .map(|p| p.id.as_str())
                .collect();
            let expected = if tenants.contains(&tenant) {
                vec![tenant]
            } else {
                Vec::new()
            };
            assert_eq!(own, expected);
        }
    }
}
