//! `func apps`: what there is, and what it does.

use std::process::ExitCode;

use func_model::call::AppStatus;
use func_store::DataDir;
use http::Method;

use super::time::{ago, now_ms, print_table};
use crate::server_info::ServerInfo;

/// Lists the apps.
pub async fn run(data: &DataDir) -> anyhow::Result<ExitCode> {
    let apps: Vec<AppStatus> =
        func_socket::call_json(&data.socket("cleaner"), Method::GET, "/apps", None::<&()>).await?;
    if apps.is_empty() {
        println!("There are no apps yet. In the repository of one: func init, then git push func main");
        return Ok(ExitCode::SUCCESS);
    }
    let info = ServerInfo::read(data.root());
    let now_ms = now_ms();
    let mut rows = vec![["APP", "RELEASE", "PHASE", "LAST USED", "URL"].map(String::from).to_vec()];
    rows.extend(apps.iter().map(|app| row(app, info.as_ref(), now_ms)));
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

fn row(app: &AppStatus, info: Option<&ServerInfo>, now_ms: u64) -> Vec<String> {
    let none = || "-".to_owned();
    let mut urls: Vec<String> = info.map(|i| i.app_url(app.app.as_str())).into_iter().collect();
    urls.extend(app.hosts.iter().filter_map(|host| info.map(|i| i.url.replace("{host}", host.as_str()))));
    vec![
        app.app.to_string(),
        app.release.as_ref().map_or_else(none, |r| r.number.to_string()),
        app.phase.clone(),
        app.used_ms.map_or_else(none, |used_ms| ago(used_ms, now_ms)),
        urls.join(" "),
    ]
}
