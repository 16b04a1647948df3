//! A platform of its own for each test: a core and two PoPs in a temporary folder, on free ports, gone with the test.

use crate::clients::{Answer, Curl};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use xtask::{
    binaries::Binaries,
    curl::Control,
    guests,
    platform::{self, Core, CorePorts, Pop, PopPorts, Site},
    samples,
};

/// How long something that must happen may take. Far more than it takes: these are not measurements.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// One at a time: more platforms than one would only wait for each other on a small machine.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A core and two PoPs.
pub(crate) struct Stack {
    pub(crate) core: Option<Core>,
    pub(crate) pops: Vec<Pop>,
    pub(crate) control: Control,
    pub(crate) site: Site,
    _turn: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
}

impl Stack {
    /// With nothing deployed.
    pub(crate) fn empty() -> Self {
        let turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let site = Site {
            binaries: binaries(),
            launcher: launcher(),
            data: folder.path().to_owned(),
        };
        site.prepare().unwrap();
        let core = site.start_core(CorePorts::default()).unwrap();
        let starting: Vec<_> = ["ams", "sfo"]
            .map(|name| {
                site.issue(name).unwrap();
                site.launch_pop(name, &[core.link], PopPorts::default())
                    .unwrap()
            })
            .into();
        let pops = starting
            .into_iter()
            .map(|pop| pop.wait().unwrap())
            .collect();
        let control = site.control(&core).unwrap();
        Self {
            core: Some(core),
            pops,
            control,
            site,
            _turn: turn,
            folder,
        }
    }

    /// With these modules of `modules/` published and deployed.
    pub(crate) fn with(modules: &[(&str, &[&str])]) -> Self {
        let stack = Self::empty();
        for (name, options) in modules {
            stack.publish(name, &guest(name));
            stack.brink(&[&["deploy", name, "--wait"], *options].concat());
        }
        stack
    }

    /// With hello, inventory and orders, and a few records.
    pub(crate) fn shop() -> Self {
        let clock: &[&str] = &["--grant", "clock"];
        let both: &[&str] = &["--grant", "clock", "--grant", "random"];
        let modules = [
            ("hello", &[][..]),
            ("inventory", &[]),
            ("place-order", clock),
            ("orders", both),
        ];
        let stack = Self::with(&modules);
        stack.import(&records());
        stack
    }

    /// A folder of the test's own.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn ca(&self) -> &Path {
        &self.control.ca
    }

    /// `https://localhost:PORT/PATH` at the PoP with this number.
    pub(crate) fn url(&self, pop: usize, path: &str) -> String {
        format!("{}{path}", self.pops[pop].url())
    }

    /// A request by curl.
    pub(crate) fn curl(&self, pop: usize, path: &str) -> Curl {
        Curl::new(&self.url(pop, path), Some(self.ca()))
    }

    #[track_caller]
    pub(crate) fn get(&self, pop: usize, path: &str) -> Answer {
        self.curl(pop, path).send()
    }

    /// A request to the control API with the root token.
    pub(crate) fn ask(&self, path: &str) -> Curl {
        let url = format!("{}{path}", self.control.url);
        Curl::new(&url, Some(self.ca())).header(&format!("@{}", self.control.header_file.display()))
    }

    #[track_caller]
    pub(crate) fn brink(&self, arguments: &[&str]) -> String {
        samples::brink(&self.site, &self.control, arguments)
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    #[track_caller]
    pub(crate) fn publish(&self, name: &str, component: &Path) {
        self.brink(&["publish", component.to_str().unwrap(), "--name", name]);
    }

    #[track_caller]
    pub(crate) fn import(&self, lines: &[Value]) {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = self.control.post(
            "/v1/records/import",
            "application/x-ndjson",
            body.as_bytes(),
        );
        let answer: Value =
            serde_json::from_str(&answer.unwrap_or_else(|error| panic!("{error:#}"))).unwrap();
        assert_eq!(answer["imported"], lines.len(), "{answer}");
    }

    /// Purges and waits until every PoP has applied it.
    #[track_caller]
    pub(crate) fn purge(&self, body: &Value) -> Value {
        let purge = self.ask("/v1/purges").json(body).send().expect(202).json();
        let id = purge["id"].as_str().expect("an id").to_owned();
        let status = self
            .ask(&format!("/v1/purges/{id}?wait=all&timeout=20000"))
            .send()
            .expect(200)
            .json();
        assert_eq!(status["waiting"], json!([]), "{status}");
        status
    }

    /// Stops the core as a power failure would.
    pub(crate) fn kill_core(&mut self) -> CorePorts {
        let mut core = self.core.take().expect("a core");
        let ports = core.ports();
        core.running.kill();
        ports
    }

    /// Starts the core again where it was.
    pub(crate) fn start_core(&mut self, ports: CorePorts) {
        self.core = Some(self.site.start_core(ports).unwrap());
    }

    /// Stops a PoP as a power failure would.
    pub(crate) fn kill_pop(&mut self, pop: usize) -> (String, PopPorts) {
        let mut pop = self.pops.remove(pop);
        let ports = pop.ports();
        pop.running.kill();
        (pop.name.clone(), ports)
    }

    /// Starts a PoP again where it was.
    pub(crate) fn start_pop(&mut self, number: usize, name: &str, ports: PopPorts) {
        let link = self.core.as_ref().expect("a core").link;
        let pop = self
            .site
            .launch_pop(name, &[link], ports)
            .unwrap()
            .wait()
            .unwrap();
        self.pops.insert(number, pop);
    }

    /// Waits until the core sees every PoP connected and without a change to apply.
    #[track_caller]
    pub(crate) fn settled(&self) {
        until("every PoP follows the feed", || {
            let pops = self.control.get("/v1/pops").ok()?;
            let pops = pops.as_array()?;
            let follows = |pop: &Value| pop["connected"] == true && pop["lag_changes"] == 0;
            (pops.len() == self.pops.len() && pops.iter().all(follows)).then_some(())
        });
    }

    /// All that the programs wrote to their logs.
    pub(crate) fn logs(&self) -> String {
        let folder = self.site.data.join("logs");
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["core", "ams", "sfo"] {
                eprintln!("{}", xtask::step::tail(&self.site.log(name)));
            }
        }
    }
}

/// Looks again and again until it has happened.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    platform::wait_for(what, WITHIN, || Ok(look())).unwrap_or_else(|error| panic!("{error:#}"))
}

/// This tool.
pub(crate) fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_xtask"))
}

/// The platform's programs.
pub(crate) fn binaries() -> Binaries {
    Binaries::in_folder(launcher().parent().unwrap()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A component that was built from `modules/`.
#[track_caller]
pub(crate) fn guest(name: &str) -> PathBuf {
    let folder = std::env::var_os(guests::VARIABLE)
        .map_or_else(|| guests::folder(&xtask::repository_root()), PathBuf::from);
    guests::component(&folder, name)
        .unwrap_or_else(|error| panic!("{error:#}; `cargo xtask test` builds it"))
}

/// Two articles at two warehouses, and a customer.
pub(crate) fn records() -> Vec<Value> {
    let line = |collection: &str, partition: &str, sort: &str, value: Value| json!({"collection": collection, "partition": partition, "sort": sort, "value": value});
    let mut lines = vec![line(
        "customers",
        "C1",
        "profile",
        json!({"id": "C1", "name": "Ada", "warehouse": "AMS1"}),
    )];
    for code in ["AMS1", "SFO1"] {
        lines.push(line(
            "warehouses",
            "all",
            code,
            json!({"code": code, "name": code}),
        ));
        for sku in ["A-1", "B-2"] {
            let stock = json!({"sku": sku, "on_hand": 1_000, "reserved": 0, "price_minor": 250, "currency": "EUR"});
            lines.push(line("stock", code, &format!("sku/{sku}"), stock));
        }
    }
    for sku in ["A-1", "B-2"] {
        lines.push(line(
            "catalog",
            "items",
            sku,
            json!({"sku": sku, "name": "a shelf"}),
        ));
    }
    lines
}

/// The body of an order.
pub(crate) fn order(sku: &str, quantity: u64) -> Value {
    json!({"customer": "C1", "warehouse": "AMS1", "currency": "EUR", "lines": [{"sku": sku, "quantity": quantity}]})
}
