//! Parts that are put together: RFC 9111 §3.4.

use super::{
    content::WHOLE_BYTES_MAX,
    fill::{Fill, Made, set_received_age},
    reply::{Reply, head as new_head},
    request::Dependencies,
    stored::{CACHE_STATUS, Codings, Stored},
};
use brink_policy::{
    coherence::Verdict,
    http::{
        NoStoreReason,
        combine::{are_of_one, combined, fields, missing},
        condition::remove_conditions,
        freshen::{restore_unstored, retain_storable},
        range::Held,
    },
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE, TRAILER},
    response::Parts,
};
use std::{sync::Arc, time::SystemTime};

impl Fill {
    /// What is asked for to make a stored part whole: `Range` and `If-Range`.
    fn missing(&self) -> Option<(HeaderValue, HeaderValue)> {
        let part = self.part.as_ref().filter(|_| self.wants_whole())?;
        missing((part.part()?, part.body.len()), &part.headers)
    }

    /// The whole is asked for by asking for what is missing of a part.
    pub(super) fn completes(&self) -> bool {
        self.missing().is_some()
    }

    /// Asks for what is missing of a stored part.
    pub(super) fn ask_for_missing(&self, headers: &mut HeaderMap) {
        if let Some((range, tag)) = self.missing() {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, tag);
        }
    }

    /// Whether the answer is a part that does not make the stored one whole, though the client wants the whole. `asked` is then
    /// made anew: what comes next is whole.
    pub(super) fn refuses_part(&mut self, head: &Parts, asked: &mut HeaderMap) -> bool {
        let Some((range, _)) = self.missing() else {
            return false;
        };
        let fits = |part: &Arc<Stored>| {
            are_of_one(&part.headers, &head.headers)
                && said(&head.headers).is_some_and(|said| is_asked(&said, &range, part))
        };
        let is_refused = match head.status {
            StatusCode::PARTIAL_CONTENT => !self.part.as_ref().is_some_and(fits),
            StatusCode::RANGE_NOT_SATISFIABLE => true,
            _ => false,
        };
        if is_refused {
            self.part = None;
            asked.remove(RANGE);
            remove_conditions(asked);
        }
        is_refused
    }

    /// A part came that belongs to what is stored: stores what both make, and answers by it. None: it does not, or what both
    /// make may not be stored, or answers another question.
    pub(super) fn combine(
        &self,
        head: &Parts,
        body: &Bytes,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Option<Reply> {
        let found = self.stored.as_ref().map(|(stored, _)| stored);
        let part = self.part.as_ref().or(found)?;
        let (held, new) = (part.part()?, Held::of(&head.headers, body.len())?);
        if head.status != StatusCode::PARTIAL_CONTENT || !are_of_one(&part.headers, &head.headers) {
            return None;
        }
        let held_body = part.body.whole()?;
        let both = combined((held, held_body.len()), (new, body.len()))?;
        let pieces = [
            held_body.get(both.before.clone())?,
            body,
            held_body.get(both.after.clone())?,
        ];
        let body = Bytes::from(pieces.concat());
        let mut update = head.headers.clone();
        update.remove(CACHE_STATUS);
        let headers = fields(part.own_headers(), update, &both);
        let status = match both.is_whole() {
            true => StatusCode::OK,
            false => StatusCode::PARTIAL_CONTENT,
        };
        let mut whole = new_head(status, headers);
        match self.entry_of_both(part, &whole, &body, (&head.headers, dependencies), now) {
            Ok(stored) if stored.answers(&self.subject.method, &self.subject.headers) => {
                let mut reply = self.kept(stored, StatusCode::OK, now);
                let range = reply.head.headers.get(CONTENT_RANGE).cloned();
                restore_unstored(&mut reply.head.headers, &head.headers);
                set_received_age(&mut reply.head.headers, &head.headers);
                match range {
                    Some(range) => reply.head.headers.insert(CONTENT_RANGE, range),
                    None => reply.head.headers.remove(CONTENT_RANGE),
                };
                Some(reply)
            }
            // The client asked for the whole, and here it is.
            Err(reason) if self.completes() && both.is_whole() => {
                let length = HeaderValue::from(body.len());
                whole.headers.insert(CONTENT_LENGTH, length);
                // What stood behind the part is of the part.
                whole.headers.remove(TRAILER);
                let reply = self.unkept(whole, body, reason);
                Some(Reply {
                    trailers: None,
                    ..reply
                })
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// What a stored part and a new one make, to be stored.
    fn entry_of_both(
        &self,
        part: &Stored,
        whole: &Parts,
        body: &Bytes,
        (received, dependencies): (&HeaderMap, &Dependencies),
        now: SystemTime,
    ) -> Result<Arc<Stored>, NoStoreReason> {
        let is_part = whole.status == StatusCode::PARTIAL_CONTENT;
        if body.len() as u64 > self.shared.config.object_bytes_max
            || (is_part && body.len() > WHOLE_BYTES_MAX)
        {
            return Err(NoStoreReason::TooLarge);
        }
        // The fence tells of what comes between this and storing it.
        let verdict = self.shared.ledger.verdict(part);
        if !matches!(verdict, Verdict::Valid | Verdict::Soft) {
            return Err(NoStoreReason::Fenced);
        }
        let lifetime = self.judge(whole, dependencies, now)?;
        let mut headers = whole.headers.clone();
        retain_storable(&mut headers);
        let made = Made {
            status: whole.status,
            headers,
            body: body.clone().into(),
            lifetime,
            inherited: &part.on,
            codings: Codings::default(),
            trailers: Some(HeaderMap::new()),
        };
        self.entry(made, received, dependencies, now)
    }
}

/// `FIRST-LAST/COMPLETE` of a part that says so.
fn said(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (unit, range) = text.trim().split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes")
        .then(|| range.trim().to_owned())
}

/// Whether a part lies where what was asked for does.
fn is_asked(said: &str, asked: &HeaderValue, part: &Stored) -> bool {
    let (Some(held), Ok(asked)) = (part.part(), asked.to_str()) else {
        return false;
    };
    let asked = asked.trim_start_matches("bytes=");
    let whole = match asked.ends_with('-') {
        true => format!(
            "{asked}{}/{}",
            held.complete.saturating_sub(1),
            held.complete
        ),
        false => format!("{asked}/{}", held.complete),
    };
    said == whole
}
