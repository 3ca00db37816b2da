//! Places where a test may end the process, to prove that nothing is lost there.

/// Ends the process at once if the environment's `FUNC_CRASH_AT` names this place. Nothing without the feature
/// `crash-points`.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var_os("FUNC_CRASH_AT").is_some_and(|at| at == name) {
        std::process::abort();
    }
}

/// Does nothing: the feature `crash-points` is off.
#[cfg(not(feature = "crash-points"))]
pub fn point(_name: &str) {}
