//! The torture suite: what the layers do in the situations that bring services down, in figures, beside other crates.
//!
//! Each experiment has three tests: a short cut, the whole, and a planted defect that must come out as missed. How to run them,
//! what each shows and where its bounds come from stands in the README beside this file.

#![expect(clippy::expect_used, reason = "what breaks here is the suite itself")]

mod hedging;
mod limiters;
mod peers;
mod report;
mod t10_loops;
mod t1_overload;
mod t2_slow;
mod t3_metastability;
mod t4_amplification;
mod t5_neighbours;
mod t6_gcra;
mod t7_keys;
mod t8_breaker;
mod t9_effects;
mod world;
