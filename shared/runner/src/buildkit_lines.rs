//! BuildKit's progress as lines that a person reads. Pure.
//!
//! BuildKit tells of vertices (`[2/3] RUN make`): that there will be one, that it began, came from the cache, printed,
//! failed. It tells of each many times; here each is told once.
//!
//! What another build of the same content does at the same time is done once, and told to that build only: here such a
//! step is announced and never begins.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::lines::{Splitter, cut};

/// Steps of BuildKit's own, which no Dockerfile names.
const OWN_STEPS: [&str; 2] = ["[internal]", "copy /context"];
/// The step after all of a Dockerfile's.
const LAST_STEP: &str = "exporting to ";
/// The step that asks for a base image that is not on this machine.
const BASE_STEP: &str = "[internal] load metadata for ";
/// How many steps of one build are told apart; a Dockerfile has far fewer.
const STEPS_MAX: usize = 10_000;

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct BuildkitLines {
    steps: HashMap<String, Told>,
    /// The steps that have not begun, in the order in which they were announced.
    announced: Vec<String>,
    failed: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct Told {
    name: String,
    named: bool,
    cached: bool,
    output: [Splitter; 2],
}

impl BuildkitLines {
    /// Takes one report, and gives what is new in it.
    pub(crate) fn push(&mut self, report: StatusResponse) -> Vec<String> {
        let mut lines = Vec::new();
        for vertex in report.vertexes {
            self.vertex(vertex, &mut lines);
        }
        for log in report.logs {
            let Some(step) = self.step(log.vertex) else { continue };
            lines.extend(step.output[usize::from(log.stream == 2)].push(&log.msg));
        }
        for warning in report.warnings {
            lines.push(cut(format!("warning: {}", String::from_utf8_lossy(&warning.short))));
        }
        lines
    }

    /// Says which step failed and how; `error` is how the engine put it.
    pub(crate) fn said(&self, error: &str) -> String {
        match &self.failed {
            Some((step, why)) => step_failed(step, why),
            None => readable(error),
        }
    }

    fn step(&mut self, digest: String) -> Option<&mut Told> {
        if self.steps.len() >= STEPS_MAX && !self.steps.contains_key(&digest) {
            return None;
        }
        Some(self.steps.entry(digest).or_default())
    }

    fn vertex(&mut self, vertex: Vertex, lines: &mut Vec<String>) {
        let Vertex { digest, name, cached, started, completed, error, .. } = vertex;
        if started.is_some() && name.starts_with(LAST_STEP) {
            self.shared(lines);
        }
        let own = OWN_STEPS.iter().any(|start| name.starts_with(start));
        if started.is_none()
            && !cached
            && !own
            && !self.steps.contains_key(&digest)
            && self.announced.len() < STEPS_MAX
        {
            self.announced.push(digest.clone());
        }
        let Some(step) = self.step(digest) else { return };
        step.name = name;
        if cached && !step.cached && !own {
            (step.cached, step.named) = (true, true);
            lines.push(cut(format!("CACHED {}", step.name)));
        }
        if started.is_some() && !step.named && !own {
            step.named = true;
            lines.push(cut(step.name.clone()));
        }
        if completed.is_some() {
            lines.extend(step.output.iter_mut().filter_map(Splitter::finish));
        }
        let name = step.name.clone();
        // What was cancelled failed only because another step did.
        if !error.is_empty() && !error.contains("context canceled") && self.failed.is_none() {
            lines.push(cut(format!("ERROR {}", step_failed(&name, &error))));
            self.failed = Some((name, error));
        }
    }
}

impl BuildkitLines {
    /// Tells of what is done and never began: it was another build's.
    fn shared(&mut self, lines: &mut Vec<String>) {
        for digest in std::mem::take(&mut self.announced) {
            let Some(step) = self.steps.get_mut(&digest).filter(|step| !step.named) else { continue };
            (step.cached, step.named) = (true, true);
            lines.push(cut(format!("CACHED {}", step.name)));
        }
    }
}

/// Says how a step failed: `RUN make` ended with exit code 2.
fn step_failed(step: &str, error: &str) -> String {
    let error = readable(error);
    if let Some(base) = step.strip_prefix(BASE_STEP) {
        // A network's error ends with its cause; before that it names addresses, which are nobody's business.
        let why = if error.contains("dial tcp") { error.rsplit(": ").next() } else { None };
        return cut(format!("the base image {base} cannot be had: {}", why.unwrap_or(&error)));
    }
    let command = match step.strip_prefix('[').and_then(|s| s.split_once("] ")) {
        // `[2/3] RUN make`, `[build 1/2] COPY . .`; not `[internal] load metadata for x`.
        Some((place, command)) if place.contains('/') => command,
        Some(_) | None => return error,
    };
    match error.rsplit_once("exit code: ") {
        Some((_, code)) => cut(format!("`{command}` ended with exit code {code}")),
        None => cut(format!("`{command}`: {error}")),
    }
}

/// Takes the engine's names for its own parts off an error.
pub(crate) fn readable(error: &str) -> String {
    const PARTS: [&str; 7] = [
        "failed to solve: ",
        "failed to solve with frontend dockerfile.v0: ",
        "failed to build LLB: ",
        "failed to create LLB definition: ",
        "rpc error: code = Unknown desc = ",
        "rpc error: code = Canceled desc = ",
        "failed to compute cache key: ",
    ];
    let mut rest = error.trim();
    while let Some(shorter) = PARTS.iter().find_map(|part| rest.strip_prefix(part)) {
        rest = shorter;
    }
    let absent = ["failed to read dockerfile", "Cannot locate specified Dockerfile"];
    if absent.iter().any(|start| rest.starts_with(start)) {
        return "there is no Dockerfile in what was pushed".to_owned();
    }
    cut(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::VertexLog;

    use super::*;

    fn step(digest: &str, name: &str) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            started: Some(Default::default()),
            ..Default::default()
        }
    }

    fn report(vertexes: Vec<Vertex>) -> StatusResponse {
        StatusResponse { vertexes, ..Default::default() }
    }

    fn log(digest: &str, stream: i64, text: &str) -> StatusResponse {
        let log = VertexLog { vertex: digest.into(), stream, msg: text.into(), ..Default::default() };
        StatusResponse { logs: vec![log], ..Default::default() }
    }

    #[test]
    fn a_step_is_named_once_and_its_output_follows_in_whole_lines() {
        let mut lines = BuildkitLines::default();
        assert_eq!(lines.push(report(vec![step("a", "[2/3] RUN make")])), ["[2/3] RUN make"]);
        assert!(lines.push(report(vec![step("a", "[2/3] RUN make")])).is_empty());
        assert!(lines.push(log("a", 1, "cc -c")).is_empty());
        assert_eq!(lines.push(log("a", 2, "warning\n")), ["warning"]);
        assert_eq!(lines.push(log("a", 1, " x.c\nld")), ["cc -c x.c"]);
        let done = Vertex { completed: Some(Default::default()), ..step("a", "[2/3] RUN make") };
        assert_eq!(lines.push(report(vec![done])), ["ld"]);
    }

    #[test]
    fn a_cached_step_is_told_as_cached_and_the_builders_own_steps_are_not_told() {
        let mut lines = BuildkitLines::default();
        let cached = Vertex { cached: true, ..step("a", "[2/3] RUN make") };
        let own = step("b", "[internal] load build context");
        assert_eq!(lines.push(report(vec![own, cached.clone(), cached])), ["CACHED [2/3] RUN make"]);
    }

    #[test]
    fn a_step_that_another_build_did_at_the_same_time_is_told_as_cached() {
        let announced = |digest: &str, name: &str| Vertex { started: None, ..step(digest, name) };
        let mut lines = BuildkitLines::default();
        let context = step("a", "[internal] load remote build context");
        let steps = vec![
            context,
            announced("b", "copy /context /"),
            announced("c", "[1/2] COPY a /"),
            announced("d", "[2/2] RUN make"),
        ];
        assert!(lines.push(report(steps)).is_empty());
        assert_eq!(lines.push(report(vec![step("d", "[2/2] RUN make")])), ["[2/2] RUN make"]);
        let export = step("e", "exporting to image");
        assert_eq!(lines.push(report(vec![export.clone()])), ["CACHED [1/2] COPY a /", "exporting to image"]);
        assert!(lines.push(report(vec![export])).is_empty());
    }

    #[test]
    fn a_failed_step_is_named_with_its_exit_code() {
        for error in [
            "executor failed running [/bin/sh -c make]: exit code: 2",
            "process \"/bin/sh -c make\" did not complete successfully: exit code: 2",
        ] {
            let mut lines = BuildkitLines::default();
            let other = Vertex { error: "context canceled".into(), ..step("b", "[1/1] RUN sleep 9") };
            let failed = Vertex { error: error.into(), ..step("a", "[build 2/3] RUN make") };
            lines.push(report(vec![other, failed]));
            assert_eq!(lines.said("failed to solve: x"), "`RUN make` ended with exit code 2");
        }
    }

    #[test]
    fn a_base_image_that_cannot_be_had_is_named_without_any_address() {
        let error = "failed to do request: Head \"https://x.invalid/v2/a\": dial tcp: lookup x.invalid on \
                     10.0.0.1:53: no such host";
        let said = step_failed("[internal] load metadata for x.invalid/a:1", error);
        assert_eq!(said, "the base image x.invalid/a:1 cannot be had: no such host");
    }

    #[test]
    fn an_error_without_a_step_loses_the_names_of_the_engines_parts() {
        let lines = BuildkitLines::default();
        let error = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
                     dockerfile parse error line 2: unknown instruction: FOO";
        assert_eq!(lines.said(error), "dockerfile parse error line 2: unknown instruction: FOO");
        let error = "failed to solve with frontend dockerfile.v0: failed to read dockerfile: open /var/lib/docker/tmp/x";
        assert_eq!(lines.said(error), "there is no Dockerfile in what was pushed");
    }
}
