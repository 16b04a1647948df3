//! The host's side of `brink:platform`: checks what the guest gives, and asks the run's context.

mod cache;
mod commands;
mod events;
mod local;
mod records;
mod workflows;
