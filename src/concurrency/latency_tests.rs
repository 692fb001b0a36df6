use std::time::Duration;

use super::latency::{Latency, Typical};

fn seconds(typical: Option<Typical>) -> (f64, f64) {
    let typical = typical.unwrap();
    (typical.p50.as_secs_f64(), typical.p90.as_secs_f64())
}

fn near(value: f64, expected: f64) -> bool {
    (0.7..1.4).contains(&(value / expected))
}

#[test]
fn knows_nothing_before_the_first_and_then_says_what_that_was() {
    let latency = Latency::default();
    assert_eq!(latency.typical(), None);
    latency.record(Duration::from_millis(50));
    let (p50, p90) = seconds(latency.typical());
    assert!((p50 - 0.05).abs() < 1e-6 && (p90 - 0.05).abs() < 1e-6);
    latency.record(Duration::ZERO);
    assert!(latency.typical().is_some());
}

#[test]
fn follows_the_quantiles_of_many_distributions() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (even, exponential) = (Latency::default(), Latency::default());
        for _ in 0..1000 {
            even.record(Duration::from_secs_f64(0.8 + 0.4 * rng.f64()));
            exponential.record(Duration::from_secs_f64(-(1.0 - rng.f64()).ln()));
        }
        let ((e50, e90), (x50, x90)) = (seconds(even.typical()), seconds(exponential.typical()));
        assert!((0.9..1.1).contains(&e50) && (1.05..1.27).contains(&e90), "even: {e50} {e90}");
        assert!(near(x50, 0.693) && near(x90, 2.303), "exponential: {x50} {x90}");
    }
}

#[test]
fn follows_a_shift_within_some_hundred_samples() {
    let latency = Latency::default();
    let record = |millis, times| (0..times).for_each(|_| latency.record(Duration::from_millis(millis)));
    record(50, 1000);
    record(4550, 200);
    assert!(near(seconds(latency.typical()).0, 4.55) && near(seconds(latency.typical()).1, 4.55));
    record(50, 1000);
    assert!(near(seconds(latency.typical()).0, 0.05) && near(seconds(latency.typical()).1, 0.05));
}
