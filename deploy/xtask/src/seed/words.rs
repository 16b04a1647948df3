//! The words that sample data is made of.

/// A warehouse.
pub(super) struct Warehouse {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    pub(super) country: &'static str,
    pub(super) region: &'static str,
    /// What its prices are in.
    pub(super) currency: &'static str,
    /// Minor units of its currency for 100 cents of a euro.
    pub(super) per_100_cents: u64,
}

const fn warehouse(
    code: &'static str,
    name: &'static str,
    country: &'static str,
    region: &'static str,
    currency: &'static str,
    per_100_cents: u64,
) -> Warehouse {
    Warehouse {
        code,
        name,
        country,
        region,
        currency,
        per_100_cents,
    }
}

pub(super) const WAREHOUSES: [Warehouse; 8] = [
    warehouse("AMS1", "Amsterdam Westpoort", "NL", "eu-west", "EUR", 100),
    warehouse("SFO1", "Oakland Harbor", "US", "us-west", "USD", 110),
    warehouse("FRA1", "Frankfurt Osthafen", "DE", "eu-central", "EUR", 100),
    warehouse(
        "NRT1",
        "Narita Airport City",
        "JP",
        "ap-northeast",
        "JPY",
        165,
    ),
    warehouse("GRU1", "Guarulhos Cumbica", "BR", "sa-east", "BRL", 620),
    warehouse(
        "JNB1",
        "Johannesburg City Deep",
        "ZA",
        "af-south",
        "ZAR",
        2_030,
    ),
    warehouse(
        "SYD1",
        "Sydney Port Botany",
        "AU",
        "ap-southeast",
        "AUD",
        168,
    ),
    warehouse("BOM1", "Mumbai Bhiwandi", "IN", "ap-south", "INR", 9_400),
];

/// A kind of article.
pub(super) struct Article {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    pub(super) category: &'static str,
    /// About what it costs, in cents of a euro.
    pub(super) price_cents: u64,
    /// About what it weighs, in grams.
    pub(super) weight_g: u64,
}

const fn article(
    code: &'static str,
    name: &'static str,
    category: &'static str,
    price_cents: u64,
    weight_g: u64,
) -> Article {
    Article {
        code,
        name,
        category,
        price_cents,
        weight_g,
    }
}

pub(super) const ARTICLES: [Article; 24] = [
    article("SHELF", "bookshelf", "furniture", 12_900, 18_000),
    article("CHAIR", "dining chair", "furniture", 7_900, 5_200),
    article("DESK", "writing desk", "furniture", 24_900, 27_000),
    article("STOOL", "bar stool", "furniture", 5_900, 4_100),
    article("LAMP", "desk lamp", "lighting", 3_900, 1_400),
    article("BULB", "light bulb", "lighting", 690, 80),
    article("PEND", "pendant light", "lighting", 8_900, 2_300),
    article("KETTL", "kettle", "kitchen", 4_500, 1_100),
    article("PAN", "frying pan", "kitchen", 3_700, 1_600),
    article("KNIFE", "chef's knife", "kitchen", 5_500, 260),
    article("MUG", "mug", "kitchen", 1_200, 350),
    article("PLATE", "dinner plate", "kitchen", 1_500, 600),
    article("TOWEL", "bath towel", "textiles", 1_900, 450),
    article("SHEET", "fitted sheet", "textiles", 3_200, 900),
    article("RUG", "rug", "textiles", 14_900, 9_500),
    article("CUSH", "cushion", "textiles", 2_400, 500),
    article("PLANT", "planter", "garden", 2_900, 3_200),
    article("HOSE", "garden hose", "garden", 3_400, 2_800),
    article("SPADE", "spade", "garden", 4_200, 2_100),
    article("DRILL", "cordless drill", "tools", 11_900, 1_700),
    article("SAW", "hand saw", "tools", 2_600, 700),
    article("HAMMR", "claw hammer", "tools", 2_200, 800),
    article("CLOCK", "wall clock", "decoration", 3_500, 900),
    article("VASE", "vase", "decoration", 2_700, 1_200),
];

pub(super) const ADJECTIVES: [&str; 16] = [
    "Classic", "Compact", "Everyday", "Foldable", "Handmade", "Large", "Light", "Low", "Modern",
    "Narrow", "Plain", "Round", "Rustic", "Small", "Sturdy", "Tall",
];

pub(super) const MATERIALS: [&str; 15] = [
    "ash", "bamboo", "beech", "birch", "brass", "ceramic", "copper", "cotton", "glass", "linen",
    "oak", "pine", "steel", "walnut", "wool",
];

pub(super) const GIVEN_NAMES: [&str; 32] = [
    "Ada", "Aiko", "Amara", "Anouk", "Bruno", "Carlos", "Chloe", "Daan", "Elena", "Emeka", "Farah",
    "Grace", "Hana", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Lucas", "Maria", "Mateo", "Mei",
    "Nadia", "Noor", "Oliver", "Priya", "Rafael", "Sara", "Tariq", "Thandi", "Yuki", "Zoe",
];

pub(super) const FAMILY_NAMES: [&str; 30] = [
    "Almeida", "Andersen", "Bakker", "Botha", "Brown", "Chen", "Costa", "Davies", "Dubois",
    "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kim", "Kowalski", "Kumar", "Lopez", "Martin",
    "Mbeki", "Moreau", "Nguyen", "Okafor", "Rossi", "Santos", "Sato", "Schmidt", "Singh", "Smith",
    "Tanaka",
];

/// Where customers live, and which warehouse is near.
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) country: &'static str,
    pub(super) warehouse: &'static str,
}

const fn city(name: &'static str, country: &'static str, warehouse: &'static str) -> City {
    City {
        name,
        country,
        warehouse,
    }
}

pub(super) const CITIES: [City; 16] = [
    city("Amsterdam", "NL", "AMS1"),
    city("Rotterdam", "NL", "AMS1"),
    city("Antwerp", "BE", "AMS1"),
    city("London", "GB", "AMS1"),
    city("San Francisco", "US", "SFO1"),
    city("Seattle", "US", "SFO1"),
    city("Denver", "US", "SFO1"),
    city("Frankfurt", "DE", "FRA1"),
    city("Vienna", "AT", "FRA1"),
    city("Tokyo", "JP", "NRT1"),
    city("Osaka", "JP", "NRT1"),
    city("Sao Paulo", "BR", "GRU1"),
    city("Cape Town", "ZA", "JNB1"),
    city("Sydney", "AU", "SYD1"),
    city("Melbourne", "AU", "SYD1"),
    city("Mumbai", "IN", "BOM1"),
];
