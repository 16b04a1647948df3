//! Tokens of the control API: made here, shown once, kept as hashes.

use crate::{
    Error,
    clock::now_ms,
    random,
    store::{NewAudit, Store, TokenRow},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use brink_protocol::{
    Digest, TenantName,
    control::{NewToken, Role, Token},
};
use std::{io::Write as _, path::Path};

/// What every secret begins with, so that scanners for leaked secrets know it.
pub const PREFIX: &str = "brk_";
/// Names of tenants that begin so are the platform's own: nobody gets a token for them.
pub const PLATFORM_TENANT_PREFIX: &str = "brink-";
/// Longest label, in characters.
pub const LABEL_CHARS_MAX: usize = 100;
/// Longest lifetime, in seconds (ten years).
pub const LIFETIME_S_MAX: u64 = 10 * 366 * 24 * 3600;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's id.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Whose.
    pub tenant: TenantName,
}

impl Caller {
    /// Whether this is an administrator of the whole installation: an admin of the default tenant.
    #[must_use]
    pub fn is_installation_admin(&self) -> bool {
        self.role == Role::Admin && self.tenant == brink_protocol::deployment::default_tenant()
    }
}

/// How long a secret may be that is given, in bytes.
const GIVEN_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// `brk_` and 32 random bytes in base64url.
fn secret() -> Result<String, Error> {
    let bytes: [u8; 32] = random::bytes()?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn hash(secret: &str) -> [u8; 32] {
    *Digest::of(secret.as_bytes()).as_bytes()
}

/// Compares without telling by its time how much was equal.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |all, (x, y)| all | (x ^ y));
    std::hint::black_box(difference) == 0
}

/// Who has this secret; none: nobody, or the token has ended.
///
/// # Errors
/// The store.
pub async fn authenticate(
    store: &dyn Store,
    secret: &str,
    now_ms: u64,
) -> Result<Option<Caller>, Error> {
    let hash = hash(secret);
    // The row is found by the hash of a secret with 256 random bits: what its time tells is of no use to a guesser.
    let Some(row) = store.token(&hash).await? else {
        return Ok(None);
    };
    let is_ended = row.expires_at_ms.is_some_and(|end| now_ms >= end);
    Ok((is_same(&row.hash, &hash) && !is_ended).then_some(Caller {
        id: row.id,
        role: row.role,
        tenant: row.tenant,
    }))
}

/// A token without its secret.
#[must_use]
pub fn shown(row: TokenRow) -> Token {
    Token {
        id: row.id,
        label: row.label,
        role: row.role,
        tenant: row.tenant,
        created_at_ms: row.created_at_ms,
        expires_at_ms: row.expires_at_ms,
        secret: None,
    }
}

/// Makes a token; its secret is in the answer and nowhere else.
///
/// # Errors
/// The label or lifetime is not allowed, no random bytes, or the store.
pub async fn create(store: &dyn Store, by: &str, new: NewToken) -> Result<Token, Error> {
    let limit = |what, actual, limit| brink_protocol::Error::Limit {
        what,
        actual,
        limit,
    };
    if new.tenant.as_str().starts_with(PLATFORM_TENANT_PREFIX) {
        return Err(brink_protocol::Error::Malformed {
            what: "tenant",
            reason: "names that begin with brink- are the platform's own".into(),
        }
        .into());
    }
    let characters = new.label.chars().count();
    if characters == 0 || characters > LABEL_CHARS_MAX || new.label.chars().any(char::is_control) {
        let what = "characters in a label (at least 1, none of control)";
        return Err(limit(what, characters as u64, LABEL_CHARS_MAX as u64).into());
    }
    if let Some(lifetime) = new.lifetime_s
        && !(1..=LIFETIME_S_MAX).contains(&lifetime)
    {
        return Err(limit(
            "a token's lifetime in seconds (at least 1)",
            lifetime,
            LIFETIME_S_MAX,
        )
        .into());
    }
    let (now, secret) = (now_ms(), secret()?);
    let row = TokenRow {
        id: ulid::Ulid::new().to_string(),
        hash: hash(&secret),
        label: new.label,
        role: new.role,
        tenant: new.tenant,
        created_at_ms: now,
        expires_at_ms: new.lifetime_s.map(|lifetime| now + lifetime * 1000),
    };
    let audit = NewAudit {
        by: by.to_owned(),
        tenant: row.tenant.clone(),
        action: "token.create",
        subject: row.id.clone(),
        at_ms: now,
    };
    store.add_token(row.clone(), audit).await?;
    Ok(Token {
        secret: Some(secret),
        ..shown(row)
    })
}

/// At the first start on an empty store, makes the root token: with the secret in the file `given`, else with one of its
/// own, which it writes to `path` for its owner's eyes only.
///
/// # Errors
/// The store or the files. The file is written first: a token whose secret nobody has is never made.
pub async fn ensure_root(
    store: &dyn Store,
    given: Option<&Path>,
    path: &Path,
) -> Result<(), Error> {
    if !store.tokens(None).await?.is_empty() {
        return Ok(());
    }
    let secret = match given {
        Some(file) => given_secret(file)?,
        None => {
            let secret = secret()?;
            write_secret(path, &secret)?;
            secret
        }
    };
    let now = now_ms();
    let row = TokenRow {
        id: "root".into(),
        hash: hash(&secret),
        label: "made at the first start".into(),
        role: Role::Admin,
        tenant: brink_protocol::deployment::default_tenant(),
        created_at_ms: now,
        expires_at_ms: None,
    };
    let audit = NewAudit {
        by: "root".into(),
        tenant: row.tenant.clone(),
        action: "token.create",
        subject: "root".into(),
        at_ms: now,
    };
    store.add_token(row, audit).await
}

fn given_secret(file: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::file("read", file, error))?;
    let secret = text.trim();
    let is_right =
        GIVEN_BYTES.contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_right {
        return Err(Error::Config(format!(
            "root_token_file: {} holds 32 to 256 visible ASCII characters",
            file.display()
        )));
    }
    Ok(secret.to_owned())
}

fn write_secret(path: &Path, secret: &str) -> Result<(), Error> {
    let failed = |error| Error::file("written", path, error);
    // A leftover of a start that did not get as far as the store.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    writeln!(file, "{secret}")
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn comparison_sees_every_bit() {
        let a = [7u8; 32];
        assert!(is_same(&a, &a));
        for byte in 0..32 {
            for bit in 0..8 {
                let mut b = a;
                b[byte] ^= 1 << bit;
                assert!(!is_same(&a, &b));
            }
        }
    }

    #[test]
    fn a_secret_that_is_given_is_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root");
        for (text, expected) in [
            (format!("{}\n", "s".repeat(32)), Some("s".repeat(32))),
            ("s".repeat(31), None),
            ("s".repeat(257), None),
            (format!("{} {}", "s".repeat(20), "s".repeat(20)), None),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(given_secret(&file).ok(), expected, "{text}");
        }
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (a, b) = (secret().unwrap(), secret().unwrap());
        assert!(a.starts_with(PREFIX) && a.len() == PREFIX.len() + 43 && a != b);
    }
}
