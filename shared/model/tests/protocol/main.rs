//! The protocol, checked: every state that two edges, a cleaner, an engine and a ledger can get into, with crashes,
//! deaths of containers, losses of the ledger, switches of releases and late messages at every point.
//!
//! It runs the real `Record::apply` and the real `plan`. What must never be is searched for in every state and step:
//!
//! - a process is stopped, removed or paused while a request is in it;
//! - a record is frozen while a request is in its process;
//! - a gate is opened twice, or paused;
//! - a record is warm, nothing serves, and the plan is silent;
//! - a state from which rest cannot be reached without another request or another fault: an orphan, an actor that
//!   waits for ever. Rest is cold (or broken, or forgotten), with no container, or with a poised one that the record has.
//!
//! Two replicas of one release are in `replicas`. The builder's switch is in `leases`, in `replicas`, and in the world of
//! gates with one edge; with two edges that has 1.1 million states.
//!
//! Two processes of one instance cannot be: an instance is a name, and the engine gives it to one container.
//!
//! One exception is allowed, and has to end by itself: a cleaner crashes while it pauses, the ledger is lost before the
//! pause is done, and the instance is restored as warm. The late pause then meets traffic, and a second loss may restore
//! that as frozen, or as cold; the plan lets go on what is paused and warm, or paused and leased.
//!
//! Taken for granted, each shown to matter by a knock-out:
//!
//! - A kill by a start, of its own container or of a spent gate, ends with its turn (`KillsEnd`). If the cleaner crashes,
//!   or gives the call up, the kill may meet an app that got ready just then: its first requests break, nothing else.
//!
//! - Who looked a route up before its release was replaced has entered before the shortest drain is over, or looks again
//!   before it sends: `Cut` may end what came before that, and nothing that comes later, but at an edge that does not reach
//!   the ledger. So a release that is live again gets its route last (`RouteLast`).
//!
//! That an edge occupies what it has a lease on (`run/occupied/`) is not in the model: it only keeps the cleaner from
//! stops and pauses that the ledger allows, and an edge enters beyond its lease only where it occupies.
//!
//! A call that the cleaner gave up is as one of a cleaner that crashed. Extending a claim changes nothing but who knows:
//! here every claim may end at any time.
//!
//! Sound too in an earlier state of the model (what did not get ready was told after its stop, not before), and too many
//! states for a test: two edges with crashes (1.6 million), with losses and crashes of edges
//! (1.3), with deaths and losses (0.9), with switches and freezes (1.1); one edge with all but losses (0.8); leases with
//! everything (0.6). What is here are their parts.
//!
//! Each rule that this needs is taken out once, by weakening what is around `apply`, and each time the search finds
//! what goes wrong. `cargo test -p func-model --test protocol -- --nocapture` shows how many states there are, and the
//! shortest way to each wrong one.

mod brief;
mod clock;
mod gates;
mod leases;
mod ledger;
mod lessee;
mod opener;
mod replicas;
mod rules;
mod search;
mod starts;
mod state;
mod turns;

use gates::Gates;
use leases::Leases;
use replicas::Replicas;
use search::{Verdict, World, search};

const STOPPED: &str = "stopped under traffic";
const STUCK: &str = "never rests";

fn sound(name: &str, world: &impl World) {
    let verdict = search(name, world);
    assert!(matches!(verdict, Verdict::Sound), "{verdict:?}");
}

/// Without `rule` an instance is stopped under traffic.
fn stops(rule: leases::Without, world: Leases) {
    let verdict = search(&format!("leases without {rule:?}"), &Leases { without: rule, ..world });
    assert!(matches!(verdict, Verdict::Wrong(STOPPED, _)), "{verdict:?}");
}

/// Without `rule` what must never be is.
fn breaks(rule: gates::Without, what: &str, world: Gates) {
    let found = match search(&format!("gates without {rule:?}"), &Gates { without: rule, ..world }) {
        Verdict::Sound => "sound",
        Verdict::Wrong(why, _) => why,
        Verdict::Stuck(_) => STUCK,
    };
    assert_eq!(found, what, "without {rule:?}");
}

#[test]
fn leases_hold_when_any_actor_crashes() {
    sound("leases: crashes", &Leases::new());
}

#[test]
fn leases_hold_when_containers_die_and_the_ledger_is_lost() {
    sound("leases: crashes, deaths, losses", &Leases { deaths: true, losses: true, ..Leases::new() });
}

#[test]
fn leases_hold_when_releases_switch() {
    sound("leases: crashes, switches", &Leases { switches: true, ..Leases::new() });
}

#[test]
fn a_cut_ends_only_the_last_requests_of_what_was_replaced_for_long() {
    sound("leases: crashes, switches, cuts", &cutting());
    sound("leases: crashes, deaths, switches, cuts", &Leases { deaths: true, ..cutting() });
    sound("leases: losses, switches, cuts", &Leases { losses: true, crashes: false, ..cutting() });
}

fn cutting() -> Leases {
    Leases { switches: true, cuts: true, ..Leases::new() }
}

#[test]
fn two_replicas_of_one_release_hold_when_the_ledger_is_lost_and_the_release_is_removed() {
    sound("replicas: losses, switches, removal", &Replicas::new());
}

#[test]
fn each_rule_of_replicas_is_needed() {
    for without in [replicas::Without::Names, replicas::Without::AnyReplica] {
        let verdict =
            search(&format!("replicas without {without:?}"), &Replicas { without, ..Replicas::new() });
        assert!(matches!(verdict, Verdict::Wrong(STOPPED, _)), "{verdict:?}");
    }
}

#[test]
fn each_rule_of_leases_is_needed() {
    use leases::Without;
    stops(Without::LeaseCheck, Leases::new());
    stops(Without::Margin, Leases::new());
    stops(Without::Generation, Leases::new());
    stops(Without::FirstLease, Leases::new());
    stops(Without::CleanerRestores, Leases { losses: true, ..Leases::new() });
    stops(Without::Quarantine, Leases { losses: true, ..Leases::new() });
    stops(Without::Serial, Leases::new());
    stops(Without::LeasePerInstance, Leases { deaths: true, ..Leases::new() });
    stops(Without::Drain, cutting());
    stops(Without::CutsRetired, cutting());
    stops(Without::RouteLast, cutting());
}

fn one_edge() -> Gates {
    Gates { edges: 1, freezes: true, ..Gates::new() }
}

/// Two edges; no former address is used again, so that there are fewer states.
fn new_addresses() -> Gates {
    Gates { reuses: false, ..Gates::new() }
}

fn crashing(gates: Gates) -> Gates {
    Gates { edge_crashes: true, cleaner_crashes: true, ..gates }
}

#[test]
fn gates_hold_when_the_cleaner_crashes_at_any_point() {
    sound("gates: cleaner crashes", &Gates { cleaner_crashes: true, ..new_addresses() });
}

#[test]
fn gates_hold_when_edges_crash_and_containers_die() {
    let world = Gates { edge_crashes: true, deaths: true, freezes: true, ..Gates::new() };
    sound("gates: edges crash, deaths, freezes", &world);
}

#[test]
fn gates_hold_when_the_ledger_is_lost() {
    sound("gates: losses", &Gates { losses: true, ..new_addresses() });
}

#[test]
fn what_is_not_poised_holds_as_well() {
    let world = Gates { ahead: false, deaths: true, freezes: true, ..crashing(Gates::new()) };
    sound("gates: nothing made ahead, crashes, deaths, freezes", &world);
}

#[test]
fn one_edge_holds_when_any_actor_crashes_and_containers_die() {
    let world = Gates { deaths: true, ..crashing(one_edge()) };
    sound("gates, one edge: crashes, deaths, freezes", &world);
}

#[test]
fn one_edge_holds_when_calls_of_a_crashed_cleaner_outlive_the_ledger_twice() {
    sound("gates, one edge: crashes, losses, freezes", &Gates { losses: true, ..crashing(one_edge()) });
}

#[test]
fn one_edge_holds_when_all_but_the_actors_fails() {
    let world = Gates { deaths: true, losses: true, switches: true, ..one_edge() };
    sound("gates, one edge: deaths, losses, switches, freezes", &world);
}

#[test]
fn each_rule_of_gates_is_needed() {
    use gates::Without;
    let lossy = || Gates { losses: true, ..Gates::new() };
    breaks(Without::Exclusive, "opened twice", Gates::new());
    breaks(Without::Mark, "opened twice", one_edge());
    breaks(Without::StartChecks, STOPPED, Gates::new());
    breaks(Without::Turn, STOPPED, Gates::new());
    breaks(Without::FreezeChecks, "paused under traffic", one_edge());
    breaks(Without::KillsOwn, STOPPED, lossy());
    breaks(Without::ClaimTakes, STOPPED, Gates::new());
    breaks(Without::PoiseCompares, STOPPED, Gates { losses: true, ..one_edge() });
    breaks(Without::RestoreTurns, STOPPED, lossy());
    breaks(Without::SpentSeen, "warm, and nothing serves", Gates { deaths: true, ..Gates::new() });
    breaks(Without::KillsEnd, STOPPED, crashing(one_edge()));
    breaks(Without::StopsMarked, STOPPED, Gates { losses: true, ..crashing(one_edge()) });
    let calls = Gates { losses: true, cleaner_crashes: true, ahead: false, ..one_edge() };
    breaks(Without::FrozenThaws, STUCK, calls);
}

/// These rules save time and containers. Should safety come to need one, this says so.
#[test]
fn safety_does_not_hang_on_the_rules_that_are_for_order() {
    use gates::Without;
    for rule in [Without::Resume, Without::ClearRemoves, Without::PauseLooks] {
        let lossy = Gates { without: rule, losses: true, edge_crashes: true, ..one_edge() };
        sound(&format!("gates, one edge: edge crashes, losses, without {rule:?}"), &lossy);
    }
}
