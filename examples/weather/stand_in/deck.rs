//! Faults dealt from shuffled decks, so that every hundred calls meet the same
//! mix of trouble and a short run is as honest as a long one.

use fastrand::Rng;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After: 1`; nothing is done.
    Throttled,
    /// 503; nothing is done.
    Unavailable,
    /// The connection is reset before anything is done or answered.
    ResetBefore,
    /// The call takes effect, then the connection is reset without an answer.
    ResetAfter,
    /// The call takes effect, then the answer is a 500.
    ErrorAfter,
    /// No answer comes, and nothing is done. The fault ends when the client
    /// hangs up.
    Hang,
}

impl Fault {
    /// The name used in statistics and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::ErrorAfter => "error_after",
            Self::Hang => "hang",
        }
    }
}

/// Cards in a deck.
pub const CARDS: usize = 100;

/// The faults among them, sixteen in all. Hangs are rarer, for each costs its
/// caller a whole attempt limit.
pub const FAULTS: [(Fault, usize); 6] = [
    (Fault::Throttled, 3),
    (Fault::Unavailable, 3),
    (Fault::ResetBefore, 2),
    (Fault::ResetAfter, 3),
    (Fault::ErrorAfter, 3),
    (Fault::Hang, 2),
];

/// Faults that may follow one another: a caller with three attempts always
/// gets through when it is alone.
const LONGEST_RUN: usize = 2;

/// An endless sequence of cards, shuffled anew every [`CARDS`] cards.
#[derive(Debug)]
pub struct Deck {
    rng: Rng,
    /// The cards not yet drawn; the next one is last.
    cards: Vec<Option<Fault>>,
    /// How many faults were drawn in a row, up to now.
    run: usize,
}

impl Deck {
    /// A deck whose order is decided by `rng` alone.
    pub fn new(rng: Rng) -> Self {
        Self { rng, cards: Vec::with_capacity(CARDS), run: 0 }
    }

    /// The next card: a fault, or none.
    pub fn draw(&mut self) -> Option<Fault> {
        if self.cards.is_empty() {
            self.shuffle();
        }
        let card = self.cards.pop().flatten();
        self.run = if card.is_some() { self.run + 1 } else { 0 };
        card
    }

    /// Lays out a full deck and shuffles it until no run of faults is too
    /// long. About three shuffles in four already are fine, so this ends soon,
    /// and drawing again keeps all permitted orders equally likely.
    fn shuffle(&mut self) {
        for (fault, count) in FAULTS {
            self.cards.extend(std::iter::repeat_n(Some(fault), count));
        }
        self.cards.resize(CARDS, None);
        loop {
            self.rng.shuffle(&mut self.cards);
            if longest_run(self.run, self.cards.iter().rev()) <= LONGEST_RUN {
                return;
            }
        }
    }
}

/// The longest run of faults, counting the `run` that came just before.
fn longest_run<'a>(mut run: usize, cards: impl Iterator<Item = &'a Option<Fault>>) -> usize {
    let mut longest = run;
    for card in cards {
        run = if card.is_some() { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, cards: usize) -> Vec<Option<Fault>> {
        let mut deck = Deck::new(Rng::with_seed(seed));
        (0..cards).map(|_| deck.draw()).collect()
    }

    #[test]
    fn every_deck_holds_the_same_sixteen_faults() {
        for (number, deck) in drawn(1, 50 * CARDS).chunks(CARDS).enumerate() {
            assert_eq!(deck.iter().flatten().count(), 16, "deck {number}");
            for (fault, count) in FAULTS {
                assert!(count >= 1);
                let dealt = deck.iter().flatten().filter(|card| **card == fault).count();
                assert_eq!(dealt, count, "{fault:?} in deck {number}");
            }
        }
    }

    #[test]
    fn three_faults_never_follow_one_another() {
        for seed in 0..100 {
            let cards = drawn(seed, 50 * CARDS);
            assert_eq!(longest_run(0, cards.iter()), LONGEST_RUN, "seed {seed}");
        }
    }

    #[test]
    fn two_faults_at_the_end_of_a_deck_count_in_the_next() {
        // Decks that end in a pair of faults are rare, so look through many:
        // without the carried run some of them would go on with a fault.
        let pairs = (0..2_000)
            .map(|seed| drawn(seed, 2 * CARDS))
            .filter(|cards| cards[CARDS - 2].is_some() && cards[CARDS - 1].is_some())
            .inspect(|cards| assert_eq!(cards[CARDS], None))
            .count();
        assert!(pairs >= 20, "only {pairs} decks ended in a pair");
    }

    #[test]
    fn the_seed_decides_the_order() {
        assert_eq!(drawn(3, 5 * CARDS), drawn(3, 5 * CARDS));
        assert_ne!(drawn(3, 5 * CARDS), drawn(4, 5 * CARDS));
        let cards = drawn(3, 2 * CARDS);
        assert_ne!(cards[..CARDS], cards[CARDS..], "each deck has its own order");
    }
}
