//! What an instance prints: read from the engine, followed, and kept when its container goes.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptions;
use func_model::InstanceId;
use func_store::{LogFile, remove_log};
use futures_util::{Stream, StreamExt, stream};
use tracing::{debug, warn};

use crate::call::call;
use crate::container::Container;
use crate::gate;
use crate::lines::Splitter;
use crate::{Docker, LineStream, RunnerError, StartError};

/// How much of an instance's last output is kept in its log when its container is removed.
pub(crate) const KEPT_LINES: usize = 2_000;
const KEPT_BYTES: usize = 1024 * 1024;
const READ: Duration = Duration::from_secs(20);
/// The name of the log in `logs/<app>/`.
const LOG: &str = "instance";

/// The two streams of an instance, each cut into lines by itself.
#[derive(Default)]
struct Output {
    stdout: Splitter,
    stderr: Splitter,
}

impl Output {
    fn push(&mut self, output: LogOutput) -> Vec<String> {
        match output {
            LogOutput::StdErr { message } => self.stderr.push(&message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                self.stdout.push(&message)
            }
        }
    }

    fn finish(&mut self) -> impl Iterator<Item = String> {
        self.stdout.finish().into_iter().chain(self.stderr.finish())
    }
}

impl Docker {
    /// Gives the last `lines` lines of a container as they are now.
    pub(crate) async fn last_lines(&self, container: &str, lines: usize) -> Result<Vec<String>, RunnerError> {
        let mut output = Output::default();
        let mut last = VecDeque::new();
        let mut bytes = 0;
        let mut keep = |line: String| {
            bytes += line.len() + 1;
            last.push_back(line);
            while bytes > KEPT_BYTES || last.len() > lines {
                bytes -= last.pop_front().map_or(0, |l: String| l.len() + 1);
            }
        };
        let mut logs = Box::pin(self.engine().await?.logs(container, Some(options(lines, false))));
        let read = async {
            while let Some(piece) = logs.next().await {
                output.push(piece?).into_iter().for_each(&mut keep);
            }
            output.finish().for_each(&mut keep);
            Ok::<(), Error>(())
        };
        call("give a log", READ, read).await?;
        Ok(last.into())
    }

    /// Gives the last lines of a container, and what follows if `follow`, until it ends.
    pub(crate) async fn lines(
        &self,
        container: &str,
        lines: usize,
        follow: bool,
    ) -> Result<LineStream, RunnerError> {
        let logs = self.engine().await?.logs(container, Some(options(lines, follow)));
        Ok(Box::pin(split(logs)))
    }

    /// Appends the end of a container's output to the log of its app; nothing if it never was the app. What cannot be read
    /// or written is told in our own log: it does not keep a container from being removed.
    pub(crate) async fn keep_output(&self, container: &Container) {
        match self.last_lines(&container.id, KEPT_LINES).await {
            Ok(lines) => self.keep_lines(container, lines).await,
            Err(error) => warn!(container = container.id, %error, "the output of a container is lost"),
        }
    }

    /// Appends the last lines of a container that has ended.
    pub(crate) async fn keep_lines(&self, container: &Container, lines: Vec<String>) {
        let was_let_go = container.gate.is_none_or(|gate| gate::is_passed(&self.gates(), gate));
        if was_let_go || !lines.is_empty() {
            self.append(&container.instance, header(container), lines).await;
        }
    }

    /// Appends why an instance did not start to the log of its app, if the app can do something about it: there may be
    /// no container, and then no output, that tells it.
    pub(crate) async fn keep_failure(&self, id: &InstanceId, error: &StartError) {
        if error.is_apps_fault() {
            self.keep_line(id, format!("--- {id} did not start: {error}{}", advice(error))).await;
        }
    }

    /// Appends a line of func's own to the log of an app.
    pub(crate) async fn keep_line(&self, id: &InstanceId, line: String) {
        self.append(id, line, Vec::new()).await;
    }

    /// Appends lines to the log of an app. One that was removed keeps none: its last instance ends after its logs are gone,
    /// and the next app of its name must not show them.
    async fn append(&self, id: &InstanceId, header: String, lines: Vec<String>) {
        let (dir, manifests) = (self.config().data.logs(&id.release.app), self.config().manifests.clone());
        let release = id.release.clone();
        let write = move || -> Result<usize, func_store::StoreError> {
            if manifests.is_removed(&release)? {
                return Ok(0);
            }
            let mut log = LogFile::open(&dir, LOG)?;
            log.line(&header)?;
            lines.iter().try_for_each(|line| log.line(line))?;
            // Its removal may have begun meanwhile, and be past its logs.
            if manifests.is_removed(&release)? {
                remove_log(&dir, LOG)?;
            }
            Ok(lines.len())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(lines)) => debug!(app.name = %id.release.app, lines, "kept the output of {id}"),
            Ok(Err(error)) => {
                warn!(app.name = %id.release.app, %error, "the output of {id} could not be kept");
            }
            Err(error) => warn!(app.name = %id.release.app, %error, "the output of {id} could not be kept"),
        }
    }
}

fn header(container: &Container) -> String {
    let Container { instance, started, finished, exit_status, out_of_memory, .. } = container;
    let why = if *out_of_memory { ", out of memory" } else { "" };
    format!("--- {instance}, started {started}, ended {finished}, exit status {exit_status}{why}")
}

/// Says what to do where nobody who pushes has been told.
fn advice(error: &StartError) -> &'static str {
    match error {
        StartError::NoImage { .. } => {
            "; push again (git commit --allow-empty makes something to push), or roll back: func rollback"
        }
        StartError::Exited { .. }
        | StartError::Silent { .. }
        | StartError::Unhealthy { .. }
        | StartError::NoCommand { .. }
        | StartError::Stale { .. }
        | StartError::Busy { .. }
        | StartError::Runner(_) => "",
    }
}

fn options(lines: usize, follow: bool) -> LogsOptions {
    LogsOptions { follow, stdout: true, stderr: true, tail: lines.to_string(), ..Default::default() }
}

/// Turns the engine's pieces into lines; ends with them, also when the engine goes away.
fn split(logs: impl Stream<Item = Result<LogOutput, Error>> + Send) -> impl Stream<Item = String> + Send {
    let ends = stream::once(async { None });
    let pieces = logs.take_while(|piece| std::future::ready(piece.is_ok())).map(Result::ok).chain(ends);
    pieces
        .scan(Output::default(), |output, piece| {
            let lines = match piece {
                Some(piece) => output.push(piece),
                None => output.finish().collect(),
            };
            std::future::ready(Some(lines))
        })
        .flat_map(stream::iter)
}
