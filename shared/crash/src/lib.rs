//! Points where a test may end a process at once, to prove that nothing is lost there: one after every effect.
//!
//! `FUNC_CRASH_AT=<name>`, or `<name>:<n>` for the n-th time, ends the process that it is given to, as `kill -9` does.
//! Without the feature `points` nothing of this is compiled in.

mod table;

pub use table::POINTS;

/// The variable that names a point.
pub const VARIABLE: &str = "FUNC_CRASH_AT";

/// Ends the process at once if [`VARIABLE`] names this point and it was passed often enough.
///
/// # Panics
/// If the variable names no point, or not the how-manieth time: a test that waits for it would prove nothing.
#[cfg(feature = "points")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static AT: OnceLock<Option<at::At>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let at = AT.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| at::At::from_text(&text)));
    let Some(at) = at.as_ref().filter(|at| at.name == name) else { return };
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 == at.time {
        // For whoever looks for it in the log, or in what git passes on of the hook.
        eprintln!("{VARIABLE}: ended at {name}");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way.
        std::process::abort();
    }
}

/// Does nothing: the feature `points` is off.
#[cfg(not(feature = "points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Gives the variable and its value if it names a point of the hook, for the git that calls it: a process of its own,
/// whose environment has nothing else of ours.
#[cfg(feature = "points")]
pub fn hooks_own() -> Option<(&'static str, String)> {
    let value = std::env::var(VARIABLE).ok()?;
    let is_hooks =
        POINTS.iter().any(|point| point.of == "hook" && point.name == at::At::from_text(&value).name);
    is_hooks.then_some((VARIABLE, value))
}

/// Gives nothing: the feature `points` is off.
#[cfg(not(feature = "points"))]
pub fn hooks_own() -> Option<(&'static str, String)> {
    None
}

#[cfg(feature = "points")]
mod at {
    /// Where to end: at the `time`-th passing of a point.
    pub struct At {
        pub name: &'static str,
        pub time: u32,
    }

    impl At {
        pub fn from_text(text: &str) -> Self {
            let (name, time) = text.split_once(':').unwrap_or((text, "1"));
            let known = super::POINTS.iter().find(|point| point.name == name);
            let name = known.unwrap_or_else(|| panic!("{}: there is no point {name}", super::VARIABLE)).name;
            let time = time.parse().expect("FUNC_CRASH_AT: a number after the colon");
            Self { name, time }
        }
    }
}
