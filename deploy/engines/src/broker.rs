//! A Kafka broker: one process that is its own controller (KRaft).

use crate::{
    Error,
    child::{Bound, Signal},
    fetch::{kafka, require},
    network::Network,
    node::{AUTHORITY, PASSWORD, USER, certificate},
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Where the broker takes clients.
pub const KAFKA_PORT: u16 = 9092;

const CONTROLLER_PORT: u16 = 9093;
/// Any 16 bytes in base64.
const CLUSTER_ID: &str = "YnJpbmstYnJpbmstYnJpbg";
const STARTED: &str = "Kafka Server started";
const DEADLINE: Duration = Duration::from_secs(90);
/// A program of Kafka's own client.
const IN_TRANSACTIONS: &str = include_str!("InTransactions.java");
const POLL: Duration = Duration::from_millis(50);
/// How much of a log's end an error shows, in bytes.
const TAIL_BYTES: u64 = 4 << 10;
const LOG4J: &str = "status = error\n\
    appender.out.type = Console\n\
    appender.out.name = out\n\
    appender.out.layout.type = PatternLayout\n\
    appender.out.layout.pattern = %-5p %d %c{1} %m%n\n\
    rootLogger.level = info\n\
    rootLogger.appenderRef.out.ref = out\n";

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Java heap, in MiB.
    pub heap_mib: u32,
    /// Partitions of topics that are made by being named.
    pub partitions: u16,
    /// Whether clients must log in (SASL PLAIN or SCRAM-SHA-512), as [`USER`] with [`PASSWORD`].
    pub authentication: bool,
    /// Only TLS for clients; [`Broker::authority`] is whom to trust.
    pub tls: bool,
    /// Lines added to its `server.properties`.
    pub settings: Vec<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            heap_mib: 256,
            partitions: 4,
            authentication: false,
            tls: false,
            settings: Vec::new(),
        }
    }
}

/// A broker. Dropped: it is killed, and its data is removed.
#[derive(Debug)]
pub struct Broker {
    address: Ipv4Addr,
    home: PathBuf,
    command: Command,
    running: Option<Bound>,
    /// Where in its log this start begins.
    log_begins: u64,
    // Given back when the broker is gone.
    _network: Network,
}

impl Broker {
    /// Starts one and waits until it takes clients. What it has acknowledged outlives a kill of it.
    ///
    /// # Errors
    /// The broker is not there and cannot be fetched, or does not start.
    pub fn start(options: &BrokerOptions) -> Result<Self, Error> {
        let jars = kafka()?;
        require("java", "openjdk-17-jre-headless")?;
        let network = Network::take()?;
        let address = network.address(1);
        let home = network.folder().join("kafka");
        for folder in [home.join("conf"), home.join("data")] {
            fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        }
        let write = |name: &str, text: &str| {
            let path = home.join("conf").join(name);
            fs::write(&path, text).map_err(Error::file(&path))
        };
        write("log4j2.properties", LOG4J)?;
        write("server.properties", &properties(address, &home, options))?;
        if options.tls {
            let (certificate, key) = certificate(address)?;
            write(AUTHORITY, &certificate)?;
            write("tls.pem", &format!("{key}\n{certificate}"))?;
        }
        let mut command = java(&home, &jars, options);
        command.arg("kafka.Kafka").arg(settings(&home));
        let mut broker = Self {
            command,
            address,
            home,
            running: None,
            log_begins: 0,
            _network: network,
        };
        broker.format(&jars, options)?;
        broker.restart()?;
        Ok(broker)
    }

    /// Makes its data folder one that it starts on.
    fn format(&self, jars: &Path, options: &BrokerOptions) -> Result<(), Error> {
        let mut command = java(&self.home, jars, options);
        command
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(settings(&self.home));
        if options.authentication {
            let user = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
            command.args(["--add-scram", &user]);
        }
        let output = command.output().map_err(Error::file("java"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(self.fault(format!(
            "its data folder was not made: {}",
            String::from_utf8_lossy(&said).trim()
        )))
    }

    /// Where it takes clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.address, KAFKA_PORT))
    }

    /// PEM file of whom clients are to trust, if it takes TLS only.
    #[must_use]
    pub fn authority(&self) -> Option<PathBuf> {
        let file = self.home.join("conf").join(AUTHORITY);
        file.exists().then_some(file)
    }

    /// Appends the messages `{"n": 1}` to `{"n": COUNT}` under a key, each in a transaction of its own, with Kafka's client.
    ///
    /// # Errors
    /// There is no Java compiler, or the broker did not take them.
    pub fn append_in_transactions(&self, topic: &str, key: &str, count: u32) -> Result<(), Error> {
        require("javac", "openjdk-17-jdk-headless")?;
        let source = self.home.join("InTransactions.java");
        fs::write(&source, IN_TRANSACTIONS).map_err(Error::file(&source))?;
        let output = java(&self.home, &kafka()?, &BrokerOptions::default())
            .arg(&source)
            .args([&self.address().to_string(), topic, key, &count.to_string()])
            .output()
            .map_err(Error::file("java"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(self.fault(format!(
            "it took no transactions: {}",
            String::from_utf8_lossy(&said).trim()
        )))
    }

    /// Kills it at once, as a power failure would. Nothing happens if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts it on its data, after a kill if it runs, and waits until it takes clients.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        let path = self.log();
        let opened = File::options().create(true).append(true).open(&path);
        let log = opened.map_err(Error::file(&path))?;
        self.log_begins = log.metadata().map_err(Error::file(&path))?.len();
        let data = self.home.join("data");
        let child = Bound::start(&self.command, log, Some(&data));
        self.running = Some(child.map_err(Error::file("java"))?);
        self.wait(Instant::now() + DEADLINE)
    }

    /// Makes it stand still: its connections stay, and nothing is answered. [`Broker::resume`] ends that.
    pub fn pause(&self) {
        self.signal(Signal::Stop);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::Continue);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }

    fn wait(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            let started = self.said(self.log_begins).contains(STARTED);
            if started && TcpStream::connect_timeout(&self.address(), POLL * 20).is_ok() {
                return Ok(());
            }
            match self.running.as_mut().map(Bound::ended) {
                Some(Ok(None)) => {}
                Some(Ok(Some(status))) => return Err(self.fault(format!("it ended ({status})"))),
                Some(Err(error)) => return Err(self.fault(error.to_string())),
                None => return Err(self.fault("it was not started".to_owned())),
            }
            if Instant::now() >= deadline {
                return Err(self.fault("it was not ready in time".to_owned()));
            }
            thread::sleep(POLL);
        }
    }

    fn log(&self) -> PathBuf {
        self.home.join("broker.log")
    }

    /// What it said from a place of its log on; nothing if that cannot be read.
    fn said(&self, begin: u64) -> String {
        let mut said = Vec::new();
        let read = File::open(self.log()).and_then(|mut file| {
            file.seek(SeekFrom::Start(begin))?;
            file.read_to_end(&mut said)
        });
        drop(read);
        String::from_utf8_lossy(&said).into_owned()
    }

    fn fault(&self, what: String) -> Error {
        let log = self.log();
        let length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let begin = length.saturating_sub(TAIL_BYTES).max(self.log_begins);
        Error::Node {
            address: self.address,
            what,
            tail: self.said(begin),
            log,
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(self.home.join("data"));
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

fn properties(address: Ipv4Addr, home: &Path, options: &BrokerOptions) -> String {
    let clients = match (options.authentication, options.tls) {
        (true, true) => "SASL_SSL",
        (true, false) => "SASL_PLAINTEXT",
        (false, true) => "SSL",
        (false, false) => "PLAINTEXT",
    };
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@{address}:{CONTROLLER_PORT}\n\
         listeners=CLIENTS://{address}:{KAFKA_PORT},CONTROLLER://{address}:{CONTROLLER_PORT}\n\
         advertised.listeners=CLIENTS://{address}:{KAFKA_PORT}\n\
         inter.broker.listener.name=CLIENTS\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,CLIENTS:{clients}\n\
         log.dirs={}\n\
         num.partitions={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         num.network.threads=1\n\
         num.io.threads=2\n\
         log.cleaner.enable=false\n",
        home.join("data").display(),
        options.partitions,
    );
    if options.authentication {
        text.push_str(&format!(
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
             listener.name.clients.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             sasl.mechanism.inter.broker.protocol=PLAIN\n\
             listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
             required username=\"{USER}\" password=\"{PASSWORD}\" user_{USER}=\"{PASSWORD}\";\n"
        ));
    }
    if options.tls {
        let conf = home.join("conf");
        text.push_str(&format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n",
            conf.join("tls.pem").display(),
            conf.join(AUTHORITY).display(),
        ));
    }
    for line in &options.settings {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn settings(home: &Path) -> PathBuf {
    home.join("conf/server.properties")
}

/// Java with all that the broker's programs need; their names follow.
fn java(home: &Path, jars: &Path, options: &BrokerOptions) -> Command {
    let heap_mib = options.heap_mib;
    let log4j = home.join("conf/log4j2.properties");
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        .args(["-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-XX:+PerfDisableSharedMem")
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("-cp")
        .arg(format!("{}/*", jars.display()));
    command
}
