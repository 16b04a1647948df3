//! Workflows that are killed at every point: they complete or are compensated, and what they do happens once.

mod mortal;

use self::mortal::{Death, Mortal};
use crate::guests;
use async_trait::async_trait;
use brink_core::{
    commands::Commands,
    components::Components,
    deployments::Tables,
    store::{NewAudit, NewVersion, Options, RedbStore, Store, TableChange},
    workflows::{Alone, Decides, Needs, Undecided, Workflows, phase},
};
use brink_protocol::{
    Digest, ModuleName, TenantName,
    control::WorkflowPhase,
    deployment::{Deployment, DeploymentTable, Grants, Limits, World},
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
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Far beyond what one workflow takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Steps of the workflow, and the partitions that they are made in.
const STEPS: usize = 5;
const PARTITIONS: [&str; 3] = ["stock", "transport", "billing"];

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn name() -> ModuleName {
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

/// What outlives a process: the store, and components that are compiled.
struct Platform {
    store: Arc<dyn Store>,
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
    async fn new(speed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
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
    fn process(&self, store: &Arc<Mortal>) -> Arc<Workflows> {
        self.process_named("core-1", store)
    }

    fn process_named(&self, node: &str, store: &Arc<Mortal>) -> Arc<Workflows> {
        self.process_with(node, store, 10_000)
    }

    fn process_with(&self, node: &str, store: &Arc<Mortal>, open_max: u32) -> Arc<Workflows> {
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

    async fn instance(&self, id: &str) -> Option<Instance> {
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

    async fn rows(
        &self,
        tenant: &TenantName,
        collection: &str,
        partition: &str,
    ) -> Vec<(String, Bytes)> {
        let mut rows = Vec::new();
        let mut lower = Bound::Unbounded;
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
    async fn due(&self, id: &str) -> usize {
        let platform = "brink-workflows".parse().unwrap();
        let mut count = 0;
        for shard in 0..16 {
            let shard = format!("{shard:02}");
            let rows = self.rows(&platform, "_workflows-due", &shard).await;
            let suffix = format!("/fulfil/{id}");
            count += rows
                .iter()
                .filter(|(sort, _)| sort.ends_with(&suffix))
                .count();
        }
        count
    }

    /// Waits until `is_so`, looking again whenever something was written.
    async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
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
    async fn live(&self, id: &str, fault: &str, death: Death) -> Option<usize> {
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
    async fn check(&self, id: &str, context: &str) -> WorkflowPhase {
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

fn request(id: &str, fault: &str) -> StartWorkflow {
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
async fn start(workflows: &Arc<Workflows>, id: &str, fault: &str) {
    loop {
        match workflows.answer(request(id, fault)).await.outcome {
            Ok(_) => return,
            Err(WorkflowError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Kills a process at every operation (every so many-th), before it and after it, and lets another go on.
async fn killed_everywhere(fault: &str, stride: usize, expected: WorkflowPhase) -> usize {
    let world = Platform::new(100).await;
    let mut lives = 0;
    for after in [false, true] {
        for number in (0..).step_by(stride) {
            let death = match after {
                false => Death::Before(number),
                true => Death::After(number),
            };
            let id = format!("{}-{number}", if after { "after" } else { "before" });
            let has_lived = world.live(&id, fault, death).await.is_some();
            if !has_lived {
                world.live(&id, fault, Death::Never).await.unwrap();
            }
            let phase = world.check(&id, &format!("{fault} {death:?}")).await;
            assert_eq!(phase, expected, "{fault} {death:?}");
            lives += 1;
            if has_lived {
                break;
            }
        }
    }
    lives
}

macro_rules! killed {
    ($($test:ident: $fault:literal, $stride:literal => $phase:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let lives = killed_everywhere($fault, $stride, WorkflowPhase::$phase).await;
            eprintln!("workflow {}: killed at {lives} points", $fault);
            assert!(lives > 20, "{lives}");
        }
    )*};
}

killed! {
    killed_at_every_point_of_the_good_way: "good", 1 => Completed;
    killed_at_every_point_when_the_1st_step_refuses: "r@0", 1 => Failed;
    killed_at_every_point_when_the_2nd_step_refuses: "r@1", 1 => Failed;
    killed_at_every_point_when_the_3rd_step_refuses: "r@2", 1 => Failed;
    killed_at_every_point_when_the_4th_step_refuses: "r@3", 1 => Failed;
    killed_at_every_point_when_the_5th_step_refuses: "r@4", 1 => Failed;
    // Its eight attempts are alike.
    killed_at_every_7th_point_when_a_step_traps: "t@3", 7 => Failed;
}

/// A generator of numbers that a seed decides.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Two cores over one store, each of which dies again and again at points that a seed decides, while forty workflows run
/// that go well or fail, and some are cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cores_that_die_again_and_again() {
    let seed = brink_core::clock::now_ms();
    eprintln!("seed {seed}");
    let world = Platform::new(20).await;
    let mut chance = Chance(seed);
    let faults = ["good", "r@0", "r@2", "r@4", "good", "r@3"];
    let ids: Vec<(String, &str)> = (0..40).map(|n| (format!("w{n}"), faults[n % 6])).collect();
    let left = || async {
        let mut left = 0;
        for (id, _) in &ids {
            let instance = world.instance(id).await;
            let is_over = instance.is_some_and(|instance| instance.has_ended());
            left += usize::from(!is_over || world.due(id).await > 0);
        }
        left
    };
    let mut lives = 0;
    let started = Instant::now();
    while left().await > 0 {
        let left_now = left().await;
        assert!(
            started.elapsed() < PATIENCE,
            "seed {seed}: {left_now} are left in life {lives}"
        );
        let death = |chance: &mut Chance| match lives < 40 {
            true => Death::After(20 + chance.below(150) as usize),
            false => Death::Never,
        };
        let stores = ["core-1", "core-2"].map(|node| {
            let store = Mortal::new(Arc::clone(&world.store), death(&mut chance));
            (node, store)
        });
        let mut running = Vec::new();
        for (node, store) in &stores {
            let workflows = world.process_named(node, store);
            let ids = ids.clone();
            let cancelled = chance.below(40) as usize;
            running.push(tokio::spawn(async move {
                let run = workflows.run(CancellationToken::new());
                let client = async {
                    for (number, (id, fault)) in ids.iter().enumerate() {
                        start(&workflows, id, fault).await;
                        if number == cancelled {
                            // It may have ended already.
                            let _ = workflows.cancel(&tenant(), &name(), id, "test").await;
                        }
                    }
                };
                tokio::join!(run, client);
            }));
        }
        let done = world.until(|| async { left().await == 0 });
        tokio::select! {
            () = stores[0].1.died() => {}
            () = stores[1].1.died() => {}
            () = done => {}
        }
        stores.iter().for_each(|(_, store)| store.kill());
        running.iter().for_each(tokio::task::JoinHandle::abort);
        lives += 1;
    }
    let mut completed = 0;
    for (id, fault) in &ids {
        let phase = world.check(id, &format!("seed {seed}, {id} {fault}")).await;
        completed += usize::from(phase == WorkflowPhase::Completed);
        assert!(
            phase == WorkflowPhase::Failed || *fault == "good",
            "seed {seed}, {id}"
        );
    }
    eprintln!("{lives} lives of two cores, {completed} of 40 completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_starts_one_workflow() {
    let world = Platform::new(20).await;
    assert!(world.live("a", "good", Death::Never).await.is_some());
    let store = Mortal::new(Arc::clone(&world.store), Death::Never);
    let workflows = world.process(&store);
    let again = workflows.answer(request("a", "good")).await;
    assert_eq!(again.outcome, Ok(false));
    let other = workflows.answer(request("a", "r@1")).await.outcome;
    assert!(matches!(other, Err(WorkflowError::Invalid(_))), "{other:?}");
    let unknown = StartWorkflow {
        name: "effect".parse().unwrap(),
        ..request("b", "good")
    };
    let unknown = workflows.answer(unknown).await.outcome;
    assert!(
        matches!(unknown, Err(WorkflowError::Denied(_))),
        "a command is none: {unknown:?}"
    );
    for id in ["", "a b"] {
        let wrong = workflows.answer(request(id, "good")).await.outcome;
        assert!(matches!(wrong, Err(WorkflowError::Invalid(_))), "{wrong:?}");
    }
    let starts = (0..20).map(|_| workflows.answer(request("c", "good")));
    let outcomes = futures_util::future::join_all(starts).await;
    let new = outcomes
        .iter()
        .filter(|answer| answer.outcome == Ok(true))
        .count();
    assert_eq!(new, 1, "{outcomes:?}");
    let listed = workflows
        .list(&tenant(), (None, None), None, 10)
        .await
        .unwrap();
    let ids: Vec<_> = listed
        .instances
        .iter()
        .map(|(_, id, _)| id.as_str())
        .collect();
    assert_eq!(ids, ["c", "a"], "the newest first");
    let completed = Some(WorkflowPhase::Completed);
    let listed = workflows
        .list(&tenant(), (None, completed), None, 10)
        .await
        .unwrap();
    assert!(listed.instances.iter().any(|(_, id, _)| id == "a"));
    let none = workflows
        .list(&"other".parse().unwrap(), (None, None), None, 10)
        .await;
    assert!(none.unwrap().instances.is_empty(), "tenants see their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_open_than_may_be() {
    let world = Platform::new(20).await;
    let store = Mortal::new(Arc::clone(&world.store), Death::Never);
    let workflows = world.process_with("core-1", &store, 3);
    for id in ["a", "b", "c"] {
        let answer = workflows.answer(request(id, "waits")).await;
        assert_eq!(answer.outcome, Ok(true));
    }
    let refused = workflows.answer(request("d", "good")).await.outcome;
    let Err(WorkflowError::Unavailable(text)) = refused else {
        panic!("{refused:?}");
    };
    assert!(text.starts_with("3 workflows are open"), "{text}");
    let known = workflows.answer(request("a", "waits")).await;
    assert_eq!(known.outcome, Ok(false), "it was there");
    let others = StartWorkflow {
        tenant: "other".parse().unwrap(),
        ..request("a", "good")
    };
    let others = workflows.answer(others).await.outcome;
    assert!(
        matches!(others, Err(WorkflowError::Denied(_))),
        "{others:?}"
    );
    let cancelled = workflows.cancel(&tenant(), &name(), "b", "test").await;
    cancelled.unwrap();
    let started = Instant::now();
    while workflows.answer(request("d", "good")).await.outcome != Ok(true) {
        assert!(started.elapsed() < PATIENCE, "there is room again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
