//! A module of five steps over three partitions, and processes at work on it over one store.

use super::mortal::{Death, Mortal};
use crate::guests;
use async_trait::async_trait;
use brink_core::{
    commands::Commands,
    components::Components,
    deployments::Tables,
    store::{
        Action, CqlOptions, CqlStore, NewAudit, NewVersion, Options, RedbStore, Store, TableChange,
        Transaction, Write,
    },
    workflows::{Alone, Decides, Needs, Undecided, Workflows, phase},
};
use brink_protocol::{
    Digest, ModuleName, TenantName,
    address::PartitionAddress,
    control::WorkflowPhase,
    deployment::{Deployment, DeploymentTable, Grants, Limits, World},
    link::Condition,
    record::{Bound, Range},
    workflow::{
        Decision, Deployed, Instance, Outcome, StartWorkflow, Step, StepCall, WorkflowError,
        instance_key,
    },
};
use brink_sandbox::Sandbox;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Far beyond what one workflow takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Steps of the workflow, and the partitions that they are made in.
pub const STEPS: usize = 5;
pub const PARTITIONS: [&str; 3] = ["stock", "transport", "billing"];

pub fn tenant() -> TenantName {
    "default".parse().unwrap()
}

pub fn name() -> ModuleName {
    "fulfil".parse().unwrap()
}

/// Five steps, each with a compensation; the input says which of them goes wrong, and how.
struct Five;

/// What a step writes, for the guest: how it goes, its partition, its record.
fn call(how: char, partition: &str, sort: &str) -> StepCall {
    let length = char::from(u8::try_from(partition.len()).unwrap());
    StepCall {
        command: "effect".parse().unwrap(),
        collection: "work".into(),
        partition: partition.into(),
        input: format!("{how}{length}{partition}{sort}").into(),
    }
}

#[async_trait]
impl Decides for Five {
    async fn decide(
        &self,
        _: &TenantName,
        _: &ModuleName,
        _: &Deployed,
        input: Bytes,
        outcomes: &[Outcome],
    ) -> Result<Decision, Undecided> {
        let input = std::str::from_utf8(&input).unwrap();
        let (id, fault) = input.split_once(' ').unwrap();
        if let Some(Outcome::Refused(reason)) = outcomes.last() {
            return Ok(Decision::Fail(reason.clone()));
        }
        let number = outcomes.len();
        if fault == "waits" {
            return Ok(Decision::Wait(24 * 3_600_000));
        }
        if number == STEPS {
            return Ok(Decision::Complete(Bytes::from_static(b"shipped")));
        }
        let how = match fault.split_once('@') {
            Some((how, at)) if at == number.to_string() => how.chars().next().unwrap(),
            _ => '.',
        };
        let partition = PARTITIONS[number % 3];
        Ok(Decision::Call(Step {
            call: call(how, partition, &format!("{id}/s{number}")),
            compensation: Some(call('.', partition, &format!("{id}/u{number}"))),
        }))
    }
}

/// On what its store lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Embedded,
    Cql,
}

/// A fresh keyspace of the engine that the tests of this program share.
async fn cql() -> Arc<dyn Store> {
    static KEYSPACES: AtomicU32 = AtomicU32::new(0);
    let engine = tokio::task::spawn_blocking(brink_engines::shared).await;
    let engine = engine.unwrap().unwrap();
    let number = KEYSPACES.fetch_add(1, Ordering::Relaxed);
    let keyspace = format!("f{}_{number}", std::process::id());
    let center = brink_engines::DATA_CENTRE;
    let node = "core-1".parse().unwrap();
    let mut options = CqlOptions::new(vec![engine.to_string()], keyspace, center, node);
    options.replication = [(center.to_owned(), 1)].into();
    // A test machine may be busy; nothing here is about time.
    options.request_timeout = Duration::from_secs(20);
    options.write_timeout = Duration::from_secs(60);
    options.poll_interval = Duration::from_millis(20);
    Arc::new(CqlStore::open(&options).await.unwrap())
}

/// What outlives a process: the store, and components that are compiled.
pub struct Platform {
    pub store: Arc<dyn Store>,
    sandbox: Sandbox,
    tables: Arc<Tables>,
    /// How many times as fast as others its clock goes.
    speed: u64,
    _directory: tempfile::TempDir,
}

fn deployment(name: &str, digest: Digest, world: World) -> Deployment {
    Deployment {
        tenant: tenant(),
        name: name.parse().unwrap(),
        version: 1,
        digest,
        world,
        config: Default::default(),
        limits: Limits::default(),
        grants: Grants::default(),
    }
}

fn audit() -> NewAudit {
    NewAudit {
        by: "test".into(),
        tenant: tenant(),
        action: "deploy",
        subject: "effect".into(),
        at_ms: 1,
    }
}

impl Platform {
    pub async fn new(speed: u64) -> Self {
        Self::on(Engine::Embedded, speed).await
    }

    pub async fn on(engine: Engine, speed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store: Arc<dyn Store> = match engine {
            Engine::Embedded => Arc::new(RedbStore::open(&options).unwrap()),
            Engine::Cql => cql().await,
        };
        let component = guests::effect();
        let digest = Digest::of(&component);
        let version = NewVersion {
            tenant: tenant(),
            module: "effect".parse().unwrap(),
            digest,
            world: World::Command,
            imports: Vec::new(),
            at_ms: 1,
            by: "test".into(),
        };
        store.publish(version, component, audit()).await.unwrap();
        let table = DeploymentTable {
            revision: 0,
            deployments: vec![
                deployment("effect", digest, World::Command),
                deployment("fulfil", digest, World::Workflow),
            ],
            routes: Vec::new(),
        };
        let change = TableChange {
            expected_revision: 0,
            table,
            tenant: tenant(),
            modules: Vec::new(),
            history: None,
            purge: None,
            at_ms: 1,
        };
        store.change_table(change, audit()).await.unwrap().unwrap();
        Self {
            sandbox: Sandbox::new(Default::default()).unwrap(),
            tables: Tables::load(Arc::clone(&store)).await.unwrap(),
            store,
            speed,
            _directory: directory,
        }
    }

    /// Workflows of a process over a store that may die, by a clock that goes faster than others.
    pub fn process(&self, store: &Arc<Mortal>) -> Arc<Workflows> {
        self.process_named("core-1", store)
    }

    pub fn process_named(&self, node: &str, store: &Arc<Mortal>) -> Arc<Workflows> {
        self.process_with(node, store, 10_000)
    }

    pub fn process_with(&self, node: &str, store: &Arc<Mortal>, open_max: u32) -> Arc<Workflows> {
        let store: Arc<dyn Store> = Arc::clone(store) as _;
        let components = Components::new(Arc::clone(&store), self.sandbox.clone());
        let commands = Commands::new(
            Arc::clone(&store),
            Arc::new(components),
            Arc::clone(&self.tables),
            Arc::default(),
            node.into(),
            "local".into(),
        );
        Workflows::new(Needs {
            store,
            tables: Arc::clone(&self.tables),
            calls: Arc::new(commands),
            modules: Arc::new(Five),
            division: Arc::new(Alone),
            node: node.into(),
            clock: fast_clock(self.speed),
            look_every: Duration::from_millis(5),
            retention_ms: 3_600_000,
            open_max,
        })
    }

    pub async fn instance(&self, id: &str) -> Option<Instance> {
        let key = instance_key(&name(), id);
        let entry = self.store.get(&tenant(), &key, 1).await.unwrap()?;
        Some(Instance::decode(&entry.value).unwrap())
    }

    /// How often each of the workflow's calls took effect.
    async fn effects(&self, id: &str) -> BTreeMap<String, u64> {
        let mut effects = BTreeMap::new();
        for partition in PARTITIONS {
            for (sort, value) in self.rows(&tenant(), "work", partition).await {
                if let Some(call) = sort.strip_prefix(&format!("{id}/")) {
                    let count = u64::from_le_bytes(value.as_ref().try_into().unwrap());
                    effects.insert(call.to_owned(), count);
                }
            }
        }
        effects
    }

    pub async fn rows(
        &self,
        tenant: &TenantName,
        collection: &str,
        partition: &str,
    ) -> Vec<(String, Bytes)> {
        let mut rows = Vec::new();
        // With what is the platform's.
        let mut lower = Bound::Inclusive("\u{1}".into());
        loop {
            let range = Range {
                collection: collection.into(),
                partition: partition.into(),
                lower,
                upper: Bound::Unbounded,
                limit: 1000,
                descending: false,
            };
            let page = self.store.scan(tenant, &range, 1).await.unwrap();
            rows.extend(page.entries.into_iter().map(|e| (e.sort, e.value)));
            match rows.last() {
                Some((last, _)) if page.more => lower = Bound::Exclusive(last.clone()),
                _ => return rows,
            }
        }
    }

    /// Rows of the due index that name this workflow.
    pub async fn due(&self, id: &str) -> usize {
        let platform = "brink-workflows".parse().unwrap();
        let mut count = 0;
        for shard in 0..16 {
            let shard = format!("{shard:02}");
            let rows = self.rows(&platform, "_workflows-due", &shard).await;
            count += rows.iter().filter(|row| is_of(row, id)).count();
        }
        count
    }

    /// Takes them away, as the loss of a region may.
    pub async fn lose_due(&self, id: &str) {
        let tenant: TenantName = "brink-workflows".parse().unwrap();
        for shard in 0..16 {
            let shard = format!("{shard:02}");
            let rows = self.rows(&tenant, "_workflows-due", &shard).await;
            let lost = rows.into_iter().filter(|row| is_of(row, id));
            let lost = lost.map(|(sort, _)| Write {
                sort,
                action: Action::Delete,
                condition: Condition::Always,
            });
            let transaction = Transaction {
                partition: PartitionAddress {
                    tenant: tenant.clone(),
                    collection: "_workflows-due".into(),
                    partition: shard,
                },
                seen: Vec::new(),
                writes: lost.collect(),
                answer: None,
                now_ms: 1,
            };
            if !transaction.writes.is_empty() {
                self.store.commit(transaction).await.unwrap();
            }
        }
    }

    /// Waits until `is_so`, looking again whenever something was written.
    pub async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
        let mut held = self.store.held();
        let waiting = async {
            loop {
                held.mark_unchanged();
                if is_so().await {
                    return;
                }
                held.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    /// One life of a process with a client that wants one workflow, until that has ended and left nothing, or the process is
    /// dead. Gives how many operations there were, if it lived.
    pub async fn live(&self, id: &str, fault: &str, death: Death) -> Option<usize> {
        let store = Mortal::new(Arc::clone(&self.store), death);
        let workflows = self.process(&store);
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (workflows, stop) = (Arc::clone(&workflows), stop.clone());
            async move { workflows.run(stop).await }
        });
        let client = async {
            start(&workflows, id, fault).await;
            self.until(|| async {
                let instance = self.instance(id).await;
                instance.is_some_and(|instance| instance.has_ended()) && self.due(id).await == 0
            })
            .await;
        };
        let has_lived = tokio::select! {
            () = store.died() => false,
            () = client => true,
        };
        if has_lived {
            stop.cancel();
            running.await.unwrap();
        } else {
            running.abort();
        }
        has_lived.then(|| store.operations())
    }

    /// It ended, and is not half there.
    pub async fn check(&self, id: &str, context: &str) -> WorkflowPhase {
        let instance = self.instance(id).await.unwrap();
        let effects = self.effects(id).await;
        assert!(
            effects.values().all(|count| *count == 1),
            "{context}: each at most once: {effects:?}"
        );
        let did = |kind: char, number: usize| effects.contains_key(&format!("{kind}{number}"));
        let phase = phase(&instance);
        for number in 0..STEPS {
            let expected = match phase {
                WorkflowPhase::Completed => (true, false),
                _ => (did('s', number), did('s', number)),
            };
            let found = (did('s', number), did('u', number));
            assert_eq!(found, expected, "{context}: step {number} of {effects:?}");
        }
        phase
    }
}

/// Whether a row of the due index names this workflow.
fn is_of((sort, _): &(String, Bytes), id: &str) -> bool {
    sort.ends_with(&format!("/fulfil/{id}"))
}

/// Many times as fast as others, so that waits are short.
fn fast_clock(speed: u64) -> Arc<dyn Fn() -> u64 + Send + Sync> {
    static BASE: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let now = brink_core::clock::now_ms();
    let _ = BASE.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    Arc::new(move || {
        let elapsed = u64::try_from(START.elapsed().as_millis()).unwrap();
        BASE.load(Ordering::SeqCst) + elapsed * speed
    })
}

pub fn request(id: &str, fault: &str) -> StartWorkflow {
    StartWorkflow {
        tenant: tenant(),
        caller: "shop".parse().unwrap(),
        subject: None,
        name: name(),
        id: id.into(),
        input: format!("{id} {fault}").into(),
    }
}

/// Starts it as a client that repeats what it has no answer to.
pub async fn start(workflows: &Arc<Workflows>, id: &str, fault: &str) {
    loop {
        match workflows.answer(request(id, fault)).await.outcome {
            Ok(_) => return,
            Err(WorkflowError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
