//! Freshness lifetimes, and what is done with what is stored.

use crate::{age::at, models};
use brink_policy::http::{
    Connection, RequestDirectives, ResponseDirectives, Reuse, fields::date_value, reuse,
    reuse::StaleReason, reuse::Stored, storable, storable::Candidate,
};
use brink_protocol::caching::Negative;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;

const DIRECTIVES: &str = "(max-age|s-maxage|MAX-age|public|must-revalidate|foo|stale-if-error)(=[0-9]{1,11}|=\"[0-9]{1,4}\"|=x|)";

fn headers(response: &models::Response) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Without a validator what is never fresh is not stored at all.
    headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    if let Some(value) = &response.cache_control {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
    }
    if let Some(expires) = response.expires {
        let value = expires.map(|seconds| date_value(at(seconds)).unwrap());
        headers.insert(
            header::EXPIRES,
            value.unwrap_or(HeaderValue::from_static("0")),
        );
    }
    for (name, time) in [
        (header::DATE, response.date),
        (header::LAST_MODIFIED, response.modified),
    ] {
        if let Some(time) = time {
            headers.insert(name, date_value(at(time)).unwrap());
        }
    }
    headers
}

fn times() -> impl Strategy<Value = i64> {
    1_000_000_000i64..1_003_000_000
}

proptest! {
    #[test]
    fn lifetimes_as_the_model_says(
        directives in prop::collection::vec(DIRECTIVES, 0..4),
        has_cache_control: bool,
        expires in prop::option::of(prop::result::maybe_err(times(), Just(()))),
        date in prop::option::of(times()), modified in prop::option::of(times()), received in times(),
    ) {
        let response = models::Response {
            cache_control: has_cache_control.then(|| directives.join(", ")),
            expires, date, modified, received,
        };
        let headers = headers(&response);
        let request = HeaderMap::new();
        let lifetime = storable(&Candidate {
            method: &Method::GET, request: &request, request_no_store: false, status: StatusCode::OK,
            response: &headers, by_origin: true, lifetime: None, negative: Negative::default(), received: at(received),
        });
        let expected = models::freshness_lifetime(&response).unwrap();
        prop_assert_eq!(lifetime.map(|lifetime| lifetime.fresh_seconds), Ok(expected), "{:?}", response);
    }

    /// Every well-formed value is read as the grammar has it.
    #[test]
    fn directives_as_the_grammar_has_them(
        value in "[ ,]{0,2}((no-store|no-cache|private|public|max-age=[0-9]{1,3}|x=\"[a-z ,\\\\]{0,4}\"|y=z)[ ]?(,[ ]?){1,2}){0,4}(no-store|max-age=7)?",
    ) {
        let Some(model) = models::cache_control(&value) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&value).unwrap());
        let ours = ResponseDirectives::of(&headers);
        let has = |name: &str| model.iter().any(|(own, _)| own == name);
        prop_assert_eq!(
            [ours.no_store, ours.no_cache, ours.private, ours.public],
            ["no-store", "no-cache", "private", "public"].map(has),
            "{}", value
        );
        let max_age = model.iter().find(|(name, _)| name == "max-age");
        let max_age = max_age.map(|(_, value)| value.as_deref().and_then(models::delta_seconds).unwrap_or(0));
        prop_assert_eq!(ours.max_age, max_age, "{}", value);
    }

    /// RFC 9111 §4.2, §4.2.4, §5.2.1: what is served without asking is fresh, or stale and allowed, by the plain words.
    #[test]
    fn reuse_as_the_words_say(
        fresh in 0u64..50, age in 0u64..100, while_revalidate in 0u64..30, must_revalidate: bool, always_validate: bool,
        max_age in prop::option::of(0u64..100), min_fresh in prop::option::of(0u64..50),
        max_stale in prop::option::of(0u64..50), no_cache: bool, only_if_cached: bool, soft_purged: bool,
    ) {
        let lifetime = brink_policy::http::Lifetime {
            while_revalidate_seconds: while_revalidate, must_revalidate, always_validate,
            ..brink_policy::http::Lifetime::fresh_for(fresh)
        };
        let request = RequestDirectives { max_age, min_fresh, max_stale, no_cache, no_store: false, only_if_cached };
        let stored = Stored { lifetime: &lifetime, age_seconds: age, soft_purged };
        let decided = reuse(&request, &stored, Connection::Connected);
        let is_fresh = fresh > age && !soft_purged;
        let stale_by = age.saturating_sub(fresh);
        let young_enough = max_age.is_none_or(|max| age <= max);
        let long_enough = min_fresh.is_none_or(|min| fresh >= age + min);
        match decided {
            Reuse::Serve => {
                prop_assert!(is_fresh && !always_validate && !no_cache && long_enough);
                prop_assert!(young_enough || max_stale.is_some());
            }
            Reuse::ServeStale(reason) => {
                prop_assert!(!is_fresh && !must_revalidate && !always_validate && !no_cache && long_enough);
                match reason {
                    StaleReason::WhileRevalidate => prop_assert!(stale_by <= while_revalidate),
                    StaleReason::MaxStale => prop_assert!(max_stale.is_some_and(|max| stale_by <= max)),
                    StaleReason::IfError | StaleReason::Disconnected => prop_assert!(false, "{:?}", reason),
                }
            }
            Reuse::OnlyIfCached => prop_assert!(only_if_cached),
            Reuse::Validate | Reuse::ValidateForRequest => {
                prop_assert!(!only_if_cached);
                // Nobody is asked without need.
                let must = !is_fresh || always_validate || no_cache || !young_enough || !long_enough;
                prop_assert!(must);
            }
            Reuse::Disconnected => prop_assert!(false),
        }
    }
}
