//! Placements: what they refuse, and where they say that partitions belong.

#![allow(clippy::unwrap_used)]
use super::*;

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn at(collection: &str, partition: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant(),
        collection: collection.into(),
        partition: partition.into(),
    }
}

fn collection(name: &str, placement: Placement) -> Collection {
    Collection {
        tenant: tenant(),
        name: name.into(),
        placement,
        home: None,
        audit_ms: None,
        archive: false,
    }
}

fn geo(regions: &[(&str, &str)], pinned: bool) -> Placement {
    Placement::Geo {
        regions: regions
            .iter()
            .map(|(prefix, name)| ((*prefix).to_owned(), region(name)))
            .collect(),
        pinned,
    }
}

fn table(collections: Vec<Collection>) -> PlacementTable {
    let by_name = collections.into_iter().map(|c| (c.name.clone(), c));
    PlacementTable {
        main: Some(region("eu")),
        collections: [(tenant(), by_name.collect())].into(),
        ..PlacementTable::default()
    }
}

#[test]
fn keys_fit_or_are_refused() {
    let composite = Placement::Composite {
        parts: vec!["warehouse".into(), "sku".into()],
    };
    let time = Placement::Time {
        bucket: Bucket::Day,
        lifetime_ms: None,
    };
    let geo = geo(&[("eu", "eu"), ("us", "us-1")], true);
    for (placement, key, fits) in [
        (&Placement::Hash {}, "anything", true),
        (&composite, "ams-1/A7", true),
        (&composite, "ams-1", false),
        (&composite, "ams-1/", false),
        (&composite, "ams-1/A7/x", false),
        (&geo, "eu/C1000", true),
        (&geo, "us/C1000/x", true),
        (&geo, "de/C1000", false),
        (&geo, "eu", false),
        (&geo, "eu/", false),
        (&time, "sensor-1/2026-11-21", true),
        (&time, "a/b/2026-11-21", true),
        (&time, "2026-11-21", false),
        (&time, "/2026-11-21", false),
        (&time, "sensor-1/2026-11-41", false),
    ] {
        assert_eq!(
            placement.check_key(key).is_ok(),
            fits,
            "{placement:?} {key}"
        );
    }
    let told = composite.check_key("x").unwrap_err().to_string();
    assert!(told.ends_with("it is written warehouse/sku"), "{told}");
}

#[test]
fn declarations_are_checked() {
    let parts = |parts: &[&str]| Placement::Composite {
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
    };
    for (name, placement, is_right) in [
        ("stock", Placement::Hash {}, true),
        ("_streams", Placement::Hash {}, false),
        ("_streams", geo(&[("eu", "eu")], true), false),
        ("_workflows", Placement::Hash {}, false),
        ("_workflows", geo(&[("eu", "eu")], true), true),
        ("Stock", Placement::Hash {}, false),
        ("stock", parts(&["a"]), false),
        ("stock", parts(&["a", "a"]), false),
        ("stock", parts(&["a", "b/c"]), false),
        ("stock", parts(&["a", "b"]), true),
        ("stock", geo(&[], true), false),
        ("stock", geo(&[("e/u", "eu")], true), false),
    ] {
        let checked = collection(name, placement.clone()).check();
        assert_eq!(checked.is_ok(), is_right, "{name} {placement:?}");
    }
    let both = Collection {
        home: Some(region("eu")),
        ..collection("c", geo(&[("eu", "eu")], true))
    };
    assert!(both.check().is_err());
}

#[test]
fn homes_follow_what_is_declared_and_promoted() {
    let us = Collection {
        home: Some(region("us")),
        ..collection("stock", Placement::Hash {})
    };
    let mut table = table(vec![
        us,
        collection("customers", geo(&[("eu", "eu"), ("us", "us")], true)),
        collection("visits", geo(&[("us", "us")], false)),
    ]);
    let place = |table: &PlacementTable, name: &str, key: &str| {
        let address = at(name, key);
        let place = table.place(&address).unwrap();
        (place.home.map(ToString::to_string), place.is_pinned)
    };
    let home = |name: &str| Some(name.to_owned());
    assert_eq!(place(&table, "other", "x"), (home("eu"), false));
    assert_eq!(place(&table, "_workflows", "x"), (home("eu"), false));
    assert_eq!(place(&table, "stock", "x"), (home("us"), false));
    assert_eq!(place(&table, "customers", "us/C1"), (home("us"), true));
    assert_eq!(place(&table, "visits", "us/C1"), (home("us"), false));
    assert!(table.place(&at("customers", "fr/C1")).is_err());
    assert!(table.has_pinned(&region("us")) && !table.has_pinned(&region("ap")));
    table.promoted = [(region("us"), region("eu")), (region("eu"), region("ap"))].into();
    assert_eq!(place(&table, "customers", "us/C1"), (home("ap"), true));
    assert_eq!(place(&table, "other", "x"), (home("ap"), false));
    // Even one that could not be declared does not hang anybody.
    table.promoted = [(region("us"), region("eu")), (region("eu"), region("us"))].into();
    assert!(table.place(&at("stock", "x")).is_ok());
}

#[test]
fn workflows_are_placed_by_their_ids() {
    let placement = geo(&[("eu", "eu"), ("us", "us")], true);
    let table = table(vec![collection("_workflows", placement)]);
    let key = |name: &str, id: &str| at("_workflows", &format!("{name}/{id}"));
    let place = |id: &str| {
        let place = table.place(&key("us", id)).ok()?;
        assert!(place.is_pinned);
        place.home.map(ToString::to_string)
    };
    assert_eq!(place("eu/o-1").as_deref(), Some("eu"));
    assert_eq!(place("us/o/1").as_deref(), Some("us"));
    for id in ["o-1", "fr/o-1", "eu", "eu/"] {
        assert_eq!(place(id), None, "{id}");
    }
    let due = table.collection_for("_workflows-due", &key("fulfil", "us/o-1"));
    assert_eq!(due, "_workflows-due__us");
    let apart = table.place(&at("_workflows-due__us", "00")).unwrap();
    assert!(apart.is_pinned && apart.home == Some(&region("us")));
}

#[test]
fn what_changes_takes_no_writes() {
    let is_frozen = |step: Step, name: &str| {
        let mut table = table(vec![collection("stock", Placement::Hash {})]);
        table.begin(Pending {
            id: "1".into(),
            at_ms: 1,
            by: "root".into(),
            step: step.clone(),
        });
        assert!(table.pending_of(&step).is_some());
        let is_frozen = table.place(&at(name, "x")).unwrap().is_frozen;
        table.end(&step);
        assert!(!table.place(&at(name, "x")).unwrap().is_frozen);
        is_frozen
    };
    let of = |tenant: &str| Step::Collection {
        tenant: tenant.parse().unwrap(),
        name: "stock".into(),
        to: None,
    };
    let promote = |from: &str| Step::Promote {
        from: region(from),
        to: region("ap"),
    };
    for (step, name, expected) in [
        (of("default"), "stock", true),
        (of("default"), "other", false),
        (of("shop"), "stock", false),
        (Step::Main { to: None }, "other", true),
        (promote("eu"), "other", true),
        (promote("us"), "other", false),
    ] {
        assert_eq!(is_frozen(step.clone(), name), expected, "{step:?} {name}");
    }
}

/// Changes of one tenant follow each other; those of others, and of the installation, do not wait for them.
#[test]
fn nobody_is_held_up_by_another_tenant() {
    let of = |tenant: &str, to| Step::Collection {
        tenant: tenant.parse().unwrap(),
        name: "stock".into(),
        to,
    };
    let promote = Step::Promote {
        from: region("us"),
        to: region("eu"),
    };
    let mut table = table(Vec::new());
    let (own, others) = (of("default", None), of("shop", None));
    table.begin(Pending {
        id: "1".into(),
        at_ms: 1,
        by: "root".into(),
        step: own.clone(),
    });
    let is_free = |step: &Step| table.pending_of(step).is_none();
    assert!(!is_free(&own) && is_free(&others) && is_free(&promote));
    assert_eq!(table.all_pending().count(), 1);
    let new = Collection {
        tenant: "shop".parse().unwrap(),
        ..collection("stock", Placement::Hash {})
    };
    for step in [
        of("shop", Some(new)),
        promote,
        Step::Main {
            to: Some(region("us")),
        },
    ] {
        assert!(!step.is_done(&table), "{step:?}");
        step.make(&mut table);
        assert!(step.is_done(&table), "{step:?}");
    }
    of("shop", None).make(&mut table);
    assert!(!table.collections.contains_key(&"shop".parse().unwrap()));
    let text = serde_json::to_string(&table).unwrap();
    assert_eq!(
        serde_json::from_str::<PlacementTable>(&text).unwrap(),
        table
    );
    let old = r#"{"revision":1,"main":null,"promoted":{},"collections":{},"pending":null}"#;
    assert_eq!(
        serde_json::from_str::<PlacementTable>(old)
            .unwrap()
            .revision,
        1
    );
}

#[test]
fn a_tenant_leaves_room_for_others() {
    let of = |count: usize, parts: usize| {
        let geo = Placement::Geo {
            regions: (0..parts)
                .map(|n| (format!("{n:064}"), region("eu")))
                .collect(),
            pinned: true,
        };
        let all = (0..count).map(|n| collection(&format!("c{n}"), geo.clone()));
        table(all.collect())
    };
    for (count, parts, fits) in [
        (256, 1, true),
        (257, 1, false),
        (1, 700, true),
        (1, 1000, false),
    ] {
        let checked = of(count, parts).check_room(&tenant());
        assert_eq!(checked.is_ok(), fits, "{count} {parts}: {checked:?}");
    }
    let mut full = of(1, 700);
    let own = full.collections.values().next().unwrap().clone();
    for n in 0..40 {
        full.collections
            .insert(format!("t{n}").parse().unwrap(), own.clone());
    }
    assert!(full.check_room(&tenant()).is_err(), "all tenants together");
}

#[test]
fn data_that_would_move_is_noticed() {
    let of = |placement| Some(collection("c", placement));
    let at_home = |name: &str| {
        Some(Collection {
            home: Some(region(name)),
            ..collection("c", Placement::Hash {})
        })
    };
    let (eu, both) = (
        geo(&[("eu", "eu")], true),
        geo(&[("eu", "eu"), ("us", "us")], true),
    );
    let other = geo(&[("eu", "us")], true);
    for (from, to, on_shared, on_own) in [
        (None, of(Placement::Hash {}), false, false),
        (None, of(eu.clone()), true, true),
        (of(eu.clone()), None, true, true),
        (of(eu.clone()), of(both.clone()), false, false),
        (of(both), of(eu.clone()), true, true),
        (of(eu.clone()), of(other), true, true),
        (of(eu), of(geo(&[("eu", "eu")], false)), true, false),
        (None, at_home("us"), false, true),
        (at_home("us"), at_home("us"), false, false),
        (None, of(geo(&[("eu", "eu")], false)), false, true),
    ] {
        let moves = |is_shared| moves_data(from.as_ref(), to.as_ref(), is_shared);
        assert_eq!(
            (moves(true), moves(false)),
            (on_shared, on_own),
            "{from:?} -> {to:?}"
        );
    }
}

#[test]
fn declarations_are_read_as_they_are_written() {
    for (json, expected) in [
        (r#"{"kind":"hash"}"#, Some(Placement::Hash {})),
        (
            r#"{"kind":"geo","regions":{"eu":"eu"}}"#,
            Some(geo(&[("eu", "eu")], true)),
        ),
        (
            r#"{"kind":"time","bucket":"hour","lifetime_ms":5}"#,
            Some(Placement::Time {
                bucket: Bucket::Hour,
                lifetime_ms: Some(5),
            }),
        ),
        (r#"{"kind":"hash","x":1}"#, None),
        (r#"{"kind":"geo","regions":{"eu":"EU"}}"#, None),
        (r#"{"kind":"round"}"#, None),
    ] {
        let read = serde_json::from_str::<Placement>(json);
        assert_eq!(read.ok(), expected, "{json}");
    }
    let table = table(vec![collection("c", geo(&[("eu", "eu")], true))]);
    let text = serde_json::to_string(&table).unwrap();
    assert_eq!(
        serde_json::from_str::<PlacementTable>(&text).unwrap(),
        table
    );
}
