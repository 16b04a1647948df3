//! A history, sorted for the questions that the promises ask.

use crate::history::{Event, Place, Seen};
use brink_protocol::OriginId;
use rustc_hash::FxHashMap;

/// A write and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// Where it began in the history.
    pub(super) at: usize,
    pub(super) key: u64,
    pub(super) session: u64,
    pub(super) began_us: u64,
    pub(super) acked_us: Option<u64>,
    /// It was refused: nobody may see it.
    pub(super) is_refused: bool,
    pub(super) version: Option<u64>,
    pub(super) place: Option<Place>,
}

/// The greatest of something up to a moment (or a sequence).
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<(u64, u64, u64)>);

impl Steps {
    /// From that moment on it is at least `height`; `of` says because of what.
    pub(super) fn push(&mut self, moment: u64, height: u64, of: u64) {
        self.0.push((moment, height, of));
    }

    fn rise(&mut self) {
        self.0.sort_unstable();
        let mut top = (0, 0);
        for (_, height, of) in &mut self.0 {
            if *height >= top.0 {
                top = (*height, *of);
            }
            (*height, *of) = top;
        }
    }

    /// How high it is at the end of that moment, and because of what; none: nothing happened by then.
    pub(super) fn height(&self, moment: u64) -> Option<(u64, u64)> {
        let after = self.0.partition_point(|(at, _, _)| *at <= moment);
        let (_, height, of) = self.0.get(after.checked_sub(1)?)?;
        Some((*height, *of))
    }
}

/// What was acknowledged by a moment: the greatest version, and the latest moment at which any of it was sent.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) versions: Steps,
    pub(super) sendings: Steps,
}

impl Acknowledged {
    fn push(&mut self, moment: u64, value: u64, write: &Write) {
        if let Some(version) = write.version {
            self.versions.push(moment, version, value);
        }
        self.sendings.push(moment, write.began_us, value);
    }
}

/// A purge and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Purge<'a> {
    pub(super) at: usize,
    pub(super) began_us: u64,
    pub(super) objects: &'a [u64],
    pub(super) soft: bool,
    pub(super) acked_us: Option<u64>,
}

/// What purges ask of an object's generation from some moment on.
#[derive(Debug, Default)]
pub(super) struct Purged {
    /// Of answers that are marked as stale.
    pub(super) hard: Steps,
    /// Of all others.
    pub(super) all: Steps,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    pub(super) names: &'a [String],
    pub(super) writes: FxHashMap<u64, Write>,
    /// By record, moments are times of acknowledgement.
    pub(super) by_key: FxHashMap<u64, Acknowledged>,
    /// By session and record, the same.
    pub(super) by_session: FxHashMap<(u64, u64), Acknowledged>,
    /// By record and log, moments are sequences.
    pub(super) by_origin: FxHashMap<u64, FxHashMap<OriginId, Acknowledged>>,
    pub(super) purges: FxHashMap<u64, Purge<'a>>,
    /// By PoP and object, moments are the reports of application.
    pub(super) reported: FxHashMap<(u32, u64), Purged>,
    /// By object, moments are times of acknowledgement.
    pub(super) purged: FxHashMap<u64, Purged>,
    pub(super) quiesced_us: Option<u64>,
    /// Value, version and place in the history.
    pub(super) last: FxHashMap<u64, (Option<u64>, Option<u64>, usize)>,
    /// Pairs of events that say different things of one version.
    pub(super) contradictions: Vec<(u64, u64, Option<u64>, usize)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(events: &'a [Event]) -> Self {
        let mut index = Self::default();
        let mut generations: FxHashMap<u64, Steps> = FxHashMap::default();
        for (at, event) in events.iter().enumerate() {
            index.note_begin(at, event);
            if let Event::OriginChanged {
                at_us,
                object,
                generation,
            } = event
            {
                let steps = generations.entry(*object).or_default();
                steps.push(*at_us, *generation, *object);
            }
        }
        generations.values_mut().for_each(Steps::rise);
        for event in events {
            index.note_end(event);
        }
        index.note_versions(events);
        index.sort_writes();
        index.sort_purges(events, &generations);
        index
    }

    fn note_begin(&mut self, at: usize, event: &'a Event) {
        match event {
            Event::Pops { names } => self.names = names,
            Event::WriteBegan {
                at_us,
                session,
                key,
                value,
                ..
            } => {
                let write = Write {
                    at,
                    key: *key,
                    session: *session,
                    began_us: *at_us,
                    acked_us: None,
                    is_refused: false,
                    version: None,
                    place: None,
                };
                self.writes.insert(*value, write);
            }
            Event::PurgeBegan {
                at_us,
                id,
                objects,
                soft,
            } => {
                let purge = Purge {
                    at,
                    began_us: *at_us,
                    objects,
                    soft: *soft,
                    acked_us: None,
                };
                self.purges.insert(*id, purge);
            }
            Event::Quiesced { at_us } => self.quiesced_us = Some(*at_us),
            Event::Final {
                key,
                value,
                version,
            } => {
                self.last.insert(*key, (*value, *version, at));
            }
            _ => {}
        }
    }

    fn note_end(&mut self, event: &'a Event) {
        match event {
            Event::WriteAcked {
                at_us,
                value,
                version,
                place,
                ..
            } => {
                if let Some(write) = self.writes.get_mut(value) {
                    write.acked_us = Some(*at_us);
                    write.version = *version;
                    write.place.clone_from(place);
                }
            }
            Event::WriteFailed {
                value, is_unknown, ..
            } => {
                if let Some(write) = self.writes.get_mut(value) {
                    write.is_refused = !is_unknown;
                }
            }
            Event::PurgeAcked { at_us, id } => {
                if let Some(purge) = self.purges.get_mut(id) {
                    purge.acked_us = Some(*at_us);
                }
            }
            _ => {}
        }
    }

    /// Learns versions of writes that were not acknowledged from the reads that saw them.
    fn note_versions(&mut self, events: &'a [Event]) {
        let mut holders: FxHashMap<(u64, u64), u64> = FxHashMap::default();
        let mut seen: Vec<(u64, Option<u64>, u64, usize)> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::WriteAcked {
                    value,
                    version: Some(version),
                    ..
                } => {
                    if let Some(write) = self.writes.get(value) {
                        seen.push((write.key, Some(*value), *version, at));
                    }
                }
                Event::Read(read) => seen.extend(read.seen.iter().filter_map(|seen| match seen {
                    Seen::Record {
                        key,
                        value,
                        version: Some(version),
                    } => Some((*key, *value, *version, at)),
                    _ => None,
                })),
                Event::Final {
                    key,
                    value,
                    version: Some(version),
                } => seen.push((*key, *value, *version, at)),
                _ => {}
            }
        }
        for (key, value, version, at) in seen {
            let held = value.is_none_or(|value| {
                let holder = *holders.entry((key, version)).or_insert(value);
                let write = self.writes.get_mut(&value);
                let own =
                    write.is_none_or(|write| *write.version.get_or_insert(version) == version);
                holder == value && own
            });
            if !held {
                self.contradictions.push((key, version, value, at));
            }
        }
    }

    fn sort_writes(&mut self) {
        for (value, write) in &self.writes {
            let Some(acked_us) = write.acked_us else {
                continue;
            };
            self.by_key
                .entry(write.key)
                .or_default()
                .push(acked_us, *value, write);
            if let Some(place) = &write.place {
                let of = self.by_origin.entry(write.key).or_default();
                let of = of.entry(place.origin.clone()).or_default();
                of.push(place.sequence, *value, write);
            }
            if write.session != 0 {
                let of = self.by_session.entry((write.session, write.key));
                of.or_default().push(acked_us, *value, write);
            }
        }
        let by_key = self.by_key.values_mut().chain(self.by_session.values_mut());
        let by_origin = self.by_origin.values_mut().flat_map(FxHashMap::values_mut);
        for acknowledged in by_key.chain(by_origin) {
            acknowledged.versions.rise();
            acknowledged.sendings.rise();
        }
    }

    fn sort_purges(&mut self, events: &'a [Event], generations: &FxHashMap<u64, Steps>) {
        let needed = |purge: &Purge<'_>, object: u64| {
            let steps = generations.get(&object);
            let height = steps.and_then(|steps| steps.height(purge.began_us));
            height.map_or(0, |(generation, _)| generation)
        };
        let push = |purged: &mut Purged, purge: &Purge<'_>, moment, generation, id| {
            purged.all.push(moment, generation, id);
            if !purge.soft {
                purged.hard.push(moment, generation, id);
            }
        };
        for (id, purge) in &self.purges {
            let Some(acked_us) = purge.acked_us else {
                continue;
            };
            for object in purge.objects {
                let generation = needed(purge, *object);
                let purged = self.purged.entry(*object).or_default();
                push(purged, purge, acked_us, generation, *id);
            }
        }
        for event in events {
            if let Event::PurgeReported { at_us, id, pop } = event
                && let Some(purge) = self.purges.get(id)
            {
                for object in purge.objects {
                    let generation = needed(purge, *object);
                    let purged = self.reported.entry((*pop, *object)).or_default();
                    push(purged, purge, *at_us, generation, *id);
                }
            }
        }
        for purged in self.reported.values_mut().chain(self.purged.values_mut()) {
            purged.hard.rise();
            purged.all.rise();
        }
    }

    /// A PoP's name, or its number.
    pub(super) fn pop(&self, pop: u32) -> String {
        let name = usize::try_from(pop)
            .ok()
            .and_then(|pop| self.names.get(pop));
        name.cloned().unwrap_or_else(|| format!("pop-{pop}"))
    }
}
