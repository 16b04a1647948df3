//! The schema, step by step. A step is never changed once it was released; later ones only add.

/// One step.
pub(super) struct Migration {
    /// Steps are done in the order of their versions, which count from 1.
    pub(super) version: i32,
    /// What it brings.
    pub(super) name: &'static str,
    /// Statements that may be repeated, for a step that was cut off is done again from its beginning.
    pub(super) statements: &'static [&'static str],
}

/// All steps.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "records and logs",
        statements: &[
            // `kind` -1: the partition itself, `version` its revision, `ids` those of its last commits; 0: a record;
            // 1: an answer to an idempotency key. `expires_at` 0: never; -1: deleted, and `version` the last it had.
            "CREATE TABLE IF NOT EXISTS records (tenant text, collection text, partition text, kind tinyint, sort text, \
         version bigint, value blob, expires_at bigint, ids blob, \
         PRIMARY KEY ((tenant, collection, partition), kind, sort)) \
         WITH CLUSTERING ORDER BY (kind ASC, sort ASC)",
            // Groups of changes under the sequence of the last of them. `term` and `head` belong to the bucket.
            "CREATE TABLE IF NOT EXISTS log (node text, incarnation bigint, bucket bigint, sequence bigint, \
         term bigint static, head bigint static, open_from bigint, changes blob, \
         PRIMARY KEY ((node, incarnation, bucket), sequence)) WITH CLUSTERING ORDER BY (sequence ASC)",
            // All core nodes in one partition.
            "CREATE TABLE IF NOT EXISTS origins (every int, node text, incarnation bigint, term bigint, oldest bigint, \
         PRIMARY KEY (every, node))",
            // When records and answers end. `note` is there for the moment at which it was written.
            "CREATE TABLE IF NOT EXISTS ends (hour bigint, slice int, expires_at bigint, tenant text, collection text, \
         partition text, kind tinyint, sort text, note tinyint, \
         PRIMARY KEY ((hour, slice), expires_at, tenant, collection, partition, kind, sort))",
            "CREATE TABLE IF NOT EXISTS end_hours (every int, hour bigint, note tinyint, PRIMARY KEY (every, hour))",
        ],
    },
    Migration {
        version: 2,
        name: "registry and purges",
        statements: &[
            // In all of these, `row` is JSON: cores of two versions may read the same rows.
            //
            // `every` is 0: one partition. The columns that belong to it are the table; `kind` is `history` of a module, or
            // `outbox` for what a change of the table has still to say.
            "CREATE TABLE IF NOT EXISTS deployments (every int, kind text, tenant text, name text, row text, \
         revision bigint static, deployed text static, PRIMARY KEY (every, kind, tenant, name))",
            "CREATE TABLE IF NOT EXISTS modules (tenant text, module text, PRIMARY KEY (tenant, module))",
            "CREATE TABLE IF NOT EXISTS versions (tenant text, module text, version bigint, row text, \
         PRIMARY KEY ((tenant, module), version))",
            // Part 0 is written last and says how many there are.
            "CREATE TABLE IF NOT EXISTS components (digest text, part int, parts int, bytes blob, \
         PRIMARY KEY ((digest, part)))",
            "CREATE TABLE IF NOT EXISTS tokens (hash blob PRIMARY KEY, row text)",
            "CREATE TABLE IF NOT EXISTS token_ids (every int, id text, row text, PRIMARY KEY (every, id))",
            // A bucket is a thousand entries; `audit_ends` knows the last, written under itself as its timestamp.
            "CREATE TABLE IF NOT EXISTS audit (bucket bigint, number bigint, row text, PRIMARY KEY (bucket, number)) \
         WITH CLUSTERING ORDER BY (number DESC)",
            "CREATE TABLE IF NOT EXISTS audit_ends (every int PRIMARY KEY, number bigint)",
            "CREATE TABLE IF NOT EXISTS pops (every int, name text, row text, PRIMARY KEY (every, name))",
            "CREATE TABLE IF NOT EXISTS session_keys (every int, node text, row text, PRIMARY KEY (every, node))",
            // `row` is the purge; `note` is what the PoP said of it.
            "CREATE TABLE IF NOT EXISTS purges (tenant text, id text, pop text, row text static, note text, \
         PRIMARY KEY ((tenant, id), pop))",
            "CREATE TABLE IF NOT EXISTS purge_ids (tenant text, id text, PRIMARY KEY (tenant, id)) \
         WITH CLUSTERING ORDER BY (id DESC)",
            "CREATE TABLE IF NOT EXISTS purge_tenants (id text PRIMARY KEY, tenant text, at_ms bigint)",
            "CREATE TABLE IF NOT EXISTS purge_answers (tenant text, command text, key text, row text, expires_at bigint, \
         PRIMARY KEY ((tenant, command, key)))",
            // By the day on which they are due, so that what was removed is not read again and again.
            "CREATE TABLE IF NOT EXISTS later_purges (day bigint, due_ms bigint, tenant text, id text, row text, \
         claimed_until bigint, PRIMARY KEY (day, due_ms, tenant, id))",
        ],
    },
    Migration {
        version: 3,
        name: "members",
        statements: &[
            // `row` is JSON: what a core says of itself. `beat` is another one each second.
            "CREATE TABLE IF NOT EXISTS members (every int, node text, row text, beat bigint, PRIMARY KEY (every, node))",
        ],
    },
    Migration {
        version: 4,
        name: "identity",
        statements: &[
            // One row: which store this is.
            "CREATE TABLE IF NOT EXISTS identity (every int PRIMARY KEY, id text)",
        ],
    },
];

/// The tables of a keyspace that has records alone, by name.
pub(super) fn of_records() -> Vec<(&'static str, &'static str)> {
    const TABLES: [(&str, &str); 3] = [
        ("records", "CREATE TABLE IF NOT EXISTS records "),
        ("ends", "CREATE TABLE IF NOT EXISTS ends "),
        ("end_hours", "CREATE TABLE IF NOT EXISTS end_hours "),
    ];
    let statements = || MIGRATIONS.iter().flat_map(|step| step.statements);
    let find = |(name, begin): (&'static str, &str)| {
        let mut statements = statements();
        let found = statements.find(|statement| statement.starts_with(begin));
        found.map(|statement| (name, *statement))
    };
    TABLES.into_iter().filter_map(find).collect()
}
