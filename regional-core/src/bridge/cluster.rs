//! Connections to a Kafka cluster, and the time that each request may take.

use crate::{Error, config::KafkaConfig};
use metrics::Gauge;
use rskafka::{
    BackoffConfig,
    client::{
        Client, ClientBuilder, SaslConfig,
        partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling},
    },
    record::{Record, RecordAndOffset},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio_rustls::rustls::ClientConfig;

/// How long a request may take with its retries; beyond it the connection is made anew.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// How long retries within a request go on.
const RETRIES_MAX: Duration = Duration::from_secs(10);
/// Longest answer of a broker, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Most bytes of one reading, as they are in the topic; a batch of messages that is larger comes alone.
pub(super) const READ_BYTES_MAX: i32 = 1 << 20;
/// A reading of so many bytes has one batch: the header of a batch alone is almost as long.
pub(super) const READ_BYTES_MIN: i32 = 64;
/// What the client says when it meets the mark of a transaction's end. It takes the record that it is for the mark itself, and
/// so the record's length for a version that it does not know.
const MARK: &str = "Unknown control batch record version";
/// What it says, besides, when it cannot read what it was sent.
const UNREADABLE: &str = "Malformed data";
/// How long a broker waits for new messages, in milliseconds.
const READ_WAIT_MS: i32 = 500;

/// Where the cluster is and who the core is to it.
pub(super) struct Cluster {
    brokers: Vec<String>,
    tls: Option<Arc<ClientConfig>>,
    login: Option<SaslConfig>,
}

impl Cluster {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, Error> {
        Ok(Self {
            brokers: config.brokers.clone(),
            tls: config.tls()?,
            login: config.login()?,
        })
    }

    /// Connects, and finds the partitions of a topic.
    pub(super) async fn topic(&self, name: &str) -> Result<Topic, Error> {
        const WHAT: &str = "finding a topic";
        let retries = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
            deadline: Some(RETRIES_MAX),
        };
        let mut builder = ClientBuilder::new(self.brokers.clone())
            .client_id("brink-core")
            .max_message_size(ANSWER_BYTES_MAX)
            .backoff_config(retries);
        if let Some(tls) = &self.tls {
            builder = builder.tls_config(Arc::clone(tls));
        }
        if let Some(login) = &self.login {
            builder = builder.sasl_config(login.clone());
        }
        let client = in_time(WHAT, builder.build()).await?;
        let topics = in_time(WHAT, client.list_topics()).await?;
        let found = topics.into_iter().find(|topic| topic.name == name);
        let found = found.ok_or_else(|| Error::kafka(WHAT, format!("there is no topic {name}")))?;
        Ok(Topic {
            client,
            name: found.name,
            partitions: found.partitions.into_iter().collect(),
        })
    }
}

/// A topic of a cluster that was reached.
pub(super) struct Topic {
    client: Client,
    name: String,
    /// Their numbers, ascending.
    pub(super) partitions: Vec<i32>,
}

impl Topic {
    /// A connection to one of its partitions.
    pub(super) async fn partition(&self, number: i32) -> Result<Partition, Error> {
        let connecting =
            self.client
                .partition_client(&self.name, number, UnknownTopicHandling::Error);
        Ok(Partition(
            in_time("connecting to a partition", connecting).await?,
        ))
    }
}

/// What a reading found.
pub(super) enum Found {
    /// Messages; none: there are none yet.
    Messages(Vec<RecordAndOffset>),
    /// The mark of a transaction's end is among it, and so the client can read nothing of it.
    Mark,
    /// Something else is among it that the client cannot read: what it says of that.
    Unreadable(String),
}

/// A connection to a partition of a topic. After an error it is thrown away.
pub(super) struct Partition(PartitionClient);

impl Partition {
    /// Appends messages, in order; they are with all in-sync replicas when this answers. After an error they may be there,
    /// and may still come.
    pub(super) async fn append(&self, messages: Vec<Record>) -> Result<(), Error> {
        let appending = self.0.produce(messages, Compression::NoCompression);
        in_time("appending to a topic", appending).await?;
        Ok(())
    }

    /// Messages from an offset on: at most so many bytes, but one batch of them in any case.
    pub(super) async fn read(&self, offset: i64, bytes: i32) -> Result<Found, Error> {
        let reading = self
            .0
            .fetch_records(offset, 1..bytes.saturating_add(1), READ_WAIT_MS);
        match in_time("reading a topic", reading).await {
            Ok((messages, _)) => Ok(Found::Messages(messages)),
            Err(Error::Kafka { reason, .. }) if reason.contains(MARK) => Ok(Found::Mark),
            Err(Error::Kafka { reason, .. }) if reason.contains(UNREADABLE) => {
                Ok(Found::Unreadable(reason))
            }
            Err(error) => Err(error),
        }
    }

    /// The offset of the first message that is kept.
    pub(super) async fn oldest(&self) -> Result<i64, Error> {
        in_time("reading a topic", self.0.get_offset(OffsetAt::Earliest)).await
    }

    /// The offset behind the last message.
    pub(super) async fn end(&self) -> Result<i64, Error> {
        in_time("reading a topic", self.0.get_offset(OffsetAt::Latest)).await
    }
}

/// A connection in a figure, as long as it lives.
pub(super) struct Connected(Gauge);

impl Connected {
    pub(super) fn count(gauge: &Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// A broker that stands still keeps its connections and answers nothing: the client itself would wait for good.
async fn in_time<T, E: std::fmt::Display>(
    what: &'static str,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_MAX, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::kafka(what, error)),
        Err(_) => Err(Error::kafka(what, "no answer in time")),
    }
}
