//! A token: read from a file, shown to the control API alone.

use crate::error::Error;
use http::HeaderValue;
use std::{fmt, path::Path};

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// A token's secret. Its `Debug` form does not show it.
pub(crate) struct Secret(String);

impl Secret {
    /// Reads a token file: the token, and white space around it.
    ///
    /// # Errors
    /// It cannot be read, or holds no token.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |cause: String| {
            Error::Usage(format!(
                "the token file {} {cause}\nName another with --token-file, BRINK_TOKEN_FILE or `brink login --token-file FILE`.",
                path.display()
            ))
        };
        let text = if path == Path::new("-") {
            std::io::read_to_string(std::io::stdin())
                .map_err(|error| wrong(format!("cannot be read: {error}")))?
        } else {
            std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("cannot be read: {error}")))?
        };
        Self::parse(&text).ok_or_else(|| {
            wrong("does not hold a token: one line of visible ASCII characters".into())
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let token = text.trim();
        let valid = !token.is_empty()
            && token.len() <= TOKEN_BYTES_MAX
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(token.to_owned()))
    }

    /// The value of `Authorization`: RFC 6750 §2.1. Marked sensitive, so that HTTP/2 does not index it.
    ///
    /// # Errors
    /// None for a token that was parsed.
    pub(super) fn authorization(&self) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))
            .map_err(|_| Error::Usage("the token has characters that no header may have".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The token itself, to be written to a file.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens() {
        for (text, token) in [
            ("abc", Some("abc")),
            (" abc\n", Some("abc")),
            ("", None),
            ("\n", None),
            ("-----BEGIN PRIVATE KEY-----\nabc\n", None),
            ("é", None),
        ] {
            assert_eq!(
                Secret::parse(text).as_ref().map(Secret::expose),
                token,
                "{text:?}"
            );
        }
        let secret = Secret::parse("hunter2").unwrap();
        assert!(!format!("{secret:?} {:?}", secret.authorization().unwrap()).contains("hunter2"));
    }
}
