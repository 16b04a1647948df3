//! Names that authors give to responses: `Surrogate-Key`, `Cache-Tag`, `Cache-Groups` (RFC 9875).

use crate::http::fields::{lines, members};
use ::http::{HeaderMap, HeaderName};
use brink_protocol::purge::{TAG_NAMES_MAX, TagName};

/// `Surrogate-Key`: names parted by space.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// `Cache-Tag`: names parted by commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// `Cache-Groups`: RFC 9875 §2.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation`: RFC 9875 §3.
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// Most groups of one field, and longest name of one, that RFC 9875 §2 asks for.
const GROUPS_MAX: usize = 32;

/// A response has more names than are kept: if it were stored, a purge by one of them would not find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a response has more than {TAG_NAMES_MAX} names")]
pub struct TooManyNames;

/// The names of a response; what is not a [`TagName`] cannot be purged by and is left out.
///
/// # Errors
/// There are more than [`TAG_NAMES_MAX`].
pub fn names(response: &HeaderMap) -> Result<Vec<TagName>, TooManyNames> {
    let mut names = Vec::new();
    let mut add = |name: &str| {
        if let Ok(name) = name.parse::<TagName>() {
            if names.len() == TAG_NAMES_MAX {
                return Err(TooManyNames);
            }
            names.push(name);
        }
        Ok(())
    };
    for value in lines(response, &SURROGATE_KEY) {
        value.split_ascii_whitespace().try_for_each(&mut add)?;
    }
    lines(response, &CACHE_TAG)
        .flat_map(members)
        .try_for_each(&mut add)?;
    Ok(names)
}

/// The groups that a response belongs to, within its origin.
///
/// # Errors
/// There are more than [`TAG_NAMES_MAX`].
pub fn groups(response: &HeaderMap) -> Result<Vec<String>, TooManyNames> {
    strings(response, &CACHE_GROUPS, TAG_NAMES_MAX)
}

/// The groups that the answer to an unsafe request invalidates; at most 32, as RFC 9875 §3 asks for.
#[must_use]
pub fn invalidated_groups(response: &HeaderMap) -> Vec<String> {
    let mut groups = strings(response, &CACHE_GROUP_INVALIDATION, usize::MAX).unwrap_or_default();
    groups.truncate(GROUPS_MAX);
    groups
}

/// A structured list of strings; a field that is not one is ignored.
fn strings(
    response: &HeaderMap,
    name: &HeaderName,
    max: usize,
) -> Result<Vec<String>, TooManyNames> {
    if !response.contains_key(name) {
        return Ok(Vec::new());
    }
    let text = lines(response, name).collect::<Vec<_>>().join(",");
    let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() else {
        return Ok(Vec::new());
    };
    if list.len() > max {
        return Err(TooManyNames);
    }
    let string = |entry: sfv::ListEntry| match entry {
        sfv::ListEntry::Item(sfv::Item {
            bare_item: sfv::BareItem::String(text),
            ..
        }) => Some(text.into()),
        sfv::ListEntry::Item(_) | sfv::ListEntry::InnerList(_) => None,
    };
    Ok(list.into_iter().filter_map(string).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn read() {
        let response = map(&[
            (SURROGATE_KEY, "a  b"),
            (SURROGATE_KEY, "c"),
            (CACHE_TAG, "d, e f,,g"),
            (CACHE_GROUPS, "\"h\", i, \"j k\"; x=1"),
        ]);
        let names: Vec<_> = names(&response)
            .unwrap()
            .into_iter()
            .map(String::from)
            .collect();
        assert_eq!(names, ["a", "b", "c", "d", "g"]);
        assert_eq!(groups(&response).unwrap(), ["h", "j k"]);
    }

    #[test]
    fn bounded() {
        let at_limit = vec!["x"; TAG_NAMES_MAX].join(" ");
        assert_eq!(
            names(&map(&[(SURROGATE_KEY, &at_limit)])).unwrap().len(),
            TAG_NAMES_MAX
        );
        let over = format!("{at_limit} y");
        assert_eq!(names(&map(&[(SURROGATE_KEY, &over)])), Err(TooManyNames));
        let many = vec!["\"x\""; 200].join(",");
        assert_eq!(groups(&map(&[(CACHE_GROUPS, &many)])), Err(TooManyNames));
        assert_eq!(
            invalidated_groups(&map(&[(CACHE_GROUP_INVALIDATION, &many)])).len(),
            32
        );
        assert!(
            groups(&map(&[(CACHE_GROUPS, "\"open")]))
                .unwrap()
                .is_empty()
        );
    }
}
