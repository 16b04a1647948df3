//! `cargo xtask seed`: sample data that looks like a shop's, the same at every run.
//!
//! The layout is the one that the modules in `modules/` read; see `modules/README.md`.

pub(crate) mod chance;
mod words;

use chance::Chance;
use words::{ADJECTIVES, ARTICLES, CITIES, FAMILY_NAMES, GIVEN_NAMES, MATERIALS, WAREHOUSES};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{fmt::Write as _, io::Write as _};

/// Articles of the catalog.
pub const ITEMS: u32 = 3_000;
/// Customers.
pub const CUSTOMERS: u32 = 4_000;
/// Everything follows from this.
const SEED: u64 = 0x0062_7269_6e6b;

/// Arguments of `seed`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the lines
    #[arg(long)]
    print: bool,
    /// Print how many records of each collection there are
    #[arg(long, conflicts_with = "print")]
    count: bool,
}

/// Prints the sample data or its size.
///
/// # Errors
/// Standard output is closed, or nothing is asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    let records = records();
    let mut out = std::io::stdout().lock();
    if arguments.print {
        out.write_all(lines(&records).as_bytes())
            .context("standard output is closed")?;
    } else if arguments.count {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for record in &records {
            *counts.entry(record.collection).or_default() += 1;
        }
        for (collection, count) in counts {
            writeln!(out, "{collection}: {count}")?;
        }
    } else {
        bail!("say --print or --count; `cargo xtask up` imports the sample data");
    }
    Ok(())
}

/// A record of the sample data.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    collection: &'static str,
    partition: String,
    sort: String,
    value: Value,
}

/// An article.
struct Item {
    sku: String,
    /// In cents of a euro.
    price_cents: u64,
    value: Value,
}

/// All of it, in the order in which it is imported.
#[must_use]
pub fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for warehouse in &WAREHOUSES {
        let value = json!({
            "code": warehouse.code, "name": warehouse.name, "country": warehouse.country,
            "region": warehouse.region, "currency": warehouse.currency,
        });
        records.push(record("warehouses", "all", warehouse.code, value));
    }
    for number in 0..ITEMS {
        let item = item(number);
        stock(&item, number, &mut records);
        records.push(record("catalog", "items", &item.sku, item.value));
    }
    records.extend((0..CUSTOMERS).map(customer));
    records
}

/// As the body of `POST /v1/records/import`.
#[must_use]
pub fn lines(records: &[Record]) -> String {
    let mut text = String::with_capacity(records.len() * 160);
    for record in records {
        let line = json!({
            "collection": record.collection, "partition": record.partition,
            "sort": record.sort, "value": record.value,
        });
        let _ = writeln!(text, "{line}");
    }
    text
}

fn record(collection: &'static str, partition: &str, sort: &str, value: Value) -> Record {
    Record {
        collection,
        partition: partition.to_owned(),
        sort: sort.to_owned(),
        value,
    }
}

/// The SKU of the article with this number, counted from 0.
#[must_use]
pub fn sku(number: u32) -> String {
    let article = chance::pick(&ARTICLES, u64::from(number));
    format!("{}-{:05}", article.code, 10_000 + number * 7)
}

fn item(number: u32) -> Item {
    let mut chance = Chance::new(SEED ^ (u64::from(number) << 20));
    let article = chance::pick(&ARTICLES, u64::from(number));
    let adjective = chance.pick(&ADJECTIVES);
    let material = chance.pick(&MATERIALS);
    // Prices end in 9 or 5, as prices do.
    let spread = article.price_cents / 2 + chance.below(article.price_cents);
    let price_cents = (spread / 10 * 10 + if chance.one_in(3) { 5 } else { 9 }).max(99);
    let sku = sku(number);
    let value = json!({
        "sku": sku,
        "name": format!("{adjective} {material} {}", article.name),
        "category": article.category,
        "price_minor": price_cents,
        "currency": "EUR",
        "weight_g": article.weight_g / 2 + chance.below(article.weight_g),
        "ean": format!("40{:010}{}", 1_000_000 + u64::from(number) * 37, chance.below(10)),
    });
    Item {
        sku,
        price_cents,
        value,
    }
}

/// What the warehouses have of an article: not all have all, and some have run out.
fn stock(item: &Item, number: u32, records: &mut Vec<Record>) {
    let mut chance = Chance::new(SEED ^ (u64::from(number) << 20) ^ 1);
    for (index, warehouse) in WAREHOUSES.iter().enumerate() {
        // The first two have everything, so that every article can be ordered somewhere.
        if index > 1 && chance.one_in(4) {
            continue;
        }
        let on_hand = match chance.below(10) {
            // Examples order the first articles, more than once.
            _ if index < 2 && number < 24 => 200 + chance.below(300),
            0 if index > 1 => 0,
            1..=2 => 1 + chance.below(9),
            _ => 20 + chance.below(480),
        };
        let reserved = chance.below(on_hand / 5 + 1);
        let price_minor = item.price_cents * warehouse.per_100_cents / 100;
        let value = json!({
            "sku": item.sku, "on_hand": on_hand, "reserved": reserved,
            "price_minor": price_minor.max(1), "currency": warehouse.currency,
        });
        records.push(record(
            "stock",
            warehouse.code,
            &format!("sku/{}", item.sku),
            value,
        ));
    }
}

/// The id of the customer with this number, counted from 0.
#[must_use]
pub fn customer_id(number: u32) -> String {
    format!("C{:06}", 100_000 + number)
}

fn customer(number: u32) -> Record {
    let mut chance = Chance::new(SEED ^ (u64::from(number) << 24) ^ 2);
    let (given, family) = (chance.pick(&GIVEN_NAMES), chance.pick(&FAMILY_NAMES));
    let city = chance.pick(&CITIES);
    let id = customer_id(number);
    let value = json!({
        "id": id,
        "name": format!("{given} {family}"),
        "email": format!("{}.{}{number}@example.com", given.to_lowercase(), family.to_lowercase()),
        "city": city.name,
        "country": city.country,
        "warehouse": city.warehouse,
    });
    record("customers", &id, "profile", value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_at_every_run_and_addressed_once() {
        let records = records();
        assert_eq!(lines(&records), lines(&super::records()));
        let addresses: BTreeSet<_> = records
            .iter()
            .map(|record| {
                (
                    record.collection,
                    record.partition.clone(),
                    record.sort.clone(),
                )
            })
            .collect();
        assert_eq!(addresses.len(), records.len());
        let of = |collection| {
            records
                .iter()
                .filter(|record| record.collection == collection)
                .count()
        };
        assert_eq!(of("catalog"), 3_000);
        assert_eq!(of("customers"), 4_000);
        assert_eq!(of("warehouses"), 8);
        assert!(of("stock") > 15_000);
    }

    #[test]
    fn every_article_can_be_had_where_the_examples_order_it() {
        let records = records();
        for code in [WAREHOUSES[0].code, WAREHOUSES[1].code] {
            let stock: Vec<_> = records
                .iter()
                .filter(|record| record.collection == "stock" && record.partition == code)
                .collect();
            assert_eq!(stock.len(), 3_000, "{code}");
            for record in stock {
                let figure = |name: &str| record.value[name].as_u64().unwrap();
                assert!(figure("on_hand") > figure("reserved"), "{}", record.value);
                assert!(figure("price_minor") > 0);
            }
        }
    }

    #[test]
    fn names_fit_the_limits_of_the_modules() {
        for record in records() {
            let code = record.sort.rsplit('/').next().unwrap();
            assert!(
                code.len() <= 64 && !record.partition.is_empty(),
                "{record:?}"
            );
            if record.collection != "customers" {
                let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
                assert!(code.bytes().all(fits), "{code}");
            }
        }
        let warehouses: BTreeSet<_> = WAREHOUSES.iter().map(|warehouse| warehouse.code).collect();
        for city in &CITIES {
            assert!(warehouses.contains(city.warehouse), "{}", city.name);
        }
    }
}
