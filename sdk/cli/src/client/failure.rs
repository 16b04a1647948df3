//! Why the control API was not reached, and what to do about it.

use crate::error::Error;
use hyper_util::client::legacy;
use std::{error::Error as _, io, time::Duration};

/// The error of a request that had no answer.
pub(super) fn of(control: &str, error: &legacy::Error) -> Error {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let mut advice = ADVICE_CONNECT;
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = advice_for(error) {
            advice = found;
        }
        cause = error;
        // An I/O error made of another error hides it from `source`.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Error::Unreachable {
        control: control.to_owned(),
        cause: cause.to_string(),
        advice,
    }
}

/// The error of a request that took too long.
pub(super) fn late(control: &str, time_max: Duration) -> Error {
    Error::Unreachable {
        control: control.to_owned(),
        cause: format!("no answer within {} s", time_max.as_secs()),
        advice: "What was asked may have happened: look with `brink status` before you try again.",
    }
}

const ADVICE_CONNECT: &str = "Is the core running, and is this its control address? (--control, BRINK_CONTROL, `brink login`)";
const ADVICE_AUTHORITY: &str = "Its certificate is not of an authority that is trusted here. Name the platform's own: --ca FILE, BRINK_CA or `brink login --ca FILE`; \
     the core keeps it in DATA/ca/ca.pem.";
const ADVICE_NAME: &str =
    "Its certificate is for another name: use the name or address that it was issued for.";
const ADVICE_EXPIRED: &str =
    "Its certificate is not valid at this time: renew it, and check the clocks of both machines.";
const ADVICE_NOT_TLS: &str =
    "It does not speak TLS there: is this the control address of the core, not another listener's?";

fn advice_for(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::{CertificateError, Error as Tls};
    match error.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(ADVICE_NAME),
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Some(ADVICE_EXPIRED),
        Tls::InvalidCertificate(_) => Some(ADVICE_AUTHORITY),
        Tls::InvalidMessage(_) => Some(ADVICE_NOT_TLS),
        _ => None,
    }
}
