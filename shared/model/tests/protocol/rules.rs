//! The rules of leases.

/// A rule that is taken out, around `Record::apply`, to show that it is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    Nothing,
    /// The cleaner cools whatever leases there are.
    LeaseCheck,
    /// A lease may end under traffic.
    Margin,
    /// A commit is taken from whoever says it, whatever the record says. (If only its generation were not compared, and
    /// the phase still had to be waking, nothing would be stopped: but a former container's address would be warm.)
    Generation,
    /// The first lease is taken a moment after the commit.
    FirstLease,
    /// A lost record is restored while the cleaner stops.
    CleanerRestores,
    Quarantine,
    /// Every lease of an edge has the same serial.
    Serial,
    /// The leases are cleared when the generation turns.
    LeasePerInstance,
    /// What is retired is cut at once.
    Drain,
    /// What is live again is cut as well.
    CutsRetired,
    /// Requests are led to a release that is live again before it has been started anew.
    RouteLast,
}
