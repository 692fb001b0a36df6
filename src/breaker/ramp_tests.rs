use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How many of `calls` get in, all made at this time.
fn admitted(ramp: &mut Ramp, calls: usize, now: Instant) -> usize {
    (0..calls).filter(|_| ramp.admit(now).is_ok()).count()
}

#[test]
fn the_share_grows_from_a_quarter_to_all() {
    let now = Instant::now();
    let ramp = || Ramp::new(&Settings::default(), now);
    assert_eq!(admitted(&mut ramp(), 4000, now), 1000);
    assert_eq!(admitted(&mut ramp(), 4000, now + 2 * SECOND), 1600);
    assert_eq!(admitted(&mut ramp(), 4000, now + 6 * SECOND), 2800);
    assert_eq!(admitted(&mut ramp(), 4000, now + 10 * SECOND), 4000);
}

#[test]
fn a_quarter_is_every_fourth_call() {
    let now = Instant::now();
    let mut ramp = Ramp::new(&Settings::default(), now);
    let pattern: Vec<bool> = (0..9).map(|_| ramp.admit(now).is_ok()).collect();
    let (yes, no) = (true, false);
    assert_eq!(pattern, [yes, no, no, no, yes, no, no, no, yes]);
}

#[test]
fn the_hint_is_a_second_or_what_remains() {
    let now = Instant::now();
    let mut ramp = Ramp::new(&Settings::default(), now);
    assert_eq!(admitted(&mut ramp, 1, now), 1);
    assert_eq!(ramp.admit(now), Err(SECOND));
    let late = now + 10 * SECOND - Duration::from_millis(1);
    let refused = (0..100_000).find_map(|_| ramp.admit(late).err());
    assert_eq!(refused, Some(Duration::from_millis(1)));
}

#[test]
fn without_a_length_all_get_in_at_once() {
    let settings = Settings { ramp: Duration::ZERO, ..Settings::default() };
    let now = Instant::now();
    assert_eq!(admitted(&mut Ramp::new(&settings, now), 100, now), 100);
}
