use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn window() -> (Window, Instant) {
    let reach = Reach { calls: 20, span: 30 * SECOND, max_age: 300 * SECOND };
    let start = Instant::now();
    (Window::new(reach, start), start)
}

#[test]
fn fewer_than_twenty_calls_say_nothing() {
    let (mut window, now) = window();
    for _ in 0..19 {
        window.record(false, now);
        assert_eq!(window.success_rate(), None);
    }
    window.record(true, now);
    assert_eq!(window.success_rate(), Some(0.05));
}

#[test]
fn a_quiet_tool_is_judged_by_its_last_twenty_calls() {
    let (mut window, start) = window();
    for i in 0..40 {
        window.record(i >= 25, start + i * 10 * SECOND);
    }
    assert_eq!(window.success_rate(), Some(0.75));
}

#[test]
fn a_busy_tool_is_judged_by_its_last_thirty_seconds() {
    let (mut window, start) = window();
    for second in 0..60 {
        for _ in 0..100 {
            window.record(second < 45, start + second * SECOND);
        }
    }
    assert_eq!(window.success_rate(), Some(0.5));
}

#[test]
fn the_view_by_time_moves_in_steps_of_a_second() {
    let (mut window, start) = window();
    for _ in 0..100 {
        window.record(false, start);
    }
    window.record(true, start + 30 * SECOND - Duration::from_nanos(1));
    assert_eq!(window.success_rate(), Some(1.0 / 101.0));
    window.record(true, start + 30 * SECOND);
    // The first second is gone, and with two calls left in thirty seconds the last twenty speak.
    assert_eq!(window.success_rate(), Some(0.1));
}

#[test]
fn nothing_older_than_five_minutes_counts() {
    let (mut window, start) = window();
    for _ in 0..19 {
        window.record(false, start);
    }
    window.record(true, start + 300 * SECOND);
    assert_eq!(window.success_rate(), Some(0.05));
    window.record(true, start + 300 * SECOND + Duration::from_nanos(1));
    assert_eq!(window.success_rate(), None);
}

#[test]
fn a_high_rate_costs_no_memory() {
    let (mut window, start) = window();
    for i in 0..60_000 {
        window.record(true, start + i * Duration::from_millis(1));
        assert!(window.recent.len() <= 20 && window.slices.len() <= 30);
    }
    assert_eq!(window.success_rate(), Some(1.0));
    assert!(window.recent.capacity() <= 64 && window.slices.capacity() <= 64);
}

#[test]
fn times_out_of_order_cost_no_memory_either() {
    let (mut window, start) = window();
    for i in 0..1000 {
        window.record(true, start + (i % 2) * SECOND);
    }
    assert_eq!(window.slices.len(), 2);
    assert_eq!(window.success_rate(), Some(1.0));
}
