//! The host's side of `brink:platform`: checks what the guest gives, and asks the run's context.

mod cache;
mod commands;
mod local;
mod records;
