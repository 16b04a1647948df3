//! What comes from clients, origins, cores and people.

pub(crate) mod cache_control;
pub(crate) mod codings_and_keys;
pub(crate) mod control_bodies;
pub(crate) mod dates;
pub(crate) mod fields;
pub(crate) mod http_fields;
pub(crate) mod link_messages;
pub(crate) mod names_and_positions;
pub(crate) mod ranges;
pub(crate) mod routes;
pub(crate) mod structured_fields;
pub(crate) mod vary;
