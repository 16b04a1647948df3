//! `brink collections` and `brink regions`.

use crate::{
    args::{CollectionPut, Collections, CollectionsAction, RegionsAction, RegionsArgs, Span},
    client::{Client, encoded},
    error::Error,
    output::{Output, table},
};
use brink_protocol::{
    RegionName,
    control::{MainRegion, NewCollection, PromoteRegion, Regions},
    placement::{Bucket, Collection, Placement, Step},
};
use http::Method;
use std::collections::BTreeMap;

/// Lists, shows, declares and forgets collections.
pub(super) async fn collections(
    args: Collections,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let path = |name: &str| format!("/v1/collections/{}", encoded(name));
    match args.action.unwrap_or(CollectionsAction::List) {
        CollectionsAction::List => {
            let all: Vec<Collection> = client()?.get("/v1/collections").await?;
            output.result(&all, |all| list(all))
        }
        CollectionsAction::Get { name } => {
            let found: Collection = client()?.get(&path(&name)).await?;
            output.result(&found, |found| list(std::slice::from_ref(found)))
        }
        CollectionsAction::Put(put) => {
            let path = path(&put.name);
            let new = declared(put)?;
            let put: Collection = client()?.send_json(Method::PUT, &path, &new).await?;
            output.result(&put, |put| list(std::slice::from_ref(put)))
        }
        CollectionsAction::Delete { name } => {
            client()?.delete(&path(&name)).await?;
            let deleted = serde_json::json!({ "name": name });
            output.result(&deleted, |_| format!("{name} is not declared any more"))
        }
    }
}

fn declared(put: CollectionPut) -> Result<NewCollection, Error> {
    let placement = if !put.parts.is_empty() {
        Placement::Composite { parts: put.parts }
    } else if !put.geo.is_empty() {
        let regions: Result<BTreeMap<_, _>, Error> =
            put.geo.iter().map(|text| region(text)).collect();
        Placement::Geo {
            regions: regions?,
            pinned: !put.unpinned,
        }
    } else if let Some(span) = put.time {
        let bucket = match span {
            Span::Hour => Bucket::Hour,
            Span::Day => Bucket::Day,
            Span::Month => Bucket::Month,
        };
        Placement::Time {
            bucket,
            lifetime_ms: put.lifetime_ms,
        }
    } else {
        Placement::Hash {}
    };
    Ok(NewCollection {
        placement,
        home: put.home,
        audit_ms: put.audit,
        archive: put.archive,
    })
}

/// `PART=REGION`.
fn region(text: &str) -> Result<(String, RegionName), Error> {
    let (part, region) = text
        .split_once('=')
        .ok_or_else(|| Error::Usage(format!("{text:?} is not written PART=REGION")))?;
    let region = region
        .parse()
        .map_err(|error| Error::Usage(format!("{text:?}: {error}")))?;
    Ok((part.to_owned(), region))
}

fn list(collections: &[Collection]) -> String {
    let row = |collection: &Collection| {
        let (kind, detail) = match &collection.placement {
            Placement::Hash {} => ("hash", String::new()),
            Placement::Composite { parts } => ("composite", parts.join("/")),
            Placement::Geo { regions, pinned } => {
                let pairs: Vec<_> = regions
                    .iter()
                    .map(|(part, r)| format!("{part}={r}"))
                    .collect();
                let pinned = if *pinned { ", pinned" } else { "" };
                ("geo", format!("{}{pinned}", pairs.join(" ")))
            }
            Placement::Time {
                bucket,
                lifetime_ms,
            } => {
                let lifetime = lifetime_ms.map(|ms| format!(", lifetime {ms} ms"));
                (
                    "time",
                    format!("{}{}", bucket.example(), lifetime.unwrap_or_default()),
                )
            }
        };
        let audit = collection.audit_ms.map(|ms| format!("audit {ms} ms"));
        let archive = collection.archive.then(|| "archive".to_owned());
        let kept: Vec<String> = audit.into_iter().chain(archive).collect();
        let home = collection.home.as_ref().map(ToString::to_string);
        vec![
            collection.name.clone(),
            kind.to_owned(),
            detail,
            home.unwrap_or_default(),
            kept.join(", "),
        ]
    };
    let rows = collections.iter().map(row).collect::<Vec<_>>();
    table(&["COLLECTION", "PLACEMENT", "KEYS", "HOME", "KEPT"], &rows)
}

/// Lists regions, sets the main one, promotes.
pub(super) async fn regions(
    args: RegionsArgs,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let regions: Regions = match args.action.unwrap_or(RegionsAction::List) {
        RegionsAction::List => client()?.get("/v1/regions").await?,
        RegionsAction::Main { region, .. } => {
            let main = MainRegion { region };
            client()?
                .send_json(Method::PUT, "/v1/regions/main", &main)
                .await?
        }
        RegionsAction::Promote {
            from,
            to,
            data_center,
            ..
        } => {
            let promote = PromoteRegion { to, data_center };
            let path = format!("/v1/regions/{from}/promote");
            client()?.send_json(Method::POST, &path, &promote).await?
        }
    };
    output.result(&regions, shown)
}

fn shown(regions: &Regions) -> String {
    let row = |region: &brink_protocol::control::RegionCores| {
        let mut notes = Vec::new();
        if region.name.as_str() == regions.own {
            notes.push("asked".to_owned());
        }
        if regions.main.as_ref() == Some(&region.name) {
            notes.push("main".to_owned());
        }
        if let Some(to) = regions.promoted.get(&region.name) {
            notes.push(format!("lost, now {to}"));
        }
        let cores: Vec<_> = region.cores.iter().map(ToString::to_string).collect();
        vec![region.name.to_string(), cores.join(" "), notes.join(", ")]
    };
    let rows = regions.regions.iter().map(row).collect::<Vec<_>>();
    let mut text = table(&["REGION", "OTHER CORES", ""], &rows);
    for pending in &regions.pending {
        let what = match &pending.step {
            Step::Collection { name, .. } => format!("how the collection {name} is placed"),
            Step::Main { to } => {
                let to = to.as_ref().map_or("none", RegionName::as_str);
                format!("the main region is to be {to}")
            }
            Step::Promote { from, to } => format!("{to} takes the place of {from}"),
        };
        text.push_str(&format!("\na change is under way: {what}"));
    }
    text
}
