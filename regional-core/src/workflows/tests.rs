//! Workflows over a store, killed wherever they may be killed.
