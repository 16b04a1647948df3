//! Whether an answer is stored, and under which tags.

use super::{
    request::{Dependencies, Kept, Ruled, Session},
    stored::{HEAD_BYTES_MAX, head_bytes},
};
use brink_policy::{
    coherence::{Dependency, tags},
    http::{
        Lifetime, NoStoreReason,
        invalidate::represents_target,
        storable as is_storable,
        storable::{Candidate, has_lifetime},
    },
    names,
    shield::is_kept_by_pop,
};
use brink_protocol::{TenantName, deployment::WhenDisconnected, purge::TagName, tag::Tag};
use http::{HeaderMap, Method, StatusCode, response::Parts};
use std::{fmt::Write as _, time::SystemTime};

/// Most tags of one entry.
const TAGS_MAX: usize = 1024;
/// When an answer depends on more records than this, it depends on their partitions instead.
const RECORD_TAGS_MAX: usize = 512;
/// Longest description of an entry's tags, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2048;

/// The request whose answer is judged, kept while it is away.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) tenant: TenantName,
    pub(super) host: Box<str>,
    pub(super) path_and_query: Box<str>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) no_store: bool,
    pub(super) when_disconnected: WhenDisconnected,
    pub(super) session: Session,
    pub(super) ruled: Ruled,
    /// When an unsafe request outdated the URL at the PoP that asks.
    pub(super) outdated_at: Option<SystemTime>,
}

/// Whether an answer is stored, as far as its head and its handler say.
pub(super) fn lifetime(
    subject: &Subject,
    head: &Parts,
    dependencies: &Dependencies,
    received: SystemTime,
) -> Result<Lifetime, NoStoreReason> {
    if dependencies.private {
        return Err(NoStoreReason::Private);
    }
    if dependencies.no_store {
        return Err(NoStoreReason::Handler);
    }
    if dependencies.unnamed && dependencies.lifetime.is_none() && !has_lifetime(&head.headers) {
        return Err(NoStoreReason::Unnamed);
    }
    if head_bytes(&head.headers) > HEAD_BYTES_MAX {
        return Err(NoStoreReason::TooLarge);
    }
    // RFC 9110 §9.3.3: what a `POST` gives may serve a later `GET` if it says so, and for how long.
    let represents = subject.method == Method::POST
        && dependencies.module.is_none()
        && head.status == StatusCode::OK
        && has_lifetime(&head.headers)
        && represents_target(&head.headers, &subject.host, &subject.path_and_query);
    is_storable(&Candidate {
        method: match represents {
            true => &Method::GET,
            false => &subject.method,
        },
        request: &subject.headers,
        request_no_store: subject.no_store,
        status: head.status,
        response: &head.headers,
        by_origin: dependencies.module.is_none(),
        lifetime: dependencies.lifetime.map(|lifetime| lifetime.as_secs()),
        negative: subject.ruled.negative,
        received,
    })
}

/// The same of an answer by way of a shield, which has judged what the origin said.
pub(super) fn shielded(
    subject: &Subject,
    kept: &Kept,
    head: &Parts,
    dependencies: &Dependencies,
) -> Result<Lifetime, NoStoreReason> {
    if dependencies.private {
        return Err(NoStoreReason::Private);
    }
    if dependencies.no_store {
        return Err(NoStoreReason::Handler);
    }
    if !is_kept_by_pop(&subject.headers, head.status, &head.headers) {
        return Err(NoStoreReason::Status);
    }
    if head_bytes(&head.headers) > HEAD_BYTES_MAX || kept.on.len() > TAGS_MAX {
        return Err(NoStoreReason::TooLarge);
    }
    Ok(kept.lifetime)
}

/// Whether records were read, so that the core's position counts.
pub(super) fn reads_records(dependencies: &Dependencies) -> bool {
    dependencies
        .tags
        .iter()
        .any(|tag| matches!(tag, Tag::Record { .. } | Tag::Range { .. }))
}

/// The tags of an answer, each once and in order, and some of them for people.
pub(super) fn tags_of(
    subject: &Subject,
    response: &HeaderMap,
    dependencies: &Dependencies,
) -> Result<(Vec<Dependency>, Box<str>), NoStoreReason> {
    let Subject {
        tenant,
        host,
        path_and_query,
        ..
    } = subject;
    let implicit = tags::implicit(tenant, host, path_and_query);
    let mut on: Vec<_> = implicit.into_iter().map(Dependency::Tag).collect();
    if subject.ruled.changes_query {
        on.extend(tags::pages(tenant, host, path_and_query).map(Dependency::Tag));
    }
    let mut described = String::new();
    let records = dependencies
        .tags
        .iter()
        .filter(|tag| matches!(tag, Tag::Record { .. }))
        .count();
    for tag in &dependencies.tags {
        on.push(match tag {
            Tag::Record { partition, .. } if records > RECORD_TAGS_MAX => {
                Dependency::Tag(tags::partition(
                    &partition.tenant,
                    &partition.collection,
                    &partition.partition,
                ))
            }
            tag => Dependency::on(tag),
        });
        describe(&mut described, tag);
    }
    let own_name = |name: TagName| Tag::Name {
        tenant: tenant.clone(),
        name,
    };
    for name in names::names(response).map_err(|_| NoStoreReason::Tags)? {
        let tag = own_name(name);
        on.push(Dependency::on(&tag));
        describe(&mut described, &tag);
    }
    for group in names::groups(response).map_err(|_| NoStoreReason::Tags)? {
        on.push(tags::group(tenant, host, &group).into());
        if let Ok(name) = group.parse() {
            let tag = own_name(name);
            on.push(Dependency::on(&tag));
            describe(&mut described, &tag);
        }
    }
    if let Some(module) = &dependencies.module {
        let tag = Tag::Module {
            tenant: tenant.clone(),
            module: module.clone(),
        };
        on.push(Dependency::on(&tag));
        describe(&mut described, &tag);
    }
    on.sort_unstable();
    on.dedup();
    if on.len() > TAGS_MAX {
        return Err(NoStoreReason::Tags);
    }
    Ok((on, described.into()))
}

/// Adds a tag in words, if there is room.
fn describe(text: &mut String, tag: &Tag) {
    let start = text.len();
    if start > 0 {
        text.push(' ');
    }
    let _ = match tag {
        Tag::Record { partition, sort } => {
            write!(
                text,
                "record:{}/{}/{sort}",
                partition.collection, partition.partition
            )
        }
        Tag::Range { range, .. } => write!(text, "range:{}/{}", range.collection, range.partition),
        Tag::Name { name, .. } => write!(text, "name:{name}"),
        Tag::Module { module, .. } => write!(text, "module:{module}"),
    };
    if text.len() > DESCRIPTION_BYTES_MAX {
        text.truncate(start);
    }
}
