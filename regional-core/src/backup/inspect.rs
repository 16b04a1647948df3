//! Reading a generation through: every byte of it is held against what was written.

use super::{
    directory::{Generation, Manifest},
    frames::{Link, Next, Reader, beginning},
    gathered::Gathered,
    piece::{Mark, Piece},
};
use crate::{Error, store::Registry};
use brink_protocol::Digest;
use std::collections::BTreeSet;

/// What reading on gave.
#[derive(Debug)]
pub(super) enum Read {
    /// The next piece.
    Piece(Piece),
    /// That was all.
    End,
    /// The last increment was cut off in the middle: whoever wrote it was killed.
    Torn,
    /// What is in this file is not what was written.
    Changed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Part(usize),
    Increments(usize),
}

/// The pieces of a generation, in order.
pub(super) struct Pieces {
    generation: Generation,
    manifest: Manifest,
    place: Place,
    reader: Option<Reader>,
    chain: Link,
}

impl Pieces {
    pub(super) fn new(generation: &Generation, manifest: &Manifest) -> Self {
        Self {
            generation: generation.clone(),
            manifest: manifest.clone(),
            place: Place::Part(0),
            reader: None,
            chain: beginning(&generation.seed("increments")),
        }
    }

    /// Those of the increments alone.
    fn increments(generation: &Generation, manifest: &Manifest) -> Self {
        Self {
            place: Place::Increments(1),
            ..Self::new(generation, manifest)
        }
    }

    fn open(&mut self) -> Result<Option<Reader>, Error> {
        let (path, chain) = match self.place {
            Place::Part(index) => {
                let Some(part) = self.manifest.parts.get(index) else {
                    self.place = Place::Increments(1);
                    return self.open();
                };
                let chain = beginning(&self.generation.seed(&part.name));
                (self.generation.path.join(&part.name), chain)
            }
            Place::Increments(number) => (self.generation.increments(number), self.chain),
        };
        if path.exists() {
            Reader::open(&path, chain).map(Some)
        } else {
            Ok(None)
        }
    }

    fn file(&self) -> String {
        match self.place {
            Place::Part(index) => self.generation.part(index + 1),
            Place::Increments(number) => format!("increments-{number:06}"),
        }
    }

    pub(super) fn next(&mut self) -> Result<Read, Error> {
        loop {
            let changed = |pieces: &Self| Ok(Read::Changed(pieces.file()));
            if self.reader.is_none() {
                self.reader = self.open()?;
            }
            let Some(reader) = &mut self.reader else {
                return changed(self);
            };
            match (reader.next()?, self.place) {
                (Next::Frame(frame), _) => return Ok(Read::Piece(Piece::decode(&frame)?)),
                (Next::Changed, _) | (Next::Torn, Place::Part(_)) => return changed(self),
                (Next::Torn, Place::Increments(number)) => {
                    if !self.generation.increments_after(number)?.is_empty() {
                        return changed(self);
                    }
                    return Ok(Read::Torn);
                }
                (Next::End, Place::Part(index)) => {
                    let part = self.manifest.parts.get(index);
                    let is_whole = part.is_some_and(|part| {
                        let end = Digest::from(reader.chain()).hex();
                        part.bytes == reader.good() && part.end == end
                    });
                    if !is_whole {
                        return changed(self);
                    }
                    self.place = Place::Part(index + 1);
                    self.reader = None;
                }
                (Next::End, Place::Increments(number)) => {
                    if self.generation.increments_after(number)?.is_empty() {
                        return Ok(Read::End);
                    }
                    // If it is not the next one that is there, it is missed when it is opened.
                    self.chain = reader.chain();
                    self.place = Place::Increments(number + 1);
                    self.reader = None;
                }
            }
        }
    }

    /// Where it stands, in the increments.
    fn standing(&self, mark: Mark) -> Option<Standing> {
        let (Place::Increments(file), Some(reader)) = (self.place, &self.reader) else {
            return None;
        };
        Some(Standing {
            file,
            bytes: reader.good(),
            chain: reader.chain(),
            mark,
        })
    }
}

/// Where a generation that is gone on with stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The number of its last file of increments.
    pub file: usize,
    /// How many bytes of that are good, up to a mark.
    pub bytes: u64,
    pub(super) chain: Link,
    /// The last mark.
    pub mark: Mark,
}

/// How a generation's increments end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As they should.
    Whole,
    /// In the middle of one, which does not count.
    Torn,
    /// The file is not what was written; what comes behind the last mark before that is lost.
    Changed(String),
}

/// What a generation holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Its manifest.
    pub manifest: Manifest,
    /// Moments that can be restored.
    pub marks: u64,
    /// The mark that was asked for, and how many pieces there are up to it.
    pub chosen: Option<(Mark, u64)>,
    /// The registry at that mark.
    pub registry: Registry,
    /// The components that are in it.
    pub(super) components: BTreeSet<Digest>,
    /// Where its last mark is.
    pub last: Standing,
    /// How it ends.
    pub ending: Ending,
}

/// What reading through gathers.
#[derive(Default)]
struct Through {
    marks: u64,
    pieces: u64,
    chosen: Option<(Mark, u64)>,
    /// A mark was after the moment that is looked for: no later one is chosen.
    is_past: bool,
    registry: Gathered,
    components: BTreeSet<Digest>,
    last: Option<Standing>,
}

impl Through {
    fn take(&mut self, piece: Piece, pieces: &Pieces, to_ms: u64) {
        self.pieces += 1;
        match piece {
            Piece::Mark(mark) => {
                self.marks += 1;
                self.is_past |= mark.to_ms > to_ms;
                if self.is_past {
                    self.registry.give_up();
                } else {
                    self.registry.confirm();
                    self.chosen = Some((mark.clone(), self.pieces));
                }
                self.last = pieces.standing(mark);
            }
            Piece::Registry(_) if self.is_past => {}
            Piece::Registry(change) => self.registry.take(*change),
            Piece::Component(digest, _) => {
                self.components.insert(digest);
            }
            Piece::Rows(..) => {}
        }
    }
}

/// Reads a generation through, and finds the last mark that is not after `to_ms`.
///
/// # Errors
/// It cannot be read, or what was changed is in the snapshot or before the first mark: nothing of it can be restored.
pub fn inspect(generation: &Generation, to_ms: u64) -> Result<Inspection, Error> {
    let manifest = manifest(generation)?;
    let pieces = Pieces::new(generation, &manifest);
    through(pieces, manifest, to_ms)
}

/// Reads a generation's increments alone, to go on behind them.
///
/// # Errors
/// As [`inspect`].
pub(super) fn inspect_increments(generation: &Generation) -> Result<Inspection, Error> {
    let manifest = manifest(generation)?;
    let pieces = Pieces::increments(generation, &manifest);
    through(pieces, manifest, u64::MAX)
}

fn manifest(generation: &Generation) -> Result<Manifest, Error> {
    generation.manifest()?.ok_or_else(|| {
        Error::Backup(format!(
            "{}: it has no manifest; it was cut off while it was taken",
            generation.path.display()
        ))
    })
}

fn through(mut pieces: Pieces, manifest: Manifest, to_ms: u64) -> Result<Inspection, Error> {
    let mut found = Through::default();
    let ending = loop {
        match pieces.next()? {
            Read::Piece(piece) => found.take(piece, &pieces, to_ms),
            Read::End => break Ending::Whole,
            Read::Torn => break Ending::Torn,
            Read::Changed(file) => break Ending::Changed(file),
        }
    };
    let last = found.last.ok_or_else(|| {
        let file = match &ending {
            Ending::Changed(file) => file.clone(),
            Ending::Whole | Ending::Torn => pieces.file(),
        };
        Error::Backup(format!(
            "{}: {file} is not what was written; nothing of this generation can be restored",
            pieces.generation.path.display()
        ))
    })?;
    Ok(Inspection {
        manifest,
        marks: found.marks,
        chosen: found.chosen,
        registry: found.registry.into_registry(),
        components: found.components,
        last,
        ending,
    })
}
