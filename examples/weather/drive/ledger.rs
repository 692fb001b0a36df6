//! The account of reports: what callers were told, against what the backend holds.

use std::{
    collections::HashMap,
    fmt, process,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::open_meteo::Observation;

/// Fewer than the stand-in keeps, so that none is missed because it was forgotten.
const ROOM: usize = 50_000;

/// What the caller of a report may claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It was made: exactly one effect.
    Made,
    /// It was refused: no effect.
    Refused,
    /// Nobody can tell: one effect at most.
    Unknown,
}

/// Every report of this run, by its note.
#[derive(Debug, Default)]
pub struct Ledger {
    claims: Mutex<HashMap<String, Claim>>,
}

impl Ledger {
    /// Whether another report can be kept account of.
    pub fn has_room(&self) -> bool {
        self.lock().len() < ROOM
    }

    /// Begins a report, and gives it a note that no other has, in no other run either.
    pub fn open(&self, agent: usize) -> String {
        let mut claims = self.lock();
        let note = format!("{}report {} by agent {agent}", run(), claims.len() + 1);
        // Until its caller knows better.
        claims.insert(note.clone(), Claim::Unknown);
        note
    }

    /// Ends a report.
    pub fn close(&self, note: &str, claim: Claim) {
        if let Some(open) = self.lock().get_mut(note) {
            *open = claim;
        }
    }

    /// Compares the claims with what really happened.
    pub fn audit(&self, observations: &[Observation]) -> Audit {
        let claims = self.lock();
        let mut effects: HashMap<&str, usize> = HashMap::new();
        for observation in observations.iter().filter(|observation| observation.note.starts_with(&run())) {
            *effects.entry(&observation.note).or_default() += 1;
        }
        let mut audit = Audit::default();
        for (note, claim) in &*claims {
            let found = effects.remove(&**note).unwrap_or_default();
            let (tally, kept) = match claim {
                Claim::Made => (&mut audit.made, found == 1),
                Claim::Refused => (&mut audit.refused, found == 0),
                Claim::Unknown => (&mut audit.unknown, found <= 1),
            };
            tally.notes += 1;
            tally.effects += found;
            if !kept {
                audit.broken.push(format!("{note:?} is {claim:?} and has {found} effects"));
            }
        }
        // What is left was reported by nobody.
        audit.broken.extend(effects.iter().map(|(note, found)| format!("{note:?} was never sent and has {found} effects")));
        audit
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Claim>> {
        // Whole between any two statements, so a panic elsewhere has broken nothing.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the notes of this run begin.
fn run() -> String {
    format!("run {}, ", process::id())
}

/// What the comparison found.
#[derive(Debug, Default)]
pub struct Audit {
    made: Entry,
    refused: Entry,
    unknown: Entry,
    broken: Vec<String>,
}

#[derive(Debug, Default)]
struct Entry {
    notes: usize,
    effects: usize,
}

impl Audit {
    /// Whether every claim is true.
    pub fn is_kept(&self) -> bool {
        self.broken.is_empty()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nEvery report, against what the backend holds:")?;
        for (claim, promise, Entry { notes, effects }) in [
            ("claimed", "exactly one effect each", &self.made),
            ("refused", "none", &self.refused),
            ("outcome unknown", "one at most", &self.unknown),
        ] {
            writeln!(f, "{claim:>16} {notes:>6} reports, {effects:>6} effects   ({promise})")?;
        }
        for broken in self.broken.iter().take(10) {
            writeln!(f, "BROKEN: {broken}")?;
        }
        match self.broken.len() {
            0 => writeln!(f, "All kept."),
            count => writeln!(f, "{count} promises broken."),
        }
    }
}
