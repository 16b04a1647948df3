//! `[kafka]`: which streams of events go to topics of a Kafka cluster, and which topics become events.

use super::store::{is_address, password};
use crate::Error;
use brink_listener::client::ClientTls;
use brink_protocol::{
    TenantName,
    deployment::default_tenant,
    event::check_kind,
    record::{check_partition, is_platform},
};
use rskafka::client::{Credentials, SaslConfig};
use serde::Deserialize;
use std::{path::PathBuf, sync::Arc};
use tokio_rustls::rustls::ClientConfig;

/// Most `[[kafka.send]]`, and most `[[kafka.receive]]`.
const BRIDGES_MAX: usize = 64;
/// Longest name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;
/// Most brokers that are named.
const BROKERS_MAX: usize = 64;
/// Longest name of a bridge.
const NAME_BYTES_MAX: usize = 64;

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `HOST:PORT` of some brokers, at most 64; the others are found through them. Default: none, and no bridge.
    pub brokers: Vec<String>,
    /// PEM file of the authorities that sign the brokers' certificates. Default: without TLS.
    pub ca: Option<PathBuf>,
    /// PEM file of the core's own certificate chain, for brokers that ask for one. Goes with `key` and `ca`.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// Who the core is to the brokers (SASL). Goes with `password_file`. Default: the brokers ask for nobody.
    pub user: Option<String>,
    /// File that holds the password; white space at its end does not count.
    pub password_file: Option<PathBuf>,
    /// How the core logs in: `plain`, `scram-sha-256` or `scram-sha-512`. Default `plain`.
    pub login: Login,
    /// Collections whose events are sent: one `[[kafka.send]]` for each, at most 64.
    pub send: Vec<SendConfig>,
    /// Topics whose messages become events: one `[[kafka.receive]]` for each, at most 64.
    pub receive: Vec<ReceiveConfig>,
}

/// How the core logs in at brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// The password as it is: over TLS only, unless the network is one's own.
    #[default]
    Plain,
    /// RFC 7677.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// `[[kafka.send]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendConfig {
    /// The bridge's name, 1 to 64 of `a-z 0-9 _ -`: its places are kept under it. Another name begins anew.
    pub name: String,
    /// Whose events. Default `default`.
    #[serde(default = "default_tenant")]
    pub tenant: TenantName,
    /// The collection whose partitions have the streams.
    pub collection: String,
    /// Where they go. The topic is there already.
    pub topic: String,
}

/// `[[kafka.receive]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveConfig {
    /// The bridge's name, 1 to 64 of `a-z 0-9 _ -`: its places are kept under it. A topic that was made anew needs another.
    pub name: String,
    /// Whose events they become. Default `default`.
    #[serde(default = "default_tenant")]
    pub tenant: TenantName,
    /// Where they come from.
    pub topic: String,
    /// The collection to whose streams they are appended; a message's key is the partition.
    pub collection: String,
    /// The kind of events whose messages have no header `brink-kind`. Default `message`.
    #[serde(default = "message")]
    pub kind: String,
}

fn message() -> String {
    "message".to_owned()
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_topic(topic: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=TOPIC_BYTES_MAX).contains(&topic.len())
        && topic != "."
        && topic != ".."
        && topic.bytes().all(allowed)
}

fn is_collection(collection: &str) -> bool {
    check_partition(collection, "p").is_ok() && !is_platform(collection, "")
}

impl KafkaConfig {
    /// All mistakes.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let brokers = &self.brokers;
        let has_bridges = !self.send.is_empty() || !self.receive.is_empty();
        let is_alone = self.receive.iter().all(|receive| {
            self.send.iter().all(|send| {
                (&send.topic, &send.tenant, &send.collection)
                    != (&receive.topic, &receive.tenant, &receive.collection)
            })
        });
        let checks = [
            (
                brokers.len() <= BROKERS_MAX && brokers.iter().all(|one| is_address(one)),
                "brokers: there are at most 64, each written HOST:PORT",
            ),
            (
                brokers.is_empty() != has_bridges,
                "brokers: they go with [[kafka.send]] or [[kafka.receive]]",
            ),
            (
                self.user.is_some() == self.password_file.is_some(),
                "user: it goes with password_file",
            ),
            (
                self.certificate.is_some() == self.key.is_some()
                    && (self.key.is_none() || self.ca.is_some()),
                "certificate: it goes with key and ca",
            ),
            (
                self.send.len() <= BRIDGES_MAX && self.receive.len() <= BRIDGES_MAX,
                "send, receive: there are at most 64 of each",
            ),
            (
                is_alone,
                "receive: what is sent to a topic would come back into the collection that it is from, without end",
            ),
        ];
        let failed = checks.iter().filter(|(holds, _)| !holds);
        let mut mistakes: Vec<String> = failed.map(|(_, what)| format!("kafka.{what}")).collect();
        for send in &self.send {
            mistakes.extend(bridge("send", &send.name, &send.topic, &send.collection));
        }
        for receive in &self.receive {
            let ReceiveConfig {
                name,
                topic,
                collection,
                ..
            } = receive;
            mistakes.extend(bridge("receive", name, topic, collection));
            if let Err(error) = check_kind(&receive.kind) {
                mistakes.push(format!("kafka.receive.kind of {name}: {error}"));
            }
        }
        mistakes.extend(twice("send", self.send.iter().map(|one| &one.name)));
        mistakes.extend(twice("receive", self.receive.iter().map(|one| &one.name)));
        mistakes
    }

    /// TLS to the brokers, if they have it. Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn tls(&self) -> Result<Option<Arc<ClientConfig>>, Error> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let mut tls = ClientTls::new(ca);
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            tls = tls.with_identity(certificate, key);
        }
        Ok(Some(Arc::new(tls.config(&[])?)))
    }

    /// Who the core is to the brokers. Reads the file.
    ///
    /// # Errors
    /// As [`KafkaConfig::tls`].
    pub fn login(&self) -> Result<Option<SaslConfig>, Error> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else {
            return Ok(None);
        };
        let who = Credentials::new(user.clone(), password("kafka", file)?);
        Ok(Some(match self.login {
            Login::Plain => SaslConfig::Plain(who),
            Login::ScramSha256 => SaslConfig::ScramSha256(who),
            Login::ScramSha512 => SaslConfig::ScramSha512(who),
        }))
    }
}

fn bridge(part: &str, name: &str, topic: &str, collection: &str) -> Vec<String> {
    let checks = [
        (is_name(name), "name: it is 1 to 64 of a-z, 0-9, _ and -"),
        (
            is_topic(topic),
            "topic: it is 1 to 249 letters, digits, `.`, `_` and `-`",
        ),
        (
            is_collection(collection),
            "collection: it is 1 to 64 of a-z, 0-9, _ and -, and does not begin with _",
        ),
    ];
    let failed = checks.iter().filter(|(holds, _)| !holds);
    failed
        .map(|(_, what)| format!("kafka.{part} {name:?}: {what}"))
        .collect()
}

fn twice<'a>(part: &str, names: impl Iterator<Item = &'a String> + Clone) -> Option<String> {
    let mut before = names.clone().enumerate();
    let name = before.find_map(|(index, name)| {
        let is_twice = names.clone().take(index).any(|other| other == name);
        is_twice.then_some(name)
    })?;
    Some(format!("kafka.{part}: {name} is named twice"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> KafkaConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_right_has_no_mistakes() {
        let config = parse(
            "brokers = ['kafka.example:9092']\nuser = 'u'\npassword_file = '/p'\nlogin = 'scram-sha-512'\n\
             [[send]]\nname = 'a'\ncollection = 'orders'\ntopic = 'orders.v1'\n\
             [[receive]]\nname = 'a'\ntopic = 'orders.v1'\ncollection = 'copies'",
        );
        assert_eq!(config.mistakes(), Vec::<String>::new());
        assert_eq!(config.login, Login::ScramSha512);
        assert_eq!(config.receive.first().unwrap().kind, "message");
        assert_eq!(KafkaConfig::default().mistakes(), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_at_once() {
        let config = parse(
            "brokers = ['nowhere']\nuser = 'u'\nkey = '/k'\n\
             [[send]]\nname = 'A'\ncollection = '_bridge'\ntopic = '..'\n\
             [[send]]\nname = 'b'\ncollection = 'orders'\ntopic = 't'\n\
             [[receive]]\nname = 'b'\ntopic = 't'\ncollection = 'orders'\nkind = 'a b'\n\
             [[receive]]\nname = 'b'\ntopic = 't'\ncollection = 'others'",
        );
        let mistakes = config.mistakes().join("\n");
        for part in [
            "kafka.brokers: there are at most",
            "kafka.user",
            "kafka.certificate",
            "kafka.send \"A\": name",
            "kafka.send \"A\": topic",
            "kafka.send \"A\": collection",
            "without end",
            "kafka.receive.kind of b",
            "kafka.receive: b is named twice",
        ] {
            assert!(mistakes.contains(part), "{part} is not in:\n{mistakes}");
        }
        let alone = parse("brokers = ['a:1']").mistakes().join("\n");
        assert!(alone.contains("they go with"), "{alone}");
    }
}
