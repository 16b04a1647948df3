//! A 304 to a request that a stored response went along with: RFC 9111 §4.3.4.

use super::{
    fill::{Fill, Made},
    reply::{Reply, head as new_head},
    request::Dependencies,
    stored::{CACHE_STATUS, Stored},
};
use brink_policy::{
    cache_status::CacheStatus,
    http::{
        NoStoreReason,
        directives::{BRINK_CACHE_CONTROL, CDN_CACHE_CONTROL, SURROGATE_CONTROL},
        fields::date_value,
        freshen::{freshen, retain_storable, selects},
    },
};
use http::{
    StatusCode,
    header::{CACHE_CONTROL, DATE, EXPIRES},
    response::Parts,
};
use std::{sync::Arc, time::SystemTime};

impl Fill {
    /// A 304: what is stored still holds. RFC 9111 §4.3.4.
    pub(super) fn validated(
        &self,
        stored: &Arc<Stored>,
        update: Parts,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Reply {
        let mut headers = stored.own_headers();
        if selects(&stored.headers, &update.headers) {
            let mut fields = update.headers.clone();
            fields.remove(CACHE_STATUS);
            freshen(&mut headers, fields);
        }
        if !update.headers.contains_key(DATE)
            && let Some(date) = date_value(now)
        {
            headers.insert(DATE, date);
        }
        // Without a word on its lifetime the one that was stored goes on.
        let speaks = dependencies.lifetime.is_some()
            || self.shielded.is_some()
            || [
                CACHE_CONTROL,
                EXPIRES,
                BRINK_CACHE_CONTROL,
                CDN_CACHE_CONTROL,
                SURROGATE_CONTROL,
            ]
            .iter()
            .any(|name| update.headers.contains_key(name));
        let merged = new_head(stored.status, headers.clone());
        let lifetime = match self.judge(&merged, dependencies, now) {
            Err(
                NoStoreReason::NotReusable | NoStoreReason::NoLifetime | NoStoreReason::Unnamed,
            )
            | Ok(_)
                if !speaks =>
            {
                Ok(stored.lifetime)
            }
            judged => judged,
        };
        retain_storable(&mut headers);
        let entry = lifetime.and_then(|lifetime| {
            let (status, body) = (stored.status, stored.body.clone());
            // The body is the one stored before: what it depended on, it depends on still.
            let made = Made {
                status,
                headers,
                body,
                lifetime,
                inherited: &stored.on,
                codings: stored.codings(),
                trailers: Some(stored.trailers.as_deref().cloned().unwrap_or_default()),
            };
            self.entry(made, &update.headers, dependencies, now)
        });
        match entry {
            Ok(entry) => self.kept(entry, StatusCode::NOT_MODIFIED, now),
            Err(reason) => {
                let status = CacheStatus {
                    detail: Some(reason.as_str()),
                    ..CacheStatus::forward(self.reason)
                };
                let mut reply = self.reply(stored, 0, status);
                reply.stored = None;
                reply
            }
        }
    }
}
