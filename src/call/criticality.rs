//! How much a call matters when not all can be served.

/// How much a call matters when not all can be served: the four classes of *Site Reliability Engineering*, chapter 21.
///
/// Less critical calls wait behind and are shed before more critical ones. It is the operator's word, on a caller
/// ([`Caller::criticality`](super::Caller::criticality)) or on a target; of two words the lower one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Criticality {
    /// Nobody notices if it is not served for a while: background work.
    Sheddable,
    /// May be refused now and then, and is tried again later: batch jobs.
    SheddablePlus,
    /// What a person or an agent waits for.
    #[default]
    Critical,
    /// What must not fail if anything at all is served.
    CriticalPlus,
}

impl Criticality {
    /// All classes, the least critical first.
    pub const ALL: [Self; 4] = [Self::Sheddable, Self::SheddablePlus, Self::Critical, Self::CriticalPlus];

    /// A stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::SheddablePlus => "sheddable_plus",
            Self::Critical => "critical",
            Self::CriticalPlus => "critical_plus",
        }
    }
}
