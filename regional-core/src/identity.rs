//! Certificates: the authority of this installation, the core's own, and those of PoPs.

use crate::Error;
use brink_listener::authority::{DevAuthority, Leaf};
use brink_protocol::{
    PopName,
    link::{CORE_NAME, POP_SUFFIX},
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

/// The core's own certificates.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM file of the authority.
    pub authority: PathBuf,
    /// For the control API.
    pub control: CertificateFiles,
    /// For the link.
    pub link: CertificateFiles,
}

fn authority(data: &Path) -> Result<DevAuthority, Error> {
    Ok(DevAuthority::open_or_create(&data.join("ca"))?)
}

fn issue(
    authority: &DevAuthority,
    directory: &Path,
    name: &str,
    leaf: &Leaf,
) -> Result<CertificateFiles, Error> {
    let files = CertificateFiles {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    authority.issue(leaf, &files.certificate, &files.key)?;
    Ok(files)
}

/// Opens the authority of the data directory or makes it, and issues the core's certificates anew.
///
/// # Errors
/// Files that cannot be read or written.
pub fn issue_core(data: &Path, names: &[String]) -> Result<Identity, Error> {
    let authority = authority(data)?;
    let mut all = vec![CORE_NAME.to_owned()];
    all.extend(LOCAL_NAMES.map(str::to_owned));
    all.extend(names.iter().cloned());
    let leaf = Leaf {
        names: all,
        client: false,
        server: true,
    };
    Ok(Identity {
        authority: authority.certificate().to_owned(),
        control: issue(&authority, data, "control", &leaf)?,
        link: issue(&authority, data, "link", &leaf)?,
    })
}

/// Whether a host is one under which cores and PoPs know each other: a PoP with such a certificate could be a core.
fn is_internal(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let zone = POP_SUFFIX.trim_start_matches(".pop.");
    host == zone || host.ends_with(&format!(".{zone}"))
}

/// Issues what a PoP needs into a directory: `pop.pem`, `pop.key` for the link, `server.pem`, `server.key` for its own
/// listener, and `ca.pem`. A core may run meanwhile.
///
/// # Errors
/// A host of the platform itself; files that cannot be read or written.
pub fn issue_pop(data: &Path, name: &PopName, hosts: &[String], out: &Path) -> Result<(), Error> {
    if let Some(host) = hosts.iter().find(|host| is_internal(host)) {
        let reason =
            format!("{host} is a name of the platform itself, not of a PoP's own listener");
        return Err(brink_protocol::Error::Malformed {
            what: "host of a PoP",
            reason,
        }
        .into());
    }
    let authority = authority(data)?;
    std::fs::create_dir_all(out).map_err(|error| Error::file("made", out, error))?;
    let client = Leaf {
        names: vec![format!("{name}{POP_SUFFIX}")],
        client: true,
        server: false,
    };
    issue(&authority, out, "pop", &client)?;
    let mut names = LOCAL_NAMES.map(str::to_owned).to_vec();
    // No `*.localhost`: clients refuse a certificate with a wildcard right below a top-level name (RFC 6125 §7.2).
    names.push(format!("{name}.localhost"));
    names.extend(hosts.iter().cloned());
    issue(
        &authority,
        out,
        "server",
        &Leaf {
            names,
            client: false,
            server: true,
        },
    )?;
    let ca = out.join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem())
        .map_err(|error| Error::file("written", &ca, error))
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
        ] {
            let issued = issue_pop(&data, &"ams".parse().unwrap(), &[host.to_owned()], &out);
            assert_eq!(issued.is_ok(), fits, "{host}");
        }
    }
}
