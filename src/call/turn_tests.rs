use super::Turn;

#[test]
fn whoever_is_first_has_it() {
    let turn = Turn::default();
    assert!(turn.hedge() && !turn.retry());
    turn.give_back();
    assert!(turn.retry() && turn.retry() && !turn.hedge());
    turn.give_back();
    assert!(!turn.hedge(), "it was not the hedge's to give back");
}
