//! `brink inspect`.

use crate::{
    args::Inspect,
    error::Error,
    inspect::{Inspection, Interface, grant_names, inspect_file},
    output::{Output, pairs, size},
};
use brink_protocol::deployment::World;

/// Shows what a component is.
pub(super) fn run(args: &Inspect, output: Output) -> Result<(), Error> {
    let (_, inspection) = inspect_file(&args.file)?;
    output.result(&inspection, describe)
}

fn describe(inspection: &Inspection) -> String {
    let world = inspection
        .world
        .map_or("none that Brink runs", World::as_str);
    let grants = |grants| match grant_names(grants) {
        names if names.is_empty() => "none".to_owned(),
        names => names.join(", "),
    };
    let mut text = pairs(&[
        ("World", world.to_owned()),
        (
            "Size",
            format!(
                "{} ({} bytes)",
                size(inspection.size_bytes),
                inspection.size_bytes
            ),
        ),
        ("Digest", inspection.digest.to_string()),
        ("Grants needed", grants(inspection.grants_needed)),
        ("Grants used", grants(inspection.grants_used)),
    ]);
    interfaces(&mut text, "Imports", &inspection.imports);
    interfaces(&mut text, "Exports", &inspection.exports);
    text
}

fn interfaces(text: &mut String, heading: &str, interfaces: &[Interface]) {
    text.push_str(heading);
    text.push_str(if interfaces.is_empty() {
        "  none\n"
    } else {
        "\n"
    });
    for interface in interfaces {
        let functions = if interface.functions.is_empty() {
            String::new()
        } else {
            format!("  ({})", interface.functions.join(", "))
        };
        text.push_str(&format!("  {}{functions}\n", interface.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brink_protocol::{Digest, deployment::Grants};

    #[test]
    fn as_people_read_it() {
        let inspection = Inspection {
            world: Some(World::Module),
            imports: vec![Interface {
                name: "brink:platform/clock@0.1.0".into(),
                functions: vec!["now-ms".into()],
            }],
            exports: Vec::new(),
            grants_needed: Grants {
                clock: true,
                ..Grants::default()
            },
            grants_used: Grants {
                clock: true,
                purge: true,
                ..Grants::default()
            },
            digest: Digest::of(b""),
            size_bytes: 2048,
        };
        assert_eq!(
            describe(&inspection),
            "World          module\n\
             Size           2.0 KiB (2048 bytes)\n\
             Digest         sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
             Grants needed  clock\n\
             Grants used    clock, purge\n\
             Imports\n  brink:platform/clock@0.1.0  (now-ms)\n\
             Exports  none\n"
        );
    }
}
