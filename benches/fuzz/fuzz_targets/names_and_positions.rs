//! Any text is a name, position, digest or URL, or is refused; what was read is written back the same.
#![no_main]

use brink_protocol::{Digest, ModuleName, OriginId, Position, purge};
use libfuzzer_sys::fuzz_target;
use std::{fmt::{Debug, Display}, str::FromStr};

fn check<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().as_ref().ok(), Some(&value));
    }
}

fuzz_target!(|text: &str| {
    check::<ModuleName>(text);
    check::<OriginId>(text);
    check::<Position>(text);
    check::<Digest>(text);
    check::<purge::TagName>(text);
    if let Ok(url) = purge::normal_url(text) {
        assert_eq!(purge::normal_url(&url).as_ref(), Ok(&url), "a normal URL stays as it is");
    }
});
