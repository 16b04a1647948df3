//! What a module learns beside records: credentials of the client, the time, chance.

use super::run::Run;
use brink_sandbox::Witness;
use http::HeaderName;

impl Witness for Run {
    fn credential(&self, name: &HeaderName) {
        // A module that was called sees the request that its caller made: what that has of the client's, the caller
        // looked at.
        if self.depth > 0 {
            return;
        }
        let mut collected = self.note();
        if !collected.credentials.contains(name) {
            collected.credentials.push(name.clone());
        }
    }

    fn unnamed(&self) {
        self.note().unnamed = true;
    }
}
