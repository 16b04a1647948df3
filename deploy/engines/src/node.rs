//! One node: its files, how it is started, and when it is ready.

use crate::{
    Error,
    child::{Bound, Signal},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Where nodes listen for CQL.
pub const CQL_PORT: u16 = 9042;
/// Who may do everything where [`Options::authentication`] is asked for.
pub const USER: &str = "cassandra";
/// The password of [`USER`].
pub const PASSWORD: &str = "cassandra";

const STORAGE_PORT: u16 = 7000;
const LISTENING: &str = "Starting listening for CQL clients";
/// Where a node's certificate is, below its `conf`.
pub(crate) const AUTHORITY: &str = "authority.pem";
/// What the log says when the first user can log in.
const USER_MADE: &str = "Created default superuser role";
const POLL: Duration = Duration::from_millis(50);
/// How long a node may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of a log's end an error shows, in bytes.
const TAIL_BYTES: u64 = 4 << 10;

/// Modules that the engine reaches into, exported and opened.
const EXPORTED: [&str; 15] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.management/com.sun.management.internal",
];
const OPENED: [&str; 8] = [
    "java.io",
    "java.lang",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
];
const LOGBACK: &str = r#"<configuration><appender name="S" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%-5level %date %F:%L %msg%n</pattern></encoder></appender><root level="INFO"><appender-ref ref="S"/></root></configuration>
"#;

/// When a node says that a write is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on disk: a killed node loses nothing that it has answered.
    #[default]
    EachWrite,
    /// As engines are mostly run: the disk is written every 10 s, and a write is safe because other nodes have it too.
    Periodic,
    /// As that, and the schema is not written to disk either, which makes changes of it quick: for nodes that are never
    /// restarted.
    Throwaway,
}

/// How the nodes of a cluster are started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Java heap of each node, in MiB; each takes about as much again beside it.
    pub heap_mib: u32,
    /// When a write is durable.
    pub durability: Durability,
    /// Whether clients must log in, as [`USER`] with [`PASSWORD`] at first.
    pub authentication: bool,
    /// Only TLS for clients, for clusters of one node; [`crate::Cluster::authority`] is whom to trust.
    pub tls: bool,
    /// Where the nodes' data lies and stays; otherwise it is temporary and goes with the cluster.
    pub data: Option<PathBuf>,
    /// Lines added to each node's `cassandra.yaml`.
    pub settings: Vec<String>,
    /// Where the nodes run, in their order; empty: on a network of the loopback that nobody else uses.
    pub sites: Vec<Site>,
    /// Lets the engine's compiler take its time: for runs of many minutes.
    pub is_long: bool,
}

/// Where a node runs: a network namespace that the caller has made.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its address there.
    pub address: Ipv4Addr,
    /// Words before a command line that make it run there.
    pub enter: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heap_mib: 384,
            durability: Durability::default(),
            authentication: false,
            tls: false,
            data: None,
            settings: Vec::new(),
            sites: Vec::new(),
            is_long: false,
        }
    }
}

/// A command that runs behind such words as [`Site::enter`]; without any, here.
pub fn command_in(enter: &[String], program: impl AsRef<OsStr>) -> Command {
    match enter.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// What a node is made of.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) address: Ipv4Addr,
    /// The node that others are found through.
    pub(crate) seed: Ipv4Addr,
    pub(crate) data_centre: String,
    pub(crate) rack: String,
    /// Words before its command line.
    pub(crate) enter: Vec<String>,
    /// Its folder.
    pub(crate) home: PathBuf,
}

/// A node that runs, or was killed.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    command: Command,
    /// Removed when we are gone.
    temporary: Option<PathBuf>,
    running: Option<Bound>,
    /// Where in its log this start begins.
    log_begins: u64,
    login: bool,
    /// Started before on the data that is there: it has its users already.
    again: bool,
}

impl Node {
    /// Writes its files; [`Node::start`] starts it.
    pub(crate) fn prepare(place: Place, jars: &Path, options: &Options) -> Result<Self, Error> {
        let home = &place.home;
        let data = match &options.data {
            Some(kept) => std::path::absolute(kept)
                .map_err(Error::file(kept))?
                .join(home.file_name().unwrap_or_default()),
            None => home.join("data"),
        };
        let again = data.join("commitlog").exists();
        for folder in [home.join("conf"), home.join("tmp"), data.clone()] {
            fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        }
        let conf = home.join("conf");
        let write = |name: &str, text: &str| {
            let path = conf.join(name);
            fs::write(&path, text).map_err(Error::file(&path))
        };
        write("cassandra.yaml", &yaml(&place, &data, options))?;
        let Place {
            data_centre, rack, ..
        } = &place;
        write(
            "cassandra-rackdc.properties",
            &format!("dc={data_centre}\nrack={rack}\n"),
        )?;
        write("logback.xml", LOGBACK)?;
        if options.tls {
            let (certificate, key) = certificate(place.address)?;
            write(AUTHORITY, &certificate)?;
            write("tls.pem", &format!("{key}\n{certificate}"))?;
        }
        let command = java(&place, &data, jars, options);
        let temporary = options.data.is_none().then_some(data);
        Ok(Self {
            place,
            command,
            temporary,
            running: None,
            log_begins: 0,
            login: options.authentication,
            again,
        })
    }

    /// Its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.place.home.join("node.log")
    }

    /// Starts it, if it does not run; [`Node::wait`] waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let path = self.log();
        let opened = File::options().create(true).append(true).open(&path);
        let log = opened.map_err(Error::file(&path))?;
        self.log_begins = log.metadata().map_err(Error::file(&path))?.len();
        let child = Bound::start(&self.command, log, self.temporary.as_deref());
        self.running = Some(child.map_err(Error::file("java"))?);
        Ok(())
    }

    /// Waits until it takes clients.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            let said = self.said()?;
            let has_users = !self.login || self.again || said.contains(USER_MADE);
            // It says so just before it listens.
            if said.contains(LISTENING) && has_users && self.takes_clients() {
                self.again = true;
                return Ok(());
            }
            let ended = self.running.as_mut().map(Bound::ended);
            match ended {
                Some(Ok(None)) => {}
                Some(Ok(Some(status))) => {
                    return Err(self.fault(format!("it ended ({status})")));
                }
                Some(Err(error)) => return Err(self.fault(error.to_string())),
                None => return Err(self.fault("it was not started".to_owned())),
            }
            if Instant::now() >= deadline {
                return Err(self.fault("it was not ready in time".to_owned()));
            }
            thread::sleep(POLL);
        }
    }

    fn takes_clients(&self) -> bool {
        TcpStream::connect_timeout(&self.cql(), PATIENCE).is_ok()
    }

    /// What it said since its last start.
    fn said(&self) -> Result<String, Error> {
        self.log_from(self.log_begins)
    }

    fn log_from(&self, begin: u64) -> Result<String, Error> {
        let path = self.log();
        let mut file = File::open(&path).map_err(Error::file(&path))?;
        file.seek(SeekFrom::Start(begin))
            .map_err(Error::file(&path))?;
        let mut said = Vec::new();
        file.read_to_end(&mut said).map_err(Error::file(&path))?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) fn fault(&self, what: String) -> Error {
        let log = self.log();
        let length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let begin = length.saturating_sub(TAIL_BYTES).max(self.log_begins);
        Error::Node {
            address: self.place.address,
            what,
            tail: self.log_from(begin).unwrap_or_default(),
            log,
        }
    }

    /// Where it takes clients.
    pub(crate) fn cql(&self) -> SocketAddr {
        SocketAddr::from((self.place.address, CQL_PORT))
    }

    pub(crate) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        let ended = self.running.as_mut().map(Bound::ended);
        matches!(ended, Some(Ok(Some(_)) | Err(_)))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }
}

/// A certificate that names an address, signed by itself, and its key: both PEM.
pub(crate) fn certificate(address: Ipv4Addr) -> Result<(String, String), Error> {
    let made = || {
        let key = rcgen::KeyPair::generate()?;
        let parameters = rcgen::CertificateParams::new(vec![address.to_string()])?;
        let certificate = parameters.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    made().map_err(|error| Error::Shape(format!("a certificate for {address}: {error}")))
}

fn yaml(place: &Place, data: &Path, options: &Options) -> String {
    let data = data.display();
    let Place { address, seed, .. } = place;
    let sync = match options.durability {
        Durability::EachWrite => "commitlog_sync: batch",
        Durability::Periodic | Durability::Throwaway => {
            "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms"
        }
    };
    let (authenticator, authorizer) = if options.authentication {
        ("PasswordAuthenticator", "CassandraAuthorizer")
    } else {
        ("AllowAllAuthenticator", "AllowAllAuthorizer")
    };
    let mut text = format!(
        "cluster_name: brink\n\
         num_tokens: 4\n\
         auto_bootstrap: false\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         {sync}\n\
         data_file_directories: ['{data}/data']\n\
         commitlog_directory: '{data}/commitlog'\n\
         saved_caches_directory: '{data}/saved_caches'\n\
         hints_directory: '{data}/hints'\n\
         cdc_raw_directory: '{data}/cdc'\n\
         seed_provider:\n\
         \x20 - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n\
         \x20   parameters: [{{seeds: '{seed}:{STORAGE_PORT}'}}]\n\
         listen_address: {address}\n\
         rpc_address: {address}\n\
         native_transport_port: {CQL_PORT}\n\
         storage_port: {STORAGE_PORT}\n\
         endpoint_snitch: GossipingPropertyFileSnitch\n\
         authenticator: {authenticator}\n\
         authorizer: {authorizer}\n\
         auto_snapshot: false\n\
         memtable_allocation_type: unslabbed_heap_buffers\n\
         file_cache_size: 32MiB\n"
    );
    if options.tls {
        let pem = place.home.join("conf/tls.pem");
        text.push_str(&format!(
            "client_encryption_options:\n\
             \x20 enabled: true\n\
             \x20 optional: false\n\
             \x20 ssl_context_factory:\n\
             \x20   class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n\
             \x20 keystore: '{}'\n",
            pem.display()
        ));
    }
    for line in &options.settings {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn java(place: &Place, data: &Path, jars: &Path, options: &Options) -> Command {
    let heap_mib = options.heap_mib;
    let home = &place.home;
    let quick_schema = options.durability == Durability::Throwaway;
    let conf = home.join("conf");
    let mut command = command_in(&place.enter, "java");
    if !options.is_long {
        command.arg("-XX:TieredStopAtLevel=1");
    }
    command
        .arg(format!("-Xms{heap_mib}m"))
        .arg(format!("-Xmx{heap_mib}m"))
        .args(["-Xss512k", "-XX:+UseSerialGC"])
        .args([
            "-XX:+PerfDisableSharedMem",
            "-Djdk.attach.allowAttachSelf=true",
        ]);
    for module in EXPORTED {
        command.arg(format!("--add-exports={module}=ALL-UNNAMED"));
        command.arg(format!("--add-opens={module}=ALL-UNNAMED"));
    }
    for package in OPENED {
        command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    let property = |name: &str, value: String| format!("-D{name}={value}");
    let file = |name: &str| conf.join(name).display().to_string();
    command
        .arg(property(
            "cassandra.config",
            format!("file://{}", file("cassandra.yaml")),
        ))
        .arg(property("cassandra.storagedir", data.display().to_string()))
        .arg(property("cassandra.logdir", home.display().to_string()))
        .arg(property("logback.configurationFile", file("logback.xml")))
        .arg(property(
            "java.io.tmpdir",
            home.join("tmp").display().to_string(),
        ))
        .args([
            &format!("-Dcassandra.unsafesystem={quick_schema}"),
            "-Dcassandra-foreground=yes",
            "-Dcassandra.jmx.local.port=0",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=1000",
            "-Dcassandra.superuser_setup_delay_ms=0",
        ])
        .arg("-cp")
        .arg(format!("{}:{}/*", conf.display(), jars.display()))
        .arg("org.apache.cassandra.service.CassandraDaemon");
    command
}
