//! What several interfaces of the host say in the same words when they do not do something.

/// Makes an `Error` of `wit::Error`, and a problem of that: for interfaces whose errors are `invalid`, `denied` and
/// `unavailable`.
macro_rules! refusals {
    () => {
        impl From<wit::Error> for Error {
            fn from(error: wit::Error) -> Self {
                match error {
                    wit::Error::Invalid(reason) => Self::Invalid(reason),
                    wit::Error::Denied(reason) => Self::Denied(reason),
                    wit::Error::Unavailable(reason) => Self::Unavailable(reason),
                }
            }
        }

        impl From<Error> for Problem {
            fn from(error: Error) -> Self {
                let detail = error.to_string();
                match error {
                    Error::Invalid(_) => Problem::bad_request(detail),
                    Error::Denied(_) => Problem::new(500, "Internal error").detail(detail),
                    Error::Unavailable(_) => {
                        Problem::new(503, "Service unavailable").detail(detail)
                    }
                }
            }
        }
    };
}

pub(crate) use refusals;
