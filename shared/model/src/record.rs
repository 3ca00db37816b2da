//! The record of an instance: its phase, its leases, and what may happen to them.
//!
//! `Record::apply` is the protocol. The ledger in memory runs it as it is; the Redis scripts say the same in Lua,
//! and one contract suite holds both to it. Every change of phase gets a new generation; whoever acts with an old
//! one is told `Stale` and has to look again.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use thiserror::Error;

use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN, CLAIM_MS, COOLING_MS, LEASE_MS};
use crate::{Claim, Endpoint, Entry, InstanceId, LeaseId, NotYet, Phase, Poised};

/// What the ledger knows about one instance. Times are Unix ms of the ledger's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub generation: u64,
    pub phase: Phase,
    pub leases: BTreeMap<LeaseId, u64>,
    pub used_ms: u64,
    /// What was made ahead: in the phase `Cold` free to be claimed, in `Waking` taken by the claim.
    pub poised: Option<Poised>,
    /// How long the app itself took to be ready when it was last started, in ms; 0: not known.
    pub start_ms: u64,
    /// Starts that failed in a row.
    pub failures: u32,
    /// Another release is live: nobody new may enter.
    pub retired: bool,
    /// Since when it is retired; means nothing while it is not.
    pub retired_ms: u64,
}

/// One thing that happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An edge wants to send a request: enters, or gets the claim.
    Enter { lease: LeaseId },
    /// The builder makes a release current: as `Enter`, and the record is no longer retired.
    Introduce { lease: LeaseId },
    /// The holder of the claim has started it; its first lease is taken in the same step. `start_ms`: how long the app
    /// itself took, if it was started anew.
    Woken { generation: u64, addr: SocketAddr, lease: LeaseId, start_ms: Option<u64> },
    /// The holder of the claim could not start it, and has left nothing running.
    Failed { generation: u64 },
    /// The holder of the claim is still at it.
    Extend { generation: u64 },
    /// The holder of the claim could not start it, through no fault of the app: others may try at once.
    GiveBack { generation: u64 },
    /// It stopped by itself.
    Gone { generation: u64 },
    /// An edge still uses it. Puts back a lease that a lost ledger forgot.
    Renew { lease: LeaseId },
    /// An edge has not used it for a while; `idle_for_ms` is how long.
    Leave { lease: LeaseId, idle_for_ms: u64 },
    /// The cleaner wants to stop it.
    Cool { idle_ms: u64, quarantine: bool },
    /// The cleaner wants to stop it under its last requests: it was retired so long ago.
    Cut { drain_ms: u64 },
    /// The cleaner has stopped it.
    Cooled { generation: u64 },
    /// The cleaner wants to pause it.
    Freeze { after_ms: u64, quarantine: bool },
    /// The cleaner has paused it.
    Frozen { generation: u64, addr: SocketAddr },
    /// The cleaner has made the next one ahead, and the record was cold all the time.
    Poise { generation: u64, poised: Poised },
    /// The cleaner found it running and answering, though nobody has the claim; or an edge is in what was about to be
    /// stopped.
    Adopt { generation: u64, addr: SocketAddr },
    /// The cleaner found it not running, though it should be.
    Reset { generation: u64 },
    /// The cleaner found it running but of no use, though nobody has the claim: gives the right to stop it, unless
    /// somebody holds a lease, or may hold one that was lost.
    Discard { generation: u64, quarantine: bool },
    /// A stop was not finished, and nobody is at it: gives the right to stop it anew.
    Recool { generation: u64 },
    /// Another release is live now.
    Retire,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Entry(Entry),
    /// Where it answers now; `None` if it does not.
    Endpoint(Option<Endpoint>),
    /// The generation of the permit to stop it.
    Granted(u64),
    NotYet(NotYet),
}

/// The caller acted on old knowledge and has to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("somebody else has changed it in the meantime")]
pub struct Stale;

/// Gives the wait after the `failures`-th failed start in a row, in ms: 1, 2, 4 ... 60 s.
pub fn backoff_ms(failures: u32) -> u64 {
    let doubled = BACKOFF_MS_MIN.saturating_mul(1_u64 << failures.saturating_sub(1).min(30));
    doubled.min(BACKOFF_MS_MAX)
}

impl Record {
    /// Makes the record of an instance that nobody has heard of: cold, its generation taken from the clock,
    /// so that it is larger than any that an earlier record of the same name had.
    pub fn new(now_ms: u64) -> Self {
        Self {
            generation: now_ms,
            phase: Phase::Cold,
            leases: BTreeMap::new(),
            used_ms: now_ms,
            poised: None,
            start_ms: 0,
            failures: 0,
            retired: false,
            retired_ms: 0,
        }
    }

    /// Gives where it answers, if it is warm.
    pub fn endpoint(&self) -> Option<Endpoint> {
        match self.phase {
            Phase::Warm { addr } => Some(Endpoint { addr, generation: self.generation }),
            Phase::Cold
            | Phase::Waking { .. }
            | Phase::Frozen { .. }
            | Phase::Cooling { .. }
            | Phase::Broken { .. } => None,
        }
    }

    /// Whether a lease lives at `now_ms`.
    pub fn leased(&self, now_ms: u64) -> bool {
        self.leases.values().any(|expiry_ms| *expiry_ms > now_ms)
    }

    /// Whether the time is over that a retired instance has for its last requests.
    pub fn overdue(&self, drain_ms: u64, now_ms: u64) -> bool {
        self.retired && now_ms.saturating_sub(self.retired_ms) >= drain_ms
    }

    /// Whether nobody has the right to start or stop it at `now_ms`.
    pub fn unclaimed(&self, now_ms: u64) -> bool {
        match self.phase {
            Phase::Cold | Phase::Frozen { .. } | Phase::Broken { .. } => true,
            Phase::Waking { until_ms, .. } => until_ms <= now_ms,
            Phase::Warm { .. } | Phase::Cooling { .. } => false,
        }
    }

    /// Applies one act at `now_ms`. `id` is the instance's own name, for the claim.
    ///
    /// # Errors
    /// [`Stale`] if the act names another generation than the record's, or a phase that it is not in.
    pub fn apply(&mut self, id: &InstanceId, act: &Act, now_ms: u64) -> Result<Outcome, Stale> {
        match act {
            Act::Enter { lease } => Ok(Outcome::Entry(self.enter(id, lease, now_ms))),
            Act::Introduce { lease } => {
                self.retired = false;
                Ok(Outcome::Entry(self.enter(id, lease, now_ms)))
            }
            Act::Woken { generation, addr, lease, start_ms } => {
                self.woken(*generation, *addr, lease, *start_ms, now_ms)
            }
            Act::Failed { generation } => self.failed(*generation, now_ms),
            Act::Extend { generation } => {
                let stands = matches!(self.phase, Phase::Waking { until_ms, .. } if until_ms > now_ms);
                self.expect(*generation, stands)?;
                if let Phase::Waking { until_ms, .. } = &mut self.phase {
                    *until_ms = now_ms + CLAIM_MS;
                }
                Ok(Outcome::Done)
            }
            Act::GiveBack { generation } => {
                self.expect(*generation, matches!(self.phase, Phase::Waking { .. }))?;
                Ok(self.turn(Phase::Cold))
            }
            Act::Gone { generation } => {
                self.expect(*generation, matches!(self.phase, Phase::Warm { .. }))?;
                Ok(self.turn(Phase::Cold))
            }
            Act::Renew { lease } => {
                self.leases.insert(lease.clone(), now_ms + LEASE_MS);
                self.used_ms = self.used_ms.max(now_ms);
                Ok(Outcome::Endpoint(self.endpoint().filter(|_| !self.retired)))
            }
            Act::Leave { lease, idle_for_ms } => {
                if self.leases.remove(lease).is_some() {
                    self.used_ms = self.used_ms.max(now_ms.saturating_sub(*idle_for_ms));
                }
                Ok(Outcome::Done)
            }
            Act::Cool { idle_ms, quarantine } => Ok(self.cool(*idle_ms, *quarantine, now_ms)),
            Act::Cut { drain_ms } => Ok(self.cut(*drain_ms, now_ms)),
            Act::Cooled { generation } => {
                self.expect(*generation, matches!(self.phase, Phase::Cooling { .. }))?;
                Ok(self.turn(Phase::Cold))
            }
            Act::Freeze { after_ms, quarantine } => Ok(self.freeze(*after_ms, *quarantine, now_ms)),
            Act::Frozen { generation, addr } => {
                self.expect(*generation, matches!(self.phase, Phase::Cooling { .. }) && !self.retired)?;
                Ok(self.turn(Phase::Frozen { addr: *addr }))
            }
            Act::Poise { generation, poised } => {
                self.expect(*generation, self.phase == Phase::Cold && !self.retired)?;
                self.turn(Phase::Cold);
                self.poised = Some(poised.clone());
                Ok(Outcome::Done)
            }
            Act::Adopt { generation, addr } => {
                let cooling = matches!(self.phase, Phase::Cooling { .. });
                self.expect(*generation, self.unclaimed(now_ms) || cooling)?;
                self.used_ms = self.used_ms.max(now_ms);
                Ok(self.turn(Phase::Warm { addr: *addr }))
            }
            Act::Reset { generation } => {
                self.expect(*generation, self.unclaimed(now_ms))?;
                Ok(self.turn(Phase::Cold))
            }
            Act::Discard { generation, quarantine } => {
                self.expect(*generation, self.unclaimed(now_ms))?;
                if *quarantine {
                    return Ok(Outcome::NotYet(NotYet::Quarantine));
                }
                if self.leased(now_ms) {
                    return Ok(Outcome::NotYet(NotYet::Leased));
                }
                self.turn(Phase::Cooling { until_ms: now_ms + COOLING_MS });
                Ok(Outcome::Granted(self.generation))
            }
            Act::Recool { generation } => {
                self.expect(*generation, matches!(self.phase, Phase::Cooling { .. }))?;
                self.turn(Phase::Cooling { until_ms: now_ms + COOLING_MS });
                Ok(Outcome::Granted(self.generation))
            }
            Act::Retire => {
                if !self.retired {
                    (self.retired, self.retired_ms) = (true, now_ms);
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn expect(&self, generation: u64, phase_fits: bool) -> Result<(), Stale> {
        if self.generation == generation && phase_fits { Ok(()) } else { Err(Stale) }
    }

    fn turn(&mut self, phase: Phase) -> Outcome {
        self.generation += 1;
        self.phase = phase;
        self.poised = None;
        Outcome::Done
    }

    fn enter(&mut self, id: &InstanceId, lease: &LeaseId, now_ms: u64) -> Entry {
        if self.retired {
            return Entry::Retired;
        }
        match self.phase {
            Phase::Warm { addr } => {
                self.leases.insert(lease.clone(), now_ms + LEASE_MS);
                self.used_ms = self.used_ms.max(now_ms);
                Entry::Warm(Endpoint { addr, generation: self.generation })
            }
            Phase::Waking { ref owner, until_ms } if until_ms > now_ms && owner == lease => {
                Entry::Claimed(self.claim(id))
            }
            Phase::Waking { until_ms, .. } if until_ms > now_ms => Entry::Wait,
            Phase::Cooling { .. } => Entry::Wait,
            Phase::Broken { until_ms } if until_ms > now_ms => Entry::Broken { retry_ms: until_ms - now_ms },
            Phase::Cold | Phase::Waking { .. } | Phase::Frozen { .. } | Phase::Broken { .. } => {
                // What is free goes with the claim. What an earlier claim took does not: its holder may still open it.
                let poised = self.poised.take().filter(|_| self.phase == Phase::Cold);
                self.turn(Phase::Waking { owner: lease.clone(), until_ms: now_ms + CLAIM_MS });
                self.poised = poised;
                Entry::Claimed(self.claim(id))
            }
        }
    }

    fn claim(&self, id: &InstanceId) -> Claim {
        Claim { id: id.clone(), generation: self.generation, poised: self.poised.clone() }
    }

    fn woken(
        &mut self,
        generation: u64,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<Outcome, Stale> {
        let said_before = generation + 1 == self.generation && self.phase == (Phase::Warm { addr });
        if !said_before {
            self.expect(generation, matches!(self.phase, Phase::Waking { .. }))?;
            self.turn(Phase::Warm { addr });
        }
        self.failures = 0;
        self.start_ms = start_ms.unwrap_or(self.start_ms);
        self.used_ms = self.used_ms.max(now_ms);
        self.leases.insert(lease.clone(), now_ms + LEASE_MS);
        Ok(Outcome::Endpoint(self.endpoint()))
    }

    fn failed(&mut self, generation: u64, now_ms: u64) -> Result<Outcome, Stale> {
        self.expect(generation, matches!(self.phase, Phase::Waking { .. }))?;
        self.failures = self.failures.saturating_add(1);
        let until_ms = now_ms + backoff_ms(self.failures);
        Ok(self.turn(Phase::Broken { until_ms }))
    }

    fn cool(&mut self, idle_ms: u64, quarantine: bool, now_ms: u64) -> Outcome {
        if !matches!(self.phase, Phase::Warm { .. } | Phase::Frozen { .. }) {
            return Outcome::NotYet(NotYet::NotWarm);
        }
        self.grant(if self.retired { 0 } else { idle_ms }, quarantine, now_ms)
    }

    /// The one stop that leases do not hold up. Who holds one is told nothing: its requests end with the instance.
    fn cut(&mut self, drain_ms: u64, now_ms: u64) -> Outcome {
        if !self.retired || !matches!(self.phase, Phase::Warm { .. } | Phase::Frozen { .. }) {
            return Outcome::NotYet(NotYet::NotWarm);
        }
        if !self.overdue(drain_ms, now_ms) {
            return Outcome::NotYet(NotYet::Used);
        }
        self.turn(Phase::Cooling { until_ms: now_ms + COOLING_MS });
        Outcome::Granted(self.generation)
    }

    fn freeze(&mut self, after_ms: u64, quarantine: bool, now_ms: u64) -> Outcome {
        if !matches!(self.phase, Phase::Warm { .. }) || self.retired {
            return Outcome::NotYet(NotYet::NotWarm);
        }
        self.grant(after_ms, quarantine, now_ms)
    }

    /// Gives the right to stop or pause what nobody uses.
    fn grant(&mut self, unused_ms: u64, quarantine: bool, now_ms: u64) -> Outcome {
        if quarantine {
            return Outcome::NotYet(NotYet::Quarantine);
        }
        self.leases.retain(|_, expiry_ms| *expiry_ms > now_ms);
        if !self.leases.is_empty() {
            return Outcome::NotYet(NotYet::Leased);
        }
        if now_ms.saturating_sub(self.used_ms) < unused_ms {
            return Outcome::NotYet(NotYet::Used);
        }
        self.turn(Phase::Cooling { until_ms: now_ms + COOLING_MS });
        Outcome::Granted(self.generation)
    }
}
