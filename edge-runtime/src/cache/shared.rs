//! What lookups and fills share.

use super::{
    coders::Coders,
    config::Config,
    counters::Counters,
    flights::Flights,
    ledger::{Ledger, Vouched},
    reading::{Piece, first},
    reply::wanted,
    request::{CacheRequest, Session},
    stored::{Key, Slot, Stored, Variant},
    tiers::{Tier, Tiers},
    unstored::LatelyUnstored,
};
use brink_policy::{
    cache_status::ForwardReason,
    coherence::{Admission, Depends, FillStart, Verdict},
    http::{Connection, vary},
    key::CacheKey,
    shield::Outdated,
};
use brink_protocol::{Position, deployment::WhenDisconnected};
use http::{HeaderMap, HeaderName, header::ACCEPT_LANGUAGE};
use std::{
    fmt,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The parts of a cache.
pub(super) struct Shared {
    pub(super) config: Config,
    /// What this cache calls itself in `Cache-Status`.
    pub(super) name: Box<str>,
    pub(super) ledger: Ledger,
    pub(super) tiers: Arc<Tiers>,
    pub(super) flights: Arc<Flights>,
    pub(super) counters: Counters,
    pub(super) unstored: LatelyUnstored,
    /// What unsafe requests have outdated here, for shields.
    pub(super) outdated: Mutex<Outdated>,
    /// When it was opened.
    pub(super) base: Instant,
    pub(super) coders: Coders,
    /// Held while a list of variants is changed.
    pub(super) variants: Mutex<()>,
    /// Keeps other programs out of the directory.
    pub(super) _lock: Option<File>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What is stored for a request.
#[derive(Debug)]
pub(super) struct Found {
    /// Usable as far as changes go.
    pub(super) entry: Option<Entry>,
    /// Why there is none.
    pub(super) reason: ForwardReason,
    /// The variants of the URI.
    pub(super) variants: Option<Arc<Vec<Variant>>>,
    /// Under which hash requests are collapsed: of the variant if it is known, else of the URI.
    pub(super) hash: u64,
}

/// A stored response, held against the changes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stored: Arc<Stored>,
    pub(super) tier: Tier,
    /// It was purged softly.
    pub(super) soft: bool,
    /// Until when it may be called fresh.
    pub(super) vouched: Vouched,
    /// Where the body lies in pieces: the one with the first byte that the request gets.
    pub(super) first: Option<Piece>,
}

impl Shared {
    /// What is stored for a URI and the fields of a request.
    pub(super) async fn find(&self, key: &Key, request: &CacheRequest<'_>) -> Found {
        match self.tiers.find(key).await {
            // No request has the key of a piece.
            None | Some((Slot::Piece(_), _)) => self.nothing(key, ForwardReason::UriMiss),
            Some((Slot::Answer(_), _)) if !request.set_on_way.is_empty() => {
                self.nothing(key, ForwardReason::VaryMiss)
            }
            Some((Slot::Answer(stored), tier)) => {
                self.read(key, key, (stored, tier), None, request).await
            }
            Some((Slot::Variants(list), _)) => self.find_variant(key, request, list).await,
        }
    }

    /// RFC 9111 §4.1: of several variants that match, the newest.
    async fn find_variant(
        &self,
        key: &Key,
        request: &CacheRequest<'_>,
        list: Arc<Vec<Variant>>,
    ) -> Found {
        let CacheRequest {
            headers,
            set_on_way,
            ..
        } = *request;
        let serves = |variant: &&Variant| set_on_way.iter().all(|n| variant.fields.contains(n));
        let mut known: Option<(&[HeaderName], Option<String>)> = None;
        for variant in list.iter().rev().filter(serves) {
            if known
                .as_ref()
                .is_none_or(|(fields, _)| *fields != variant.fields)
            {
                known = Some((&variant.fields, vary::selection(&variant.fields, headers)));
            }
            let selection = known
                .as_ref()
                .and_then(|(_, selection)| selection.as_deref());
            if selection == Some(variant.selection.as_str()) {
                let of_variant = Key(key.0.variant(&variant.selection));
                if let Some((Slot::Answer(stored), tier)) = self.tiers.find(&of_variant).await {
                    let list = Some(list.clone());
                    let found = (stored, tier);
                    return self.read(key, &of_variant, found, list, request).await;
                }
            }
        }
        if let Some(found) = Box::pin(self.find_by_language(key, request, &list, &serves)).await {
            return found;
        }
        let newest = list
            .last()
            .and_then(|newest| vary::selection(&newest.fields, headers));
        let hash = newest.map_or_else(
            || self.tiers.hash(&key.0),
            |s| self.tiers.hash(&key.0.variant(&s)),
        );
        Found {
            entry: None,
            reason: ForwardReason::VaryMiss,
            variants: Some(list),
            hash,
        }
    }

    /// A variant that another `Accept-Language` selected, in the language that this request likes best.
    async fn find_by_language(
        &self,
        key: &Key,
        request: &CacheRequest<'_>,
        list: &Arc<Vec<Variant>>,
        serves: &impl Fn(&&Variant) -> bool,
    ) -> Option<Found> {
        let has_language = |variant: &&Variant| !variant.language.is_empty();
        for variant in list.iter().rev().filter(serves).filter(has_language) {
            let headers = request.headers;
            let wanted = vary::selection(&variant.fields, headers)?;
            if !vary::suits_language(&variant.selection, &wanted, &variant.language, headers) {
                continue;
            }
            let of_variant = Key(key.0.variant(&variant.selection));
            if let Some((Slot::Answer(stored), tier)) = self.tiers.find(&of_variant).await {
                let list = Some(list.clone());
                let found = (stored, tier);
                return Some(self.read(key, &of_variant, found, list, request).await);
            }
        }
        None
    }

    /// Holds an entry against the changes. Where its body lies in pieces, those that the request gets have to be there, and
    /// the first of them is read before.
    async fn read(
        &self,
        uri: &Key,
        own: &Key,
        (stored, tier): (Arc<Stored>, Tier),
        variants: Option<Arc<Vec<Variant>>>,
        request: &CacheRequest<'_>,
    ) -> Found {
        let form = stored.form(&request.ruled.accepts);
        let Some(pieces) = form.body.pieces() else {
            return self.held(uri, own, stored, tier, variants);
        };
        let range = wanted(form, request.method, request.headers);
        let first = match range.is_empty() {
            true => None,
            false => match Box::pin(first(&self.tiers, pieces, &range)).await {
                Some(first) => Some(first),
                None => return self.refused(uri, own, variants),
            },
        };
        let mut found = self.held(uri, own, stored, tier, variants);
        if let Some(entry) = &mut found.entry {
            entry.first = first;
        }
        found
    }

    fn nothing(&self, key: &Key, reason: ForwardReason) -> Found {
        Found {
            entry: None,
            reason,
            variants: None,
            hash: self.tiers.hash(&key.0),
        }
    }

    /// Holds an entry against the changes; one that they ended leaves both tiers.
    fn held(
        &self,
        uri: &Key,
        own: &Key,
        stored: Arc<Stored>,
        tier: Tier,
        variants: Option<Arc<Vec<Variant>>>,
    ) -> Found {
        // Before the verdict: a change that comes in between must not vouch for what it ended.
        let vouched = self.ledger.vouched();
        let verdict = self.ledger.verdict(&stored);
        let (soft, valid) = match verdict {
            Verdict::Valid => (false, true),
            Verdict::Soft => (true, true),
            Verdict::Ended | Verdict::Unknown => (false, false),
        };
        if valid {
            // The hash is needed by those alone that go forward; a hit does not pay for it.
            return Found {
                entry: Some(Entry {
                    stored,
                    tier,
                    soft,
                    vouched,
                    first: None,
                }),
                reason: ForwardReason::Stale,
                variants,
                hash: 0,
            };
        }
        self.counters.refused.add(1);
        self.refused(uri, own, variants)
    }

    /// An entry that cannot be used leaves both tiers.
    fn refused(&self, uri: &Key, own: &Key, variants: Option<Arc<Vec<Variant>>>) -> Found {
        self.tiers.remove(own);
        let hash = self.tiers.hash(&own.0);
        let reason = if uri == own {
            ForwardReason::UriMiss
        } else {
            ForwardReason::VaryMiss
        };
        Found {
            entry: None,
            reason,
            variants,
            hash,
        }
    }

    /// The hash of a stored response's key, for those that go forward.
    pub(super) fn flight_hash(&self, uri: &CacheKey, stored: &Stored, request: &HeaderMap) -> u64 {
        self.tiers.hash(&self.own_key(uri, stored, request))
    }

    /// The key of a stored response that a request selects.
    pub(super) fn own_key(&self, uri: &CacheKey, stored: &Stored, request: &HeaderMap) -> CacheKey {
        let fields = stored.selecting().unwrap_or_default();
        match vary::selection(&fields, request) {
            Some(selection) if !fields.is_empty() => uri.variant(&selection),
            Some(_) | None => uri.clone(),
        }
    }

    /// Stores a response under its URI, or under the fields that select it. Gives whether it could be.
    pub(super) fn store(
        &self,
        uri: &CacheKey,
        request: &HeaderMap,
        stored: Arc<Stored>,
        known: Option<Arc<Vec<Variant>>>,
    ) -> bool {
        let Some(fields) = stored.selecting() else {
            return false;
        };
        if fields.is_empty() {
            self.tiers.insert(Key(uri.clone()), Slot::Answer(stored));
            return true;
        }
        let Some(selection) = vary::selection(&fields, request) else {
            return false;
        };
        let language = match fields.contains(&ACCEPT_LANGUAGE) {
            true => vary::language(&stored.headers).unwrap_or_default(),
            false => "",
        };
        let variant = Variant {
            fields,
            selection,
            language: language.to_owned(),
        };
        self.tiers
            .insert(Key(uri.variant(&variant.selection)), Slot::Answer(stored));
        let _held = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.tiers.variants(&Key(uri.clone())).or(known);
        if present
            .as_ref()
            .is_some_and(|list| list.last() == Some(&variant))
        {
            return true;
        }
        let mut list = present.map(|list| (*list).clone()).unwrap_or_default();
        list.retain(|other| {
            (&other.fields, &other.selection) != (&variant.fields, &variant.selection)
        });
        list.push(variant);
        while list.len() > self.config.variants_max.max(1) {
            let oldest = list.remove(0);
            self.tiers.remove(&Key(uri.variant(&oldest.selection)));
        }
        self.tiers
            .insert(Key(uri.clone()), Slot::Variants(Arc::new(list)));
        true
    }

    /// Whether what was found untouched since `vouched` was read may be called fresh.
    pub(super) fn connection(
        &self,
        vouched: Vouched,
        when_disconnected: WhenDisconnected,
    ) -> Connection {
        self.connection_at(vouched, when_disconnected, Instant::now())
    }

    /// The same, for a request that came `at` that time.
    pub(super) fn connection_at(
        &self,
        vouched: Vouched,
        when_disconnected: WhenDisconnected,
        at: Instant,
    ) -> Connection {
        if self.ledger.is_fresh(vouched, at) {
            Connection::Connected
        } else {
            Connection::Silent(when_disconnected)
        }
    }

    /// Whether a stored answer is as new as a session asks for. Asked before it is held against the changes.
    pub(super) fn suits(&self, session: &Session, stored: &Stored) -> bool {
        !session.is_uncached
            && session.at_least.as_ref().is_none_or(|at_least| {
                self.ledger.position().covers(at_least) || stored.position.covers(at_least)
            })
    }

    /// A fill begins: from here on the fence stands. What it found before is held against the changes once more: one
    /// that came in between is behind the fence, and a validation would bring back what it has ended.
    pub(super) fn begin(&self, found: &mut Option<(Arc<Stored>, bool)>) -> FillStart {
        let start = self.ledger.begin();
        if let Some((stored, soft)) = found {
            match self.ledger.verdict(stored) {
                Verdict::Valid => {}
                Verdict::Soft => *soft = true,
                Verdict::Ended | Verdict::Unknown => *found = None,
            }
        }
        start
    }

    /// The fence, and its figures.
    pub(super) fn admit<D: Depends>(
        &self,
        start: &FillStart,
        on: &[D],
        read_at: Option<&Position>,
    ) -> Admission {
        let admission = self.ledger.admit(start, on, read_at);
        match admission {
            Admission::Store => {}
            Admission::Fenced | Admission::Unknown => self.counters.fenced.add(1),
            Admission::ReadBehind => self.counters.read_behind.add(1),
        }
        admission
    }
}
