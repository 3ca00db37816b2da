//! The reckoning after processes were killed: what may have failed, what must be there.

use std::process::Command;
use std::sync::atomic::Ordering;

use crate::apart::Apart;
use crate::killer::Killer;
use crate::load::{Answer, Counts, Failure};
use crate::pusher::Pusher;
use crate::world::until;

/// No request failed but those whose own edge was killed; gives those that were told to come back instead.
pub fn only_their_own_edges_failed(counts: &Counts, killer: &Killer) -> Vec<String> {
    let failed = counts.unexcused(|failure| killer.excuses(failure));
    let (postponed, lost): (Vec<_>, Vec<_>) = failed.iter().partition(|f| f.answer == Answer::Postponed);
    let excused = counts.failed() - failed.len() as u64;
    eprintln!(
        "sent {}, answered {}, of them woken {}; failed {excused} at an edge that was killed, {} postponed, {} lost",
        counts.sent.load(Ordering::Relaxed),
        counts.answered(),
        counts.woken.load(Ordering::Relaxed),
        postponed.len(),
        lost.len(),
    );
    eprintln!("killed {:?}; edges were away for {} s together", killer.kills(), killer.away().as_secs());
    let told = |all: &[&Failure]| all.iter().take(30).map(|f| f.text.clone()).collect::<Vec<_>>();
    assert!(lost.is_empty(), "lost: {:#?}", told(&lost));
    assert!(counts.answered() > excused, "mostly it answers");
    told(&postponed)
}

/// What was pushed is live: what was acknowledged, or what came later; and what arrived last is.
pub fn pushes_are_kept(apart: &Apart, pushers: &mut [Pusher]) {
    for pusher in pushers {
        let (app, pushes) = (&pusher.app, pusher.pushes());
        eprintln!("{app}: {pushes:?}");
        assert!(pushes.stuck.is_empty(), "stuck: {:#?}", pushes.stuck);
        let arrived = pusher.arrived(&apart.world);
        assert!(arrived >= pushes.acknowledged_version, "{app}: {arrived} has arrived");
        until(&format!("{app} {arrived}, which has arrived, is live"), || {
            let served = pusher.served(&apart.world);
            assert!(served.is_none_or(|v| v >= pushes.acknowledged_version), "{app}: {served:?} is served");
            served == Some(arrived)
        });
        pusher.change();
        assert!(pusher.push(), "an interrupted push can be repeated");
        until("the next push is live", || pusher.served(&apart.world) == Some(pusher.arrived(&apart.world)));
    }
}

/// Every app says `hello` at both edges.
pub fn all_answer<A: AsRef<str>>(apart: &Apart, apps: &[A]) {
    for app in apps.iter().map(AsRef::as_ref) {
        for edge in ["edge", "edge2"] {
            let (host, url) =
                (format!("Host: {app}.localhost"), format!("http://{}/", apart.edge_addr(edge)));
            let out = Command::new("curl").args(["-sS", "--max-time", "60", "-H", &host, &url]).output();
            let said = String::from_utf8_lossy(&out.expect("curl runs").stdout).into_owned();
            assert!(said.starts_with("hello"), "{app} at the {edge}: {said}");
        }
    }
}
