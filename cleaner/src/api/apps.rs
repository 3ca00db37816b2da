//! The apps, and what each is doing.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use func_ledger::LedgerError;
use func_model::call::AppStatus;
use func_model::{AppName, Phase, Record, ReleaseId};
use http::StatusCode;
use tracing::warn;

use crate::Cleaner;

pub(super) fn failed(error: &anyhow::Error) -> Response {
    warn!("a call failed: {error:#}");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}

/// Answers with the state of every app.
pub(super) async fn apps(State(cleaner): State<Arc<Cleaner>>) -> Response {
    match statuses(&cleaner).await {
        Ok(statuses) => Json(statuses).into_response(),
        Err(e) => failed(&e),
    }
}

/// Gives the state of every app.
pub(super) async fn statuses(cleaner: &Cleaner) -> anyhow::Result<Vec<AppStatus>> {
    let records = match cleaner.config.watch.records().await {
        Ok((records, _)) => Some(records),
        Err(LedgerError::Lost | LedgerError::Away(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let mut apps: BTreeSet<AppName> = cleaner.config.manifests.apps()?.into_iter().collect();
    apps.extend(cleaner.config.data.repositories()?);
    let mut statuses = Vec::with_capacity(apps.len());
    for app in apps {
        let number = cleaner.config.manifests.current(&app)?;
        let release = number.map(|number| ReleaseId { app: app.clone(), number });
        let hosts = release.as_ref().and_then(|id| cleaner.release(id)).map(|r| r.hosts).unwrap_or_default();
        let record = match (&release, &records) {
            (Some(release), Some(records)) => records.get(&release.instance()),
            (Some(_) | None, _) => None,
        };
        let phase = match (&release, &records) {
            (None, _) => "not deployed",
            (Some(_), None) => "unknown",
            (Some(_), Some(_)) => record.map_or("cold", shown),
        };
        statuses.push(AppStatus {
            app,
            release,
            phase: phase.into(),
            used_ms: record.map(|r| r.used_ms),
            hosts,
        });
    }
    Ok(statuses)
}

/// The phase's name, as people are told: what rests with its next start made ahead is poised.
fn shown(record: &Record) -> &'static str {
    match (&record.phase, &record.poised) {
        (Phase::Cold, Some(_)) => "poised",
        (phase, _) => phase.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::poised;

    #[test]
    fn what_rests_with_its_next_start_made_ahead_is_shown_as_poised_and_only_then() {
        let cold = Record::new(0);
        assert_eq!(shown(&cold), "cold");
        assert_eq!(shown(&Record { poised: Some(poised(1)), ..cold.clone() }), "poised");
        let broken = Record { phase: Phase::Broken { until_ms: 1 }, ..cold.clone() };
        assert_eq!(shown(&broken), "broken");
        let addr = "10.0.0.2:80".parse().expect("an address");
        assert_eq!(shown(&Record { phase: Phase::Frozen { addr }, ..cold }), "frozen");
    }
}
