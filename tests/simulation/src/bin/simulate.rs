//! Long runs of the simulation, and single seeds with their trace.

fn main() {}
