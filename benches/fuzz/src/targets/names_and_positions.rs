//! Any text is a name, position, digest or URL, or is refused; what was read is written back the same.

use super::fields::texts;
use crate::Target;
use brink_protocol::{Digest, ModuleName, OriginId, Position, purge};
use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

pub(crate) const TARGET: Target = Target {
    name: "names_and_positions",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "module-a",
        "core-1.1",
        "core-1.1=42,core-2.7=1",
        "https://H:443/a//b/../c?d#e",
        "name:a",
    ])
}

fn check<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().as_ref().ok(), Some(&value));
    }
}

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    check::<ModuleName>(text);
    check::<OriginId>(text);
    check::<Position>(text);
    check::<Digest>(text);
    check::<purge::TagName>(text);
    if let Ok(url) = purge::normal_url(text) {
        assert_eq!(
            purge::normal_url(&url).as_ref(),
            Ok(&url),
            "a normal URL stays as it is"
        );
    }
}
