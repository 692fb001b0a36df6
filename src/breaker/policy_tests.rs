use super::*;

/// What is wrong with the defaults after one change.
fn rejected(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::default();
    change(&mut settings);
    Policy::try_new(settings).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_a_policy() {
    assert_eq!(Policy::try_new(Settings::default()), Ok(Policy::default()));
}

#[test]
fn each_rule_can_be_off_but_not_both() {
    for (consecutive_failures, min_success_rate) in [(0, 0.5), (6, 0.0)] {
        let settings = Settings { consecutive_failures, min_success_rate, ..Settings::default() };
        assert!(Policy::try_new(settings).is_ok());
    }
    let neither = rejected(|s| (s.consecutive_failures, s.min_success_rate) = (0, 0.0));
    assert!(neither.contains("would never open"), "{neither}");
}

#[test]
fn shares_outside_their_range_are_rejected() {
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let rate = rejected(|s| s.min_success_rate = share);
        assert!(rate.contains(&format!("min_success_rate is {share}")), "{rate}");
        let open = rejected(|s| s.open_share = share);
        assert!(open.contains(&format!("open_share is {share}")), "{open}");
        let floor = rejected(|s| s.ramp_floor = share);
        assert!(floor.contains(&format!("ramp_floor is {share}")), "{floor}");
    }
    assert!(rejected(|s| s.ramp_floor = 0.0).contains("ramp_floor is 0"));
}

#[test]
fn an_empty_or_boundless_window_is_rejected() {
    assert!(rejected(|s| s.window_calls = 0).contains("window_calls is 0"));
    assert!(rejected(|s| s.window_calls = 1001).contains("window_calls is 1001"));
    assert!(rejected(|s| s.window_span = Duration::ZERO).contains("window_span is 0ns"));
}

#[test]
fn a_contradiction_names_both_values() {
    let cool_down = rejected(|s| s.cool_down_min = Duration::from_secs(301));
    assert!(cool_down.contains("301s") && cool_down.contains("300s"), "{cool_down}");
    let window = rejected(|s| s.sample_max_age = Duration::from_secs(29));
    assert!(window.contains("30s") && window.contains("29s"), "{window}");
    assert!(rejected(|s| s.cool_down_min = Duration::ZERO).contains("cool_down_min is 0ns"));
}

#[test]
fn settings_become_a_policy_only_where_they_make_sense() {
    let settings = Settings { consecutive_failures: 9, ..Settings::default() };
    assert_eq!(Policy::try_from(settings).map(|policy| *policy.settings()), Ok(settings));
    assert!(Policy::try_from(Settings { window_calls: 0, ..settings }).is_err());
}
