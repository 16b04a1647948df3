//! Two cores over one engine: each loss that a client must not notice, and none of which takes what was acknowledged.

use crate::{
    clients::{Answer, Curl},
    harness::{binaries, guest, launcher, order, records, turn, until},
    relay::Relay,
};
use brink_engines::{Cluster, DATA_CENTRE, Durability, Options};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::{
    curl::Control,
    platform::{Core, CorePorts, Pop, PopPorts, Site, free_ports},
    samples,
};

/// Folders of the cores' data, and the nodes' names.
const CORES: [(&str, &str); 2] = [("core", "core-1"), ("core-2", "core-2")];
const POP: &str = "ams";
const AVAILABILITY: &str = "/inventory/availability/A-1?warehouse=AMS1";
/// On hand at the beginning: more than any test orders.
const STOCK: u64 = 1_000_000;
/// Orders that go before, and after, what happens to a core or node.
const BEFORE: usize = 15;
const AFTER: usize = 40;

/// An engine, two cores and a PoP that knows both.
struct Site2 {
    // In the order in which they end.
    pop: Option<Pop>,
    cores: [Option<Core>; 2],
    cluster: Option<Cluster>,
    /// Between each core and the engine, where that is one node.
    relays: Vec<Relay>,
    ports: [CorePorts; 2],
    pop_ports: PopPorts,
    control: Control,
    site: Site,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// Ids and tokens of orders, and when they were acknowledged.
    orders: Mutex<Vec<(String, String, Instant)>>,
    reads: AtomicUsize,
    /// What was answered otherwise than it must be.
    failures: Mutex<Vec<String>>,
}

impl Seen {
    fn count(&self) -> usize {
        self.orders.lock().unwrap().len()
    }

    /// Longest time without an acknowledged order since shortly before `when`.
    fn longest_gap(&self, when: Instant) -> Duration {
        let orders = self.orders.lock().unwrap();
        let times: Vec<Instant> = orders.iter().map(|(_, _, at)| *at).collect();
        let later = |pair: &&[Instant]| pair[1] >= when;
        let gaps = times.windows(2).filter(later);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    #[track_caller]
    fn check(&self, what: &str, since: Instant) {
        let failures = self.failures.lock().unwrap();
        println!(
            "{what}: {} orders and {} reads so far, {} failed; the longest pause between orders was {} ms",
            self.count(),
            self.reads.load(Ordering::Relaxed),
            failures.len(),
            self.longest_gap(since).as_millis(),
        );
        assert!(failures.is_empty(), "{what}: {failures:#?}");
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Site2 {
    fn start(nodes: u8) -> Self {
        let turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let site = Site {
            binaries: binaries(),
            launcher: launcher(),
            data: folder.path().to_owned(),
        };
        site.prepare().unwrap();
        let options = Options {
            durability: if nodes == 1 {
                Durability::EachWrite
            } else {
                Durability::Periodic
            },
            ..Options::default()
        };
        let cluster = Cluster::start(&[(DATA_CENTRE, usize::from(nodes))], &options).unwrap();
        let ports = [(); 2].map(|()| {
            let [control, link, admin] = free_ports().unwrap();
            CorePorts {
                control,
                link,
                admin,
            }
        });
        let mut relays = Vec::new();
        for (name, node) in CORES {
            let mut points = cluster.contact_points();
            if let [point] = &mut points[..] {
                let relay = Relay::start(*point);
                *point = relay.address;
                relays.push(relay);
            }
            let file = folder.path().join(format!("{name}.toml"));
            fs::write(file, config(&points, node)).unwrap();
        }
        // Makes the authority of both, too.
        site.issue_core(CORES[1].1).unwrap();
        let first = site.start_core_named(CORES[0].0, ports[0]).unwrap();
        let second = site.start_core_named(CORES[1].0, ports[1]).unwrap();
        site.issue(POP).unwrap();
        let control = site.control(&first).unwrap();
        let mut all = Self {
            pop: None,
            cores: [Some(first), Some(second)],
            cluster: Some(cluster),
            relays,
            ports,
            pop_ports: PopPorts::default(),
            control,
            site,
            _folder: folder,
            _turn: turn,
        };
        all.start_pop();
        all.deploy();
        all
    }

    fn start_pop(&mut self) {
        let links = self
            .ports
            .map(|ports| loopback(ports.link).parse().unwrap());
        let pop = self.site.launch_pop(POP, &links, self.pop_ports).unwrap();
        let pop = pop.wait().unwrap();
        self.pop_ports = pop.ports();
        self.pop = Some(pop);
    }

    fn start_core(&mut self, core: usize) {
        let started = self.site.start_core_named(CORES[core].0, self.ports[core]);
        self.cores[core] = Some(started.unwrap());
    }

    fn kill_core(&mut self, core: usize) {
        self.cores[core].take().unwrap().running.kill();
    }

    fn deploy(&self) {
        for (name, options) in [
            ("inventory", &[][..]),
            ("place-order", &["--grant", "clock"]),
            ("orders", &["--grant", "clock", "--grant", "random"]),
        ] {
            let component = guest(name);
            let publish = ["publish", component.to_str().unwrap(), "--name", name];
            samples::brink(&self.site, &self.control, &publish).unwrap();
            let deploy = [&["deploy", name, "--wait"], options].concat();
            samples::brink(&self.site, &self.control, &deploy).unwrap();
        }
        let mut lines = String::new();
        for mut record in records() {
            if let Some(on_hand) = record["value"].get_mut("on_hand") {
                *on_hand = STOCK.into();
            }
            lines += &format!("{record}\n");
        }
        let import = "/v1/records/import";
        let import = self
            .control
            .post(import, "application/x-ndjson", lines.as_bytes());
        import.unwrap();
        for path in [AVAILABILITY, "/orders/C1"] {
            until("the PoP to serve it", || {
                (self.curl(path).send().status == 200).then_some(())
            });
        }
    }

    fn curl(&self, path: &str) -> Curl {
        let url = format!("{}{path}", self.pop.as_ref().unwrap().url());
        Curl::new(&url, Some(&self.control.ca))
    }

    fn admin(&self, path: &str) -> Value {
        let pop = self.pop.as_ref().unwrap();
        let answer = Curl::new(&format!("http://{}{path}", pop.admin), None).send();
        answer.expect(200).json()
    }

    /// Which core the PoP uses, as soon as it has both.
    fn used(&self) -> usize {
        until("the PoP to have both cores", || {
            let cores = self.admin("/cores");
            let cores = cores.as_array().unwrap();
            let is_usable = |core: &Value| core["standing"] == "usable";
            let used = cores.iter().position(|core| core["used"] == true);
            used.filter(|_| cores.iter().all(is_usable))
        })
    }

    /// What a core knows of the PoP.
    fn known(&self, core: usize) -> Value {
        let mut control = self.control.clone();
        control.url = format!("https://localhost:{}", self.ports[core].control);
        let pops = control.get("/v1/pops").unwrap();
        pops[0].clone()
    }

    fn place(&self, seen: &Seen, writer: usize, number: usize) {
        let key = format!("idempotency-key: {writer}-{number}");
        let sku = ["A-1", "B-2"][writer % 2];
        let sent = Instant::now();
        let asked = self.curl("/orders").header(&key).json(&order(sku, 1));
        match asked.try_send() {
            Ok(answer) if answer.status == 201 => {
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                let token = answer.header("brink-session").to_owned();
                let mut orders = seen.orders.lock().unwrap();
                orders.push((id, token, Instant::now()));
            }
            other => seen.failed("an order", sent, &other),
        }
    }

    fn look(&self, seen: &Seen) {
        let last = seen.orders.lock().unwrap().last().cloned();
        let path = match &last {
            Some((id, _, _)) => format!("/orders/C1/{id}"),
            None => AVAILABILITY.to_owned(),
        };
        let mut curl = self.curl(&path);
        if let Some((_, token, _)) = &last {
            curl = curl.header(&format!("brink-session: {token}"));
        }
        let sent = Instant::now();
        match curl.try_send() {
            Ok(answer) if answer.status == 200 => {
                seen.reads.fetch_add(1, Ordering::Relaxed);
            }
            other => seen.failed("a read", sent, &other),
        }
    }

    /// Orders and reads go on while `happen` is done; answers when it was.
    fn under_load(&self, seen: &Seen, happen: impl FnOnce()) -> Instant {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..2 {
                let stop = &stop;
                let first = seen.count();
                scope.spawn(move || {
                    let mut numbers = first..;
                    while !stop.load(Ordering::Relaxed) {
                        self.place(seen, writer, numbers.next().unwrap());
                    }
                });
            }
            let reader = &stop;
            scope.spawn(move || {
                while !reader.load(Ordering::Relaxed) {
                    self.look(seen);
                }
            });
            let start = seen.count();
            let enough = |goal: usize| {
                let is_over = seen.count() >= goal || !seen.failures.lock().unwrap().is_empty();
                is_over.then_some(())
            };
            until("orders", || enough(start + BEFORE));
            let when = Instant::now();
            happen();
            let then = seen.count();
            until("orders after it", || enough(then + AFTER));
            stop.store(true, Ordering::Relaxed);
            when
        })
    }

    /// Every order that was acknowledged is there.
    #[track_caller]
    fn check_orders(&self, seen: &Seen) {
        let orders = seen.orders.lock().unwrap();
        for (id, _, _) in orders.iter() {
            self.curl(&format!("/orders/C1/{id}")).send().expect(200);
        }
        // Whoever was not told may have got it all the same, and nothing is counted twice.
        let stock = |sku| {
            let path = format!("/inventory/availability/{sku}?warehouse=AMS1");
            let answer = self.curl(&path).header("cache-control: no-cache").send();
            answer.expect(200).json()["available"].as_u64().unwrap()
        };
        let taken = 2 * STOCK - stock("A-1") - stock("B-2");
        assert_eq!(taken, orders.len() as u64, "orders were acknowledged");
    }
}

impl Seen {
    fn failed(&self, what: &str, sent: Instant, answer: &Result<Answer, String>) {
        let took = sent.elapsed().as_millis();
        let mut failures = self.failures.lock().unwrap();
        failures.push(format!("{what} after {took} ms: {answer:?}"));
    }
}

impl Drop for Site2 {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in [CORES[0].0, CORES[1].0, POP] {
                eprintln!("{}", xtask::step::tail(&self.site.log(name)));
            }
        }
    }
}

/// The cores find each other by the engine.
fn config(points: &[SocketAddr], node: &str) -> String {
    let nodes = points.len();
    let points: Vec<_> = points.iter().map(|point| format!("\"{point}\"")).collect();
    format!(
        "node = \"{node}\"\n[store]\nkind = \"cql\"\n[store.cql]\ncontact_points = [{}]\n\
         data_center = \"{DATA_CENTRE}\"\nreplication = {{ {DATA_CENTRE} = {nodes} }}\n",
        points.join(", "),
    )
}

/// How far a position is in each log.
fn logs(status: &Value) -> Vec<(String, u64)> {
    let position = status["position"].as_str().unwrap();
    let parts = position.split(',').filter_map(|part| part.split_once('='));
    parts
        .map(|(origin, sequence)| (origin.to_owned(), sequence.parse().unwrap()))
        .collect()
}

#[test]
fn no_client_notices_the_loss_of_a_core_and_nothing_acknowledged_is_lost() {
    let mut all = Site2::start(1);
    let seen = Seen::default();
    let used = all.used();
    let other = 1 - used;
    let before = all.admin("/status");

    let mut core = all.cores[used].take().unwrap();
    let when = all.under_load(&seen, || core.running.kill());
    seen.check("kill -9 of the core in use", when);
    drop(core);
    let cores = all.admin("/cores");
    assert_eq!(cores[other]["used"], true, "{cores}");
    // The feed goes on where it was, for what is stored holds: nothing was dropped.
    let after = all.admin("/status");
    for (origin, sequence) in logs(&before) {
        let now = logs(&after);
        let now = now.iter().find(|(name, _)| *name == origin);
        assert!(
            now.is_some_and(|(_, now)| *now >= sequence),
            "{before} {after}"
        );
    }
    let known = until("the PoP's report", || {
        Some(all.known(other)).filter(|pop| pop["connected"] == true)
    });
    assert_eq!(known["figures"]["feed_resets"], 0, "{known}");
    assert_eq!(all.admin("/status")["lease"]["holds"], true);
    // A token of the core that is gone holds at the one that is left.
    let (id, token, _) = seen.orders.lock().unwrap()[0].clone();
    let read = all.curl(&format!("/orders/C1/{id}"));
    read.header(&format!("brink-session: {token}"))
        .send()
        .expect(200);

    all.start_core(used);
    let used = all.used();
    let frozen = all.cores[used].take().unwrap();
    let when = all.under_load(&seen, || frozen.running.signal(Signal::STOP));
    seen.check("SIGSTOP of the core in use", when);
    frozen.running.signal(Signal::CONT);
    all.cores[used] = Some(frozen);
    all.check_orders(&seen);

    // Everything but the engine.
    for core in 0..2 {
        all.kill_core(core);
    }
    all.pop.take().unwrap().running.kill();
    for core in 0..2 {
        all.start_core(core);
    }
    all.start_pop();
    all.used();
    all.check_orders(&seen);
}

#[test]
fn no_client_notices_the_loss_of_one_of_three_nodes() {
    let mut all = Site2::start(3);
    let seen = Seen::default();
    all.used();
    // Shared by the threads of the load, and killed by this one.
    let mut cluster = all.cluster.take().unwrap();
    let when = all.under_load(&seen, || cluster.kill(1));
    seen.check("kill -9 of one of three nodes", when);
    all.check_orders(&seen);
    all.cluster = Some(cluster);
}

#[test]
fn no_client_notices_that_a_core_has_lost_its_engine() {
    let all = Site2::start(1);
    let seen = Seen::default();
    let used = all.used();
    let when = all.under_load(&seen, || all.relays[used].cut());
    seen.check("the core in use cut off from its engine", when);
    let cores = all.admin("/cores");
    assert_eq!(cores[1 - used]["used"], true, "{cores}");
    assert_ne!(cores[used]["standing"], "usable", "{cores}");
    all.check_orders(&seen);
}
