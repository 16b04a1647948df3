//! A run from its beginning to its end.

use crate::{
    checker::{Promise, Rules, Violation, check},
    cities::{CITIES, delay_us},
    client::{Client, Numbers},
    clock::Clock,
    context::{Context, Next, Node},
    core::Core,
    faults,
    figures::Figures,
    history::{Event, digest},
    mutation::Mutation,
    network::Network,
    pages::Names,
    pop::Pop,
    scenario::Scenario,
    store::Store,
};

/// Most reads after everything has come to rest.
const LAST_READS_MAX: usize = 4_000;
/// How long these may take, in microseconds.
const LAST_US_MAX: u64 = 60_000_000;
/// At rest every PoP has been vouched for within so many milliseconds: a few reports, whatever the lease is.
const VOUCHED_MS_MAX: u64 = 3_000;
/// How often it is looked whether they are over, in microseconds.
const LAST_STEP_US: u64 = 500_000;

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// What it was like.
    pub scenario: Scenario,
    /// What its clients saw.
    pub history: Vec<Event>,
    /// The promises that were broken.
    pub violations: Vec<Violation>,
    /// What was measured.
    pub figures: Figures,
    /// Equal for equal runs.
    pub digest: u64,
}

struct World {
    ctx: Context,
    store: Store,
    cores: Vec<Core>,
    pops: Vec<Pop>,
    clients: Vec<Client>,
    numbers: Numbers,
}

/// Runs a scenario, with a part of the design left out or not.
///
/// # Errors
/// None that happens: names are made from constants.
pub fn run(
    scenario: Scenario,
    mutation: Option<Mutation>,
) -> Result<Outcome, brink_protocol::Error> {
    let mut world = World::new(scenario, mutation)?;
    let rules = Rules {
        bound_us: world.ctx.scenario.bound_us(),
    };
    world.live();
    world.rest();
    world.read_all();
    world.end();
    let World { ctx, .. } = world;
    let mut violations = check(&ctx.history, rules);
    if ctx.figures.neither > 0 {
        violations.push(Violation {
            promise: Promise::P2,
            message: format!(
                "{} PoPs called entries fresh longer than the lease after a purge that they had not applied",
                ctx.figures.neither
            ),
            events: Vec::new(),
        });
    }
    if ctx.figures.silent_at_rest > 0 {
        violations.push(Violation {
            promise: Promise::P3,
            message: format!(
                "nobody has vouched for {} PoPs for {VOUCHED_MS_MAX} ms, though everything has come to rest",
                ctx.figures.silent_at_rest
            ),
            events: Vec::new(),
        });
    }
    Ok(Outcome {
        digest: digest(&ctx.history),
        scenario: ctx.scenario,
        history: ctx.history,
        violations,
        figures: ctx.figures,
    })
}

fn network(scenario: &Scenario) -> Network {
    let delays = CITIES
        .map(|a| CITIES.map(|b| delay_us(a, b)).to_vec())
        .to_vec();
    let cores = (0..scenario.cores).map(|core| scenario.core_place(core));
    let pops = (0..scenario.pops).map(|pop| scenario.pop_place(pop));
    let places = std::iter::once(0).chain(cores).chain(pops).collect();
    Network::new(delays, places, scenario.loss)
}

impl World {
    fn new(scenario: Scenario, mutation: Option<Mutation>) -> Result<Self, brink_protocol::Error> {
        let network = network(&scenario);
        let mut ctx = Context::new(scenario, mutation, Names::new()?, network);
        let mut cores = Vec::new();
        for core in 0..ctx.scenario.cores {
            let clock = Clock::new(&mut ctx.random);
            cores.push(Core::new(core, format!("core-{core}").parse()?, clock));
        }
        let mut pops = Vec::new();
        let mut names = Vec::new();
        for pop in 0..ctx.scenario.pops {
            let clock = Clock::new(&mut ctx.random);
            pops.push(Pop::new(pop, clock, &mut ctx));
            let city = CITIES
                .get(ctx.scenario.pop_place(pop))
                .map_or("?", |city| city.0);
            names.push(format!("{city}-{pop}"));
        }
        ctx.saw(Event::Pops { names });
        let clients = (0..ctx.scenario.clients).map(Client::new).collect();
        Ok(Self {
            ctx,
            store: Store::default(),
            cores,
            pops,
            clients,
            numbers: Numbers::default(),
        })
    }

    fn start_all(&mut self) {
        for core in &mut self.cores {
            core.start(&mut self.ctx);
        }
        for pop in &mut self.pops {
            pop.start(&mut self.ctx);
        }
    }

    fn run_until(&mut self, until_us: u64) {
        while let Some(next) = self.ctx.next(until_us) {
            self.step(next);
        }
        self.ctx.now_us = until_us;
    }

    /// Clients act, and things go wrong.
    fn live(&mut self) {
        self.start_all();
        for client in 0..self.clients.len() {
            let delay_us = self.ctx.random.between(0, 1_000_000);
            self.ctx.after(delay_us, Next::Act { client });
        }
        if self.ctx.scenario.fault_us > 0 {
            self.ctx.after(1_500_000, Next::Fault);
        }
        self.run_until(self.ctx.scenario.active_us);
    }

    /// Everything that is cut heals, and everything that is down begins again.
    fn rest(&mut self) {
        self.ctx.network.heal();
        self.ctx.scenario.fault_us = 0;
        self.ctx.scenario.crash_at_write = 0.0;
        self.ctx.scenario.drop_frame = 0.0;
        self.start_all();
        self.run_until(self.ctx.scenario.active_us + self.ctx.scenario.rest_us);
        let is_silent = |pop: &&Pop| !pop.is_vouched_for(&self.ctx, VOUCHED_MS_MAX);
        self.ctx.figures.silent_at_rest = self.pops.iter().filter(is_silent).count() as u64;
        self.ctx.saw(Event::Quiesced {
            at_us: self.ctx.now_us,
        });
    }

    /// Every PoP is asked for pages: for all of them where there are few.
    fn read_all(&mut self) {
        let (pops, pages) = (self.pops.len(), self.ctx.pages.len());
        let each = (LAST_READS_MAX / pops.max(1)).min(pages);
        for pop in 0..pops {
            let first = if each < pages {
                self.ctx.random.below(pages)
            } else {
                0
            };
            let plan = (0..each).map(|n| (pop, (first + n) % pages)).collect();
            let client = self.clients.len();
            self.clients.push(Client::reader(client, plan));
            self.ctx.after(0, Next::Act { client });
        }
        let until_us = self.ctx.now_us + LAST_US_MAX;
        while !self.clients.iter().all(Client::is_done) && self.ctx.now_us < until_us {
            self.run_until(self.ctx.now_us + LAST_STEP_US);
        }
    }

    fn end(&mut self) {
        for key in 0..self.ctx.scenario.keys {
            let record = self.store.record(key);
            self.ctx.saw(Event::Final {
                key,
                value: record.map(|(value, _)| value),
                version: Some(record.map_or(0, |(_, version)| version)),
            });
        }
    }

    fn step(&mut self, next: Next) {
        match next {
            Next::Deliver { from, to, message } => self.deliver(from, to, message),
            Next::Tick { node, run } => self.tick(node, run),
            Next::Late { pop, run, id } => {
                if let Some(pop) = self.pops.get_mut(pop).filter(|pop| pop.run() == run) {
                    pop.late(&mut self.ctx, id);
                }
            }
            Next::Overdue { pop, run } => {
                if let Some(pop) = self.pops.get_mut(pop).filter(|pop| pop.run() == run) {
                    pop.answer_sought(&mut self.ctx);
                }
            }
            Next::Act { client } => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.act(&mut self.ctx, &mut self.numbers, &mut self.store);
                }
            }
            Next::Arrive { client, pop } => self.arrive(client, pop),
            Next::Reply { client, reply } => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.hear(&mut self.ctx, reply);
                }
            }
            Next::Fault => {
                if self.ctx.scenario.fault_us > 0 {
                    faults::strike(&mut self.ctx, &mut self.cores, &mut self.pops);
                }
            }
            Next::Crash { node } => {
                if let Node::Core(core) = node
                    && let Some(core) = self.cores.get_mut(core)
                {
                    faults::crash_core(&mut self.ctx, core);
                }
            }
            Next::Restart { node } => match node {
                Node::Core(core) => {
                    if let Some(core) = self.cores.get_mut(core) {
                        core.start(&mut self.ctx);
                    }
                }
                Node::Pop(pop) => {
                    if let Some(pop) = self.pops.get_mut(pop) {
                        pop.start(&mut self.ctx);
                    }
                }
                Node::Store => {}
            },
            Next::Audit { purge } => self.audit(purge),
        }
    }

    fn deliver(&mut self, from: Node, to: Node, message: crate::messages::Message) {
        match to {
            Node::Store => {
                if let Node::Core(core) = from
                    && let Some(name) = self.cores.get(core).map(Core::name)
                {
                    self.store.on(&mut self.ctx, core, name, message);
                }
            }
            Node::Core(core) => {
                if let Some(core) = self.cores.get_mut(core) {
                    core.on(&mut self.ctx, from, message);
                }
            }
            Node::Pop(pop) => {
                if let Some(pop) = self.pops.get_mut(pop).filter(|pop| pop.is_up()) {
                    pop.on(&mut self.ctx, from, message);
                }
            }
        }
    }

    fn tick(&mut self, node: Node, run: u32) {
        match node {
            Node::Core(core) => {
                if let Some(core) = self.cores.get_mut(core).filter(|core| core.run() == run) {
                    core.tick(&mut self.ctx);
                }
            }
            Node::Pop(pop) => {
                if let Some(pop) = self.pops.get_mut(pop).filter(|pop| pop.run() == run) {
                    pop.tick(&mut self.ctx);
                }
            }
            Node::Store => {}
        }
    }

    fn arrive(&mut self, client: usize, pop: usize) {
        let Some(op) = self.clients.get(client).and_then(Client::op).cloned() else {
            return;
        };
        if let Some(pop) = self.pops.get_mut(pop) {
            pop.serve(&mut self.ctx, client, &op);
        }
    }

    /// A lease after a purge was acknowledged, each PoP has applied it or calls nothing fresh.
    fn audit(&mut self, purge: u64) {
        let Some(on_its_way) = self.ctx.figures.under_way.get(&purge) else {
            return;
        };
        let place = on_its_way.place.clone();
        for pop in &self.pops {
            let figures = &self.ctx.figures;
            let is_applied = pop.position().get(&place.origin) >= place.sequence
                || figures.done.contains(&(purge, pop.index()));
            let is_fresh = pop.is_up() && pop.is_fresh(&self.ctx);
            let figures = &mut self.ctx.figures;
            match (is_applied, is_fresh) {
                (true, _) => figures.applied += 1,
                (false, false) => figures.quarantined += 1,
                (false, true) => figures.neither += 1,
            }
        }
    }
}
