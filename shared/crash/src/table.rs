//! All points.

/// One point: it stands once in the sources, just after its effect.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub name: &'static str,
    /// Which process is ended by the end-to-end test.
    pub of: &'static str,
    /// What was done just before.
    pub effect: &'static str,
}

const fn point(of: &'static str, name: &'static str, effect: &'static str) -> Point {
    Point { name, of, effect }
}

/// Every point, in the order in which they are passed.
pub const POINTS: &[Point] = &[
    // The push: githost, git's hook, builder.
    point("githost", "after_repository", "the repository of a new app is made"),
    point("githost", "after_git_began", "git is started for a push"),
    point("hook", "after_receive", "the refs are updated, the builder is not asked"),
    point("hook", "after_asked", "the builder is asked, and not heard"),
    point("hook", "after_verdict", "the hook has noted that the deploy failed"),
    point("githost", "after_git_ended", "git has ended, the client does not know how"),
    point("builder", "after_queued", "the push is in the queue"),
    point("builder", "after_attempt", "the attempt is counted on disk"),
    point("builder", "after_number", "the release's number is taken on disk"),
    point("builder", "after_image", "the image is made"),
    point("builder", "after_tag", "the image has its tag"),
    point("builder", "after_manifest", "the manifest is written"),
    point("builder", "after_introduce", "the ledger has given the claim for the first start"),
    point("builder", "after_first_start", "the container runs, the ledger does not know"),
    point("builder", "after_start", "the ledger knows that it is warm, and the builder holds it"),
    point("builder", "after_current", "`current` names the release"),
    point("builder", "after_promote", "the ledger routes to the release"),
    point("builder", "after_left", "the builder has left its lease"),
    point("builder", "after_told", "the end of the deploy is told"),
    // A push whose release does not start.
    point("builder", "after_given_up", "the claim of a first start that failed is ended"),
    point("builder", "after_retire", "the release that failed is retired"),
    point("builder", "after_unmade", "the manifest of the release that failed is removed"),
    point("builder", "after_note", "the revision is noted as failed"),
    // A rollback, a removal.
    point("builder", "after_passed_over", "the head is noted as not to be deployed: it was rolled back"),
    point("builder", "after_aside", "the repository of a removed app is aside"),
    point("builder", "after_app_removed", "the manifests of a removed app are gone"),
    point("builder", "after_dropped", "the route of a removed app is dropped"),
    point("builder", "after_cleared", "the repository and the logs of a removed app are gone"),
    // The wake: edge.
    point("edge", "after_claim", "the ledger has given the claim"),
    point("edge", "after_opened", "the gate is marked as opened, the byte is not written"),
    point("edge", "after_gate", "the byte is in the gate"),
    point("edge", "after_passed", "the gate is marked as passed"),
    point("edge", "after_ready", "the instance answers, the ledger does not know"),
    point("edge", "after_woken", "the ledger knows that it is warm"),
    point("edge", "after_failed", "the ledger knows that the start failed"),
    point("edge", "after_gone", "the ledger knows that the instance is gone"),
    point("edge", "after_kept", "leases are renewed or left"),
    // The wake, and what is made ahead: cleaner.
    point("cleaner", "after_gate_made", "the gate of a container that is made ahead is on disk"),
    point("cleaner", "after_create", "the container is created"),
    point("cleaner", "after_container_start", "the container is started"),
    point("cleaner", "after_held", "the process waits at its gate, the ledger does not know"),
    point("cleaner", "after_poised", "the ledger knows what was made ahead"),
    point("cleaner", "after_started", "the instance is ready, whoever asked is not answered"),
    point("cleaner", "after_discard", "why a start failed is in the log, and its container is there still"),
    // The freeze.
    point("cleaner", "after_freeze", "the ledger has given the permit to pause"),
    point("cleaner", "after_pause", "the container is paused"),
    point("cleaner", "after_frozen", "the ledger knows that it is frozen"),
    point("cleaner", "after_resume", "the container goes on, the ledger does not know"),
    // The stop.
    point("cleaner", "after_cool", "the ledger has given the permit to stop"),
    point("cleaner", "after_mark", "the stop is marked on disk"),
    point("cleaner", "after_stop", "the process has ended"),
    point("cleaner", "after_output", "the output is kept"),
    point("cleaner", "after_remove", "the container is removed, its gate is not"),
    point("cleaner", "after_unmark", "the stop's mark is removed"),
    point("cleaner", "after_cooled", "the ledger knows that it is cold"),
    // Putting right.
    point("cleaner", "after_kill", "a container of no use is killed"),
    point("cleaner", "after_settle", "the ledger is put right by the plan"),
    point("cleaner", "after_step", "a step of the plan is done"),
    point("cleaner", "after_restore", "the lost ledger is filled"),
];
