//! Kinds of devices, as coarse as pages are made for them.

use ::http::{HeaderMap, HeaderName, header::USER_AGENT};

/// The field in which a module or origin is told the kind of device.
pub const DEVICE_CLASS: HeaderName = HeaderName::from_static("x-device-class");
/// `?1` on phones: User-Agent Client Hints §3.4.
const SEC_CH_UA_MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");
/// Longest `User-Agent` that is looked at, in bytes.
const AGENT_BYTES_MAX: usize = 1024;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// A crawler, a monitor, a preview.
    Bot,
    /// A computer, and all that says nothing of itself.
    Desktop,
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
}

impl Device {
    /// Its name in [`DEVICE_CLASS`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
        }
    }

    /// What [`DEVICE_CLASS`] says.
    pub(super) fn told(request: &HeaderMap) -> Self {
        let said = request.get(DEVICE_CLASS);
        let known = [Self::Bot, Self::Mobile, Self::Tablet];
        let found = known
            .into_iter()
            .find(|device| said.is_some_and(|said| said == device.as_str()));
        found.unwrap_or(Self::Desktop)
    }

    /// What a request says by `Sec-CH-UA-Mobile` and `User-Agent`.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Self {
        let agent = request.get(USER_AGENT).map_or(&[][..], |v| v.as_bytes());
        let agent = agent.get(..AGENT_BYTES_MAX).unwrap_or(agent);
        let agent = agent.to_ascii_lowercase();
        let says = |word: &str| agent.windows(word.len()).any(|at| at == word.as_bytes());
        let any = |words: &[&str]| words.iter().any(|word| says(word));
        let is_phone = request
            .get(SEC_CH_UA_MOBILE)
            .is_some_and(|mobile| mobile == "?1");
        if any(&[
            "bot/",
            "bot;",
            "bot ",
            "crawler",
            "spider",
            "facebookexternalhit",
            "preview",
        ]) {
            Self::Bot
        } else if any(&["ipad", "tablet", "kindle", "silk/", "playbook"])
            || (says("android") && !says("mobile") && !is_phone)
        {
            Self::Tablet
        } else if is_phone || any(&["mobile", "iphone", "ipod", "windows phone", "opera mini"]) {
            Self::Mobile
        } else {
            Self::Desktop
        }
    }
}
