//! Certificates: the authority of this installation, the core's own, and those of PoPs and of other cores.
//!
//! One core's data directory holds the authority, with its key. Another core of the same installation has certificates that
//! were issued there, and the authority's certificate alone.

use crate::Error;
use brink_listener::{
    authority::{DevAuthority, Leaf},
    client::ClientTls,
};
use brink_protocol::{
    NodeName, PopName,
    link::{CORE_NAME, CORE_SUFFIX, POP_SUFFIX},
};
use std::path::{Path, PathBuf};

/// Names under which a machine reaches itself.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl CertificateFiles {
    fn in_directory(directory: &Path, name: &str) -> Self {
        Self {
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        }
    }
}

/// The core's own certificates.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM file of the authority.
    pub authority: PathBuf,
    /// For the control API.
    pub control: CertificateFiles,
    /// For the link.
    pub link: CertificateFiles,
    /// What it shows to other cores.
    pub core: CertificateFiles,
}

impl Identity {
    fn files(data: &Path, node: &NodeName) -> Self {
        Self {
            authority: authority_directory(data).join("ca.pem"),
            control: CertificateFiles::in_directory(data, "control"),
            link: CertificateFiles::in_directory(data, "link"),
            core: CertificateFiles::in_directory(data, &format!("{node}.core")),
        }
    }

    /// As a client of other cores.
    #[must_use]
    pub fn client(&self) -> ClientTls {
        ClientTls::new(&self.authority).with_identity(&self.core.certificate, &self.core.key)
    }
}

fn authority_directory(data: &Path) -> PathBuf {
    data.join("ca")
}

/// Where an authority's key is kept.
fn authority_key(data: &Path) -> PathBuf {
    authority_directory(data).join("ca.key")
}

fn has_authority(data: &Path) -> bool {
    authority_directory(data).join("ca.pem").exists()
}

/// Whether the certificates here were issued by another core: the authority's key is not here.
fn is_issued(data: &Path) -> bool {
    has_authority(data) && !authority_key(data).exists()
}

/// The authority of a core's data directory, to issue certificates with.
fn authority(data: &Path) -> Result<DevAuthority, Error> {
    if is_issued(data) {
        return Err(Error::Identity(format!(
            "{} has certificates of an authority whose key is with another core: issue there (--data of that core)",
            data.display()
        )));
    }
    Ok(DevAuthority::open_or_create(&authority_directory(data))?)
}

fn issue(authority: &DevAuthority, files: &CertificateFiles, leaf: &Leaf) -> Result<(), Error> {
    Ok(authority.issue(leaf, &files.certificate, &files.key)?)
}

fn issue_all(
    authority: &DevAuthority,
    identity: &Identity,
    node: &NodeName,
    names: &[String],
) -> Result<(), Error> {
    let own = format!("{node}{CORE_SUFFIX}");
    let mut all = vec![CORE_NAME.to_owned(), own.clone()];
    all.extend(LOCAL_NAMES.map(str::to_owned));
    all.extend(names.iter().cloned());
    let server = Leaf {
        names: all,
        client: false,
        server: true,
    };
    issue(authority, &identity.control, &server)?;
    issue(authority, &identity.link, &server)?;
    let client = Leaf {
        names: vec![own],
        client: true,
        server: false,
    };
    issue(authority, &identity.core, &client)
}

/// The certificates of a core that starts: issued anew by the authority of its data directory, which is made at the first
/// start; or those that another core's authority has issued.
///
/// # Errors
/// Files that cannot be read or written; a core that has peers and no authority, for it would make one that its peers do
/// not know; certificates of another node.
pub fn open(
    data: &Path,
    node: &NodeName,
    names: &[String],
    has_peers: bool,
) -> Result<Identity, Error> {
    let identity = Identity::files(data, node);
    if is_issued(data) {
        let files = [&identity.control, &identity.link, &identity.core];
        let all = files
            .iter()
            .flat_map(|files| [&files.certificate, &files.key]);
        if let Some(missing) = all.into_iter().find(|file| !file.exists()) {
            return Err(Error::Identity(format!(
                "{} is not there: the certificates of core {node} are issued on the core that has the authority's key, by \
                 `brink-core issue-core --data ITS_DATA --name {node} --out DIR`; put all of DIR into {}",
                missing.display(),
                data.display()
            )));
        }
        return Ok(identity);
    }
    if has_peers && !has_authority(data) {
        return Err(Error::Identity(format!(
            "core {node} has peers, and no certificates that they know. All cores have certificates of one authority. On the \
             core that has it, run `brink-core issue-core --data ITS_DATA --name {node} --out DIR`, and put all of DIR into \
             {}. If there is none yet, make it here: run `brink-core issue-core --data {} --name PEER --out DIR` for each \
             peer, then start again",
            data.display(),
            data.display()
        )));
    }
    issue_all(&authority(data)?, &identity, node, names)?;
    Ok(identity)
}

/// Issues what another core needs into a directory, which is to become its data directory or a part of it: its
/// certificates, and the authority's without its key. A core may run meanwhile.
///
/// # Errors
/// The directory has an authority of its own; files that cannot be read or written.
pub fn issue_core(data: &Path, node: &NodeName, hosts: &[String], out: &Path) -> Result<(), Error> {
    check_hosts(hosts, "host of a core")?;
    if authority_key(out).exists() {
        return Err(Error::Identity(format!(
            "{} has an authority of its own: a core's certificates go into another directory",
            out.display()
        )));
    }
    let authority = authority(data)?;
    let directory = authority_directory(out);
    std::fs::create_dir_all(&directory).map_err(|error| Error::file("made", &directory, error))?;
    let identity = Identity::files(out, node);
    issue_all(&authority, &identity, node, hosts)?;
    // The authority last: with it the directory is complete.
    write_authority(&authority, &identity.authority)
}

fn write_authority(authority: &DevAuthority, path: &Path) -> Result<(), Error> {
    std::fs::write(path, authority.certificate_pem())
        .map_err(|error| Error::file("written", path, error))
}

/// Whether a host is one under which cores and PoPs know each other: a PoP with such a certificate could be a core.
fn is_internal(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let zone = POP_SUFFIX.trim_start_matches(".pop.");
    host == zone || host.ends_with(&format!(".{zone}"))
}

fn check_hosts(hosts: &[String], what: &'static str) -> Result<(), Error> {
    match hosts.iter().find(|host| is_internal(host)) {
        Some(host) => Err(brink_protocol::Error::Malformed {
            what,
            reason: format!("{host} is a name of the platform itself"),
        }
        .into()),
        None => Ok(()),
    }
}

/// Issues what a PoP needs into a directory: `pop.pem`, `pop.key` for the link, `server.pem`, `server.key` for its own
/// listener, and `ca.pem`. A core may run meanwhile.
///
/// # Errors
/// A host of the platform itself; files that cannot be read or written.
pub fn issue_pop(data: &Path, name: &PopName, hosts: &[String], out: &Path) -> Result<(), Error> {
    check_hosts(hosts, "host of a PoP")?;
    let authority = authority(data)?;
    std::fs::create_dir_all(out).map_err(|error| Error::file("made", out, error))?;
    let client = Leaf {
        names: vec![format!("{name}{POP_SUFFIX}")],
        client: true,
        server: false,
    };
    issue(
        &authority,
        &CertificateFiles::in_directory(out, "pop"),
        &client,
    )?;
    let mut names = LOCAL_NAMES.map(str::to_owned).to_vec();
    // No `*.localhost`: clients refuse a certificate with a wildcard right below a top-level name (RFC 6125 §7.2).
    names.push(format!("{name}.localhost"));
    names.extend(hosts.iter().cloned());
    let server = Leaf {
        names,
        client: false,
        server: true,
    };
    issue(
        &authority,
        &CertificateFiles::in_directory(out, "server"),
        &server,
    )?;
    write_authority(&authority, &out.join("ca.pem"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pop_is_no_core() {
        let directory = tempfile::tempdir().unwrap();
        let (data, out) = (directory.path().join("core"), directory.path().join("ams"));
        for (host, fits) in [
            ("shop.example", true),
            ("10.0.0.1", true),
            ("notbrink.internal", true),
            (CORE_NAME, false),
            ("Core.Brink.Internal.", false),
            ("*.brink.internal", false),
            ("sfo.pop.brink.internal", false),
            ("core-2.core.brink.internal", false),
        ] {
            let issued = issue_pop(&data, &"ams".parse().unwrap(), &[host.to_owned()], &out);
            assert_eq!(issued.is_ok(), fits, "{host}");
        }
    }

    #[test]
    fn two_cores_have_one_authority() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (one, two): (NodeName, NodeName) =
            ("core-1".parse().unwrap(), "core-2".parse().unwrap());
        let text = |opened: Result<Identity, Error>| opened.unwrap_err().to_string();
        // Peers, and nothing that they could know.
        let refused = text(open(&path("2"), &two, &[], true));
        assert!(
            refused.contains("issue-core --data ITS_DATA --name core-2"),
            "{refused}"
        );
        issue_core(&path("1"), &two, &[], &path("2")).unwrap();
        assert!(
            open(&path("1"), &one, &[], true).is_ok(),
            "it has the authority"
        );
        let identity = open(&path("2"), &two, &[], true).unwrap();
        assert!(!authority_key(&path("2")).exists());
        assert!(identity.client().config(&[b"h2"]).is_ok());
        assert_eq!(
            std::fs::read(&identity.authority).unwrap(),
            std::fs::read(path("1").join("ca/ca.pem")).unwrap()
        );
        // Issued for another node; issuing without the key; over an authority.
        let refused = text(open(&path("2"), &"core-3".parse().unwrap(), &[], true));
        assert!(refused.contains("core-3.core.pem"), "{refused}");
        let pop = "ams".parse().unwrap();
        let refused = issue_pop(&path("2"), &pop, &[], &path("ams")).unwrap_err();
        assert!(
            refused.to_string().contains("with another core"),
            "{refused}"
        );
        assert!(issue_core(&path("1"), &two, &[], &path("1")).is_err());
        // Again, when certificates are about to end.
        issue_core(&path("1"), &two, &["core-2.example".into()], &path("2")).unwrap();
        assert!(open(&path("2"), &two, &[], true).is_ok());
    }
}
