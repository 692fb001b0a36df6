//! Gauges, which are no part of a protocol.

pub struct Level;

impl Level {
    pub fn set(&self, _: f64) {}
}
