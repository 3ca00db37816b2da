//! Routes: which release a host name leads to.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{AppName, HostName, NameError, Release, ReleaseId, ReleaseNumber};

/// Where an app's requests go: its live release and the hosts it has besides `<app>.<domain>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub number: ReleaseNumber,
    pub hosts: Vec<HostName>,
    /// Whether browsers are shown a page while it starts.
    #[serde(default)]
    pub waiting_page: bool,
}

impl Route {
    /// Gives the route that leads to a release.
    pub fn of(release: &Release) -> Self {
        Self { number: release.id.number, hosts: release.hosts.clone(), waiting_page: release.waiting_page }
    }
}

/// All routes, ready to be asked: exact hosts first, then `<app>.<domain>`.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    hosts: HashMap<HostName, ReleaseId>,
    apps: HashMap<AppName, ReleaseId>,
    /// The apps whose browsers are shown a page while they start.
    waiting_pages: HashSet<AppName>,
    domain: Option<HostName>,
}

impl RouteTable {
    /// Builds the table. Where two apps name the same host, the first by name has it.
    pub fn new(domain: HostName, routes: &BTreeMap<AppName, Route>) -> Self {
        let mut table = Self { domain: Some(domain), ..Self::default() };
        for (app, route) in routes {
            let release = ReleaseId { app: app.clone(), number: route.number };
            for host in &route.hosts {
                table.hosts.entry(host.clone()).or_insert_with(|| release.clone());
            }
            if route.waiting_page {
                table.waiting_pages.insert(app.clone());
            }
            table.apps.insert(app.clone(), release);
        }
        table
    }

    /// Gives the release that answers for `host`.
    pub fn release(&self, host: &HostName) -> Option<&ReleaseId> {
        self.hosts.get(host).or_else(|| {
            let domain = self.domain.as_ref()?;
            let label = host.as_str().strip_suffix(domain.as_str())?.strip_suffix('.')?;
            self.apps.get(&label.parse::<AppName>().ok()?)
        })
    }

    /// Whether browsers are shown a page while `app` starts.
    pub fn waiting_page(&self, app: &AppName) -> bool {
        self.waiting_pages.contains(app)
    }

    /// Whether `release` is the live one of its app.
    pub fn is_live(&self, release: &ReleaseId) -> bool {
        self.apps.get(&release.app) == Some(release)
    }
}

/// Reads the host name out of a `Host` header or an authority: `Blog.localhost:8080` gives `blog.localhost`.
///
/// # Errors
/// [`NameError::Host`] if there is no host name in it; an IPv6 address in brackets is none.
pub fn host_of(authority: &str) -> Result<HostName, NameError> {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let host = |h: &str| h.parse::<HostName>().expect("a host");
        let app = |a: &str| a.parse::<AppName>().expect("an app");
        RouteTable::new(
            host("localhost"),
            &BTreeMap::from([
                (
                    app("blog"),
                    Route { number: ReleaseNumber(7), hosts: vec![host("example.org")], waiting_page: false },
                ),
                (
                    app("shop"),
                    Route {
                        number: ReleaseNumber(1),
                        hosts: vec![host("example.org"), host("blog.localhost")],
                        waiting_page: true,
                    },
                ),
            ]),
        )
    }

    fn found(authority: &str) -> Option<String> {
        host_of(authority).ok().and_then(|host| table().release(&host).map(ToString::to_string))
    }

    #[test]
    fn a_host_leads_to_its_release_whatever_its_case_and_port() {
        assert_eq!(found("shop.localhost"), Some("shop-v1".into()));
        assert_eq!(found("SHOP.Localhost:8080"), Some("shop-v1".into()));
        assert_eq!(found("example.org:80"), Some("blog-v7".into()));
    }

    #[test]
    fn an_exact_host_goes_before_the_name_under_the_domain() {
        assert_eq!(found("blog.localhost"), Some("shop-v1".into()));
    }

    #[test]
    fn a_page_is_shown_only_for_the_app_that_wants_it() {
        let shown = |app: &str| table().waiting_page(&app.parse().expect("an app"));
        assert!(shown("shop"));
        assert!(!shown("blog"));
        assert!(!shown("nobody"));
    }

    #[test]
    fn nothing_else_leads_anywhere() {
        for host in [
            "localhost",
            "x.localhost",
            "blog.example.org",
            "a.blog.localhost",
            "bloglocalhost",
            "",
            "[::1]:80",
        ] {
            assert_eq!(found(host), None, "{host}");
        }
    }
}
