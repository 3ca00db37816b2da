//! Asking the builder for a deploy, and passing on what it says.

use std::io;

use func_crash::point;
use func_model::call::BuildCall;
use func_model::event::BuildEvent;
use func_model::{AppName, Revision};
use func_socket::{CallError, call};
use http::Method;

use crate::PostReceive;

/// How a deploy ended, as far as it was heard.
#[derive(Debug)]
pub enum Verdict {
    Good,
    Failed,
    /// The pusher left; the deploy goes on.
    Unheard(io::Error),
}

/// Asks for the deploy of a revision, and tells its events' lines until the last.
pub async fn deploy(
    env: &PostReceive,
    revision: &Revision,
    mut tell: impl FnMut(&[String]) -> io::Result<()>,
) -> Verdict {
    let asked = BuildCall { app: env.app.clone(), revision: revision.clone(), by: env.by.clone() };
    let ended = follow(env, &asked, &mut tell).await;
    let sorry = match ended {
        Ok(verdict) => return verdict,
        Err(sorry) => sorry,
    };
    match tell(&sorry) {
        Ok(()) => Verdict::Failed,
        Err(e) => Verdict::Unheard(e),
    }
}

/// Gives the verdict, or what to tell when the builder could not be heard to the end.
async fn follow(
    env: &PostReceive,
    asked: &BuildCall,
    tell: &mut impl FnMut(&[String]) -> io::Result<()>,
) -> Result<Verdict, Vec<String>> {
    let mut lines = call(&env.builder, Method::POST, "/builds", Some(asked))
        .await
        .map_err(|e| unreachable(&env.app, &e))?;
    point("after_asked");
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) | Err(CallError::Broken { .. }) => return Err(broken_off(&env.app)),
            Err(e) => return Err(unreachable(&env.app, &e)),
        };
        if line.is_empty() {
            continue;
        }
        let Ok(event) = serde_json::from_str::<BuildEvent>(&line) else {
            return Err(vec![
                " !     the builder is of another version than this hook: restart func".to_owned(),
            ]);
        };
        if let Err(e) = tell(&event.lines()) {
            return Ok(Verdict::Unheard(e));
        }
        match event {
            BuildEvent::Failed { .. } => return Ok(Verdict::Failed),
            BuildEvent::Live { .. } | BuildEvent::Superseded { .. } | BuildEvent::Done { .. } => {
                return Ok(Verdict::Good);
            }
            BuildEvent::Queued { .. }
            | BuildEvent::Step { .. }
            | BuildEvent::Log { .. }
            | BuildEvent::Warning { .. } => {}
        }
    }
}

fn unreachable(app: &AppName, error: &CallError) -> Vec<String> {
    vec![
        format!(" !     {app} is stored, but not deployed: {error}"),
        " !     hint: the builder deploys it when it starts".to_owned(),
    ]
}

fn broken_off(app: &AppName) -> Vec<String> {
    vec![
        format!(" !     the builder stopped before the deploy of {app} ended"),
        " !     hint: it goes on when the builder runs again; func releases shows how it ended".to_owned(),
    ]
}
