//! libFuzzer over one target of `brink-fuzz`: the one that `BRINK_FUZZ_TARGET` names.
//!
//! With `BRINK_FUZZ_SEEDS` its seeds are written to that folder first. Run by `cargo xtask fuzz`.
#![no_main]

use brink_fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("BRINK_FUZZ_TARGET").expect("BRINK_FUZZ_TARGET names a target");
        let target = target(&name).expect("there is a target of this name");
        if let Some(folder) = std::env::var_os("BRINK_FUZZ_SEEDS") {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
                std::fs::write(path, seed).expect("a seed can be written");
            }
        }
        target
    })
}

fuzz_target!(init: { chosen(); }, |bytes: &[u8]| (chosen().run)(bytes));
