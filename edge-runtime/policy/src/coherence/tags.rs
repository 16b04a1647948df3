//! Tags as hashes.

use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    place::{merged, without_port},
    purge::PREFIX_SEGMENTS_MAX,
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A tag, hashed: of tenant, kind and content.
pub type TagHash = u64;

/// Kinds of tags, so that equal contents of two kinds differ.
#[derive(Hash, Clone, Copy)]
enum Kind {
    Record,
    Partition,
    Name,
    Module,
    Url,
    Prefix,
    Host,
    Everything,
    Group,
    Page,
}

fn hash(kind: Kind, tenant: &TenantName, parts: &[&str]) -> TagHash {
    let mut hasher = DefaultHasher::new();
    (kind as u8).hash(&mut hasher);
    tenant.as_str().hash(&mut hasher);
    for part in parts {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

/// One record.
#[must_use]
pub fn record(partition: &PartitionAddress, sort: &str) -> TagHash {
    let PartitionAddress {
        tenant,
        collection,
        partition,
    } = partition;
    hash(Kind::Record, tenant, &[collection, partition, sort])
}

/// Any record of a partition. A range is held against all writes to its partition: bounds can make an invalidation
/// spurious here, never missed.
#[must_use]
pub fn partition(tenant: &TenantName, collection: &str, partition: &str) -> TagHash {
    hash(Kind::Partition, tenant, &[collection, partition])
}

/// A name given by an author.
#[must_use]
pub fn name(tenant: &TenantName, name: &str) -> TagHash {
    hash(Kind::Name, tenant, &[name])
}

/// A module's answers.
#[must_use]
pub fn module(tenant: &TenantName, module: &str) -> TagHash {
    hash(Kind::Module, tenant, &[module])
}

/// A URL in the form of [`brink_protocol::purge::normal_url`].
#[must_use]
pub fn url(tenant: &TenantName, url: &str) -> TagHash {
    hash(Kind::Url, tenant, &[url])
}

/// A host in the form of [`brink_protocol::purge::normal_host`].
#[must_use]
pub fn host(tenant: &TenantName, host: &str) -> TagHash {
    hash(Kind::Host, tenant, &[host])
}

/// Everything of a tenant.
#[must_use]
pub fn everything(tenant: &TenantName) -> TagHash {
    hash(Kind::Everything, tenant, &[])
}

/// A cache group of a host. RFC 9875.
#[must_use]
pub fn group(tenant: &TenantName, host: &str, group: &str) -> TagHash {
    hash(Kind::Group, tenant, &[host, group])
}

/// The prefix `host/path` of a purge; one without a path is the host.
#[must_use]
pub fn prefix(tenant: &TenantName, prefix: &str) -> TagHash {
    let (name, path) = prefix.split_once('/').unwrap_or((prefix, ""));
    let path = merged(without_query(path));
    match cuts(path.trim_matches('/')).last() {
        Some(path) => hash(Kind::Prefix, tenant, &[name, path]),
        None => host(tenant, name),
    }
}

/// The tags that every entry of a URI has: its URL, host, path prefixes and tenant. A host with a port has those of the
/// host without it too: routes and purges that name no port mean every port.
#[must_use]
pub fn implicit(tenant: &TenantName, name: &str, path_and_query: &str) -> Vec<TagHash> {
    let mut tags = vec![everything(tenant)];
    let path = merged(without_query(path_and_query));
    for name in std::iter::once(name).chain(without_port(name)) {
        tags.push(url(tenant, &format!("{name}{path_and_query}")));
        tags.push(host(tenant, name));
        let cuts = cuts(path.trim_matches('/'));
        tags.extend(cuts.map(|cut| hash(Kind::Prefix, tenant, &[name, cut])));
    }
    tags
}

/// The URL without its query, at its host with the port and without: what an entry has beside where its key leaves some of the
/// query out, so that a purge of any URL that leads to it ends it.
pub fn pages(
    tenant: &TenantName,
    name: &str,
    path_and_query: &str,
) -> impl Iterator<Item = TagHash> {
    let path = without_query(path_and_query);
    let names = std::iter::once(name).chain(without_port(name));
    names.map(move |name| page(tenant, &format!("{name}{path}")))
}

/// All URLs that differ in their query alone from one in the form of [`brink_protocol::purge::normal_url`].
#[must_use]
pub fn page(tenant: &TenantName, url: &str) -> TagHash {
    hash(Kind::Page, tenant, &[without_query(url)])
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// `a`, `a/b`, `a/b/c` of `a/b/c`, each without slashes at its end and once, at most [`PREFIX_SEGMENTS_MAX`].
fn cuts(path: &str) -> impl Iterator<Item = &str> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    let cuts = ends.filter_map(|end| path.get(..end));
    cuts.filter(|cut| !cut.is_empty() && !cut.ends_with('/'))
        .take(PREFIX_SEGMENTS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::coherence::tags;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    #[test]
    fn prefixes() {
        let t = tenant("t");
        for (prefix, path, expected) in [
            ("h/a", "/a", true),
            ("h/a", "/a/", true),
            ("h/a", "/a/b?c", true),
            ("h/a", "/a?b", true),
            ("h/a/", "/a/b", true),
            ("h/a/b", "/a/b/c/d", true),
            ("h/a", "/ab", false),
            ("h/a/b", "/a", false),
            ("h/a", "/b/a", false),
            ("g/a", "/a", false),
            ("h/", "/a/b", true),
            ("h", "/a/b", true),
            ("h/a//", "/a//b", true),
            ("h/a//b", "/a//b/c", true),
            ("h/a/b", "//a//b/c", true),
        ] {
            let found = tags::implicit(&t, "h", path).contains(&tags::prefix(&t, prefix));
            assert_eq!(found, expected, "{prefix} {path}");
        }
        assert!(!tags::implicit(&t, "h", "/a").contains(&tags::prefix(&tenant("u"), "h/a")));
    }

    #[test]
    fn what_names_no_port_means_every_port() {
        let t = tenant("t");
        let of = |host: &str| tags::implicit(&t, host, "/a/b?c");
        for (tag, with_port, without) in [
            (tags::host(&t, "h"), true, true),
            (tags::host(&t, "h:8443"), true, false),
            (tags::prefix(&t, "h/a"), true, true),
            (tags::prefix(&t, "h:8443/a"), true, false),
            (tags::url(&t, "h/a/b?c"), true, true),
            (tags::url(&t, "h:8443/a/b?c"), true, false),
            (tags::host(&t, "h:1"), false, false),
        ] {
            assert_eq!(of("h:8443").contains(&tag), with_port);
            assert_eq!(of("h").contains(&tag), without);
        }
    }

    #[test]
    fn deep_prefixes_end_more_rather_than_less() {
        let t = tenant("t");
        let deep = "/s".repeat(PREFIX_SEGMENTS_MAX + 4);
        let purge = format!("h{}", "/s".repeat(PREFIX_SEGMENTS_MAX + 2));
        let tags = tags::implicit(&t, "h", &deep);
        assert_eq!(tags.len(), 3 + PREFIX_SEGMENTS_MAX);
        assert!(tags.contains(&tags::prefix(&t, &purge)));
    }

    #[test]
    fn kinds_and_parts_differ() {
        let t = tenant("t");
        let partition = |collection: &str, partition: &str| PartitionAddress {
            tenant: t.clone(),
            collection: collection.into(),
            partition: partition.into(),
        };
        let mut all = vec![
            tags::name(&t, "a"),
            tags::module(&t, "a"),
            tags::url(&t, "a"),
            tags::host(&t, "a"),
            tags::prefix(&t, "a/a"),
            tags::everything(&t),
            tags::group(&t, "a", "a"),
            tags::partition(&t, "a", "b"),
            tags::partition(&t, "ab", ""),
            tags::record(&partition("a", "b"), ""),
            tags::record(&partition("a", "b"), "c"),
            tags::record(&partition("a", "bc"), ""),
        ];
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
