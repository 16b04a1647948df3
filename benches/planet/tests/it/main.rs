//! The simulation: promises hold, and the checker notices when a part of the design is missing.

mod seeds;
