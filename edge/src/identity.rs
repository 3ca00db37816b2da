//! Whose request it is: the headers that name the client to an app, and those that a client may not send.

use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};
use pingora::Result;
use pingora::http::RequestHeader;

/// The list of the addresses that a request has come through, the client's first.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// How many leading bits an IPv4 address has that is written as IPv6.
const MAPPED_BITS: u8 = 96;
/// Headers in which proxies name their client or its request. They pass from a trusted proxy only; the edge replaces
/// `x-real-ip` always.
const OF_PROXIES: [&str; 30] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-host",
    "x-http-host-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-url-scheme",
];

/// The addresses of proxies that are believed: one address, or a whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = AddrParseError;

    /// Reads `10.0.0.1`, `10.0.0.0/8`, `::1` or `fd00::/8`.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        // The address by the standard library: the other reader takes `010.0.0.1`, which some take for 8.0.0.1.
        let addr: IpAddr = text.split('/').next().unwrap_or_default().parse()?;
        let net = text.parse::<IpNet>().or_else(|_| text.parse().map(|_: IpAddr| IpNet::from(addr)))?;
        let mapped = match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED_BITS)) {
            (IpAddr::V4(addr), Some(bits)) if net.max_prefix_len() == 128 => Ipv4Net::new(addr, bits).ok(),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        };
        Ok(Self(mapped.map_or(net, IpNet::from)))
    }
}

/// Whether one of `networks` has an address. An IPv4 address is one however it is written.
pub(crate) fn is_of(networks: &[Network], addr: IpAddr) -> bool {
    networks.iter().any(|network| network.0.contains(&addr.to_canonical()))
}

/// Whether an app is not to see a header that came from a client, or from a proxy that is `trusted`.
///
/// Names with `_` are dropped always, as nginx does: CGI and WSGI take `_` and `-` for the same, so that they would pass
/// beside every rule. So is `Proxy`, which CGI takes for a setting, and `Forwarded`, which is not added to.
fn is_dropped(name: &HeaderName, trusted: bool) -> bool {
    let name = name.as_str();
    name.contains('_')
        || matches!(name, "proxy" | "forwarded")
        || !trusted && (name.starts_with("x-forwarded") || name == "x-scheme" || OF_PROXIES.contains(&name))
}

/// Removes the headers that the sender may not set, and sets `X-Forwarded-*` and `X-Real-IP`.
///
/// # Errors
/// If a value is not valid in a header.
pub(crate) fn tell(
    upstream: &mut RequestHeader,
    peer: Option<IpAddr>,
    networks: &[Network],
    trusted: bool,
    host: Option<String>,
) -> Result<()> {
    let dropped: Vec<HeaderName> =
        upstream.headers.keys().filter(|name| is_dropped(name, trusted)).cloned().collect();
    for name in &dropped {
        upstream.remove_header(name);
    }
    let peer = peer.map(|peer| peer.to_canonical().to_string()).unwrap_or_default();
    // Most requests come from no proxy.
    let (list, client) = match upstream.headers.contains_key(FORWARDED_FOR) {
        true => {
            let list = list(upstream, &peer);
            let client = client(&list, networks);
            (list, client)
        }
        false => (peer.clone(), peer),
    };
    upstream.insert_header("x-real-ip", client)?;
    upstream.insert_header(FORWARDED_FOR, list)?;
    let host = host.unwrap_or_default();
    for (name, own) in [("x-forwarded-proto", "http"), ("x-forwarded-host", host.as_str())] {
        // The last line is of the proxy that is nearest.
        let given = upstream.headers.get_all(name).iter().next_back().cloned();
        match given {
            Some(given) => upstream.insert_header(name, given)?,
            None => upstream.insert_header(name, own.to_owned())?,
        }
    }
    Ok(())
}

/// All `X-Forwarded-For` lines as one, and the address that the request came from at its end.
fn list(upstream: &RequestHeader, peer: &str) -> String {
    let lines = upstream.headers.get_all(FORWARDED_FOR).iter();
    let lines = lines.filter_map(|line| line.to_str().ok()).map(str::trim).filter(|line| !line.is_empty());
    lines.chain([peer]).collect::<Vec<_>>().join(", ")
}

/// Returns the client: the last address of a list that is no trusted proxy's. Nothing left of a non-address is believed.
fn client(list: &str, networks: &[Network]) -> String {
    let mut client = "";
    for item in list.rsplit(',').map(str::trim) {
        let Ok(addr) = item.parse::<IpAddr>() else { break };
        client = item;
        if !is_of(networks, addr) {
            break;
        }
    }
    client.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    #[test]
    fn a_proxy_is_known_by_its_address_however_it_is_written() {
        let own = networks(&["10.0.0.0/8", "192.0.2.7", "fd00::/8", "::ffff:172.16.0.0/108"]);
        for known in
            ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "fd12::1", "172.16.9.9", "::ffff:172.31.0.1"]
        {
            assert!(is_of(&own, known.parse().expect("an address")), "{known}");
        }
        for strange in ["11.0.0.1", "192.0.2.8", "fe80::1", "::a01:203", "172.32.0.1"] {
            assert!(!is_of(&own, strange.parse().expect("an address")), "{strange}");
        }
        for wrong in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0", "proxy.example.org", "10.0.0.1:80", "010.0.0.0/8"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    fn told(headers: &[(&'static str, &'static str)], peer: &str, own: &[&str]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in headers {
            head.append_header(*name, *value).expect("a header");
        }
        let (peer, own) = (peer.parse().expect("an address"), networks(own));
        let trusted = is_of(&own, peer);
        tell(&mut head, Some(peer), &own, trusted, Some("shop.localhost".into())).expect("told");
        head
    }

    fn values<'a>(head: &'a RequestHeader, name: &str) -> Vec<&'a str> {
        head.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn every_line_of_the_list_is_kept_and_the_client_is_the_last_who_is_no_proxy() {
        for (lines, peer, list, client) in [
            (&["6.6.6.6", "9.9.9.9"][..], "10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.1", "9.9.9.9"),
            (
                &["6.6.6.6, 9.9.9.9, 10.0.0.2"],
                "::ffff:10.0.0.1",
                "6.6.6.6, 9.9.9.9, 10.0.0.2, 10.0.0.1",
                "9.9.9.9",
            ),
            (&["6.6.6.6, unknown"], "10.0.0.1", "6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
            (&["", " "], "10.0.0.1", "10.0.0.1", "10.0.0.1"),
            (&[], "10.0.0.1", "10.0.0.1", "10.0.0.1"),
            (&["6.6.6.6", "7.7.7.7"], "9.9.9.9", "9.9.9.9", "9.9.9.9"),
            (&[], "::ffff:9.9.9.9", "9.9.9.9", "9.9.9.9"),
        ] {
            let mut headers: Vec<_> = lines.iter().map(|line| ("X-Forwarded-For", *line)).collect();
            headers.push(("X-Real-IP", "6.6.6.6"));
            let head = told(&headers, peer, &["10.0.0.0/8"]);
            assert_eq!(values(&head, "x-forwarded-for"), [list], "{lines:?}");
            assert_eq!(values(&head, "x-real-ip"), [client], "{lines:?}");
        }
    }

    #[test]
    fn only_a_proxy_speaks_for_a_client() {
        let said = [
            ("X-Forwarded-Proto", "ftp"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("True-Client-IP", "6.6.6.6"),
            ("X-Original-URL", "/admin"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("Transfer_Encoding", "chunked"),
            ("Proxy", "http://evil"),
            ("Forwarded", "for=6.6.6.6"),
            ("Cookie", "a=b"),
        ];
        let head = told(&said, "9.9.9.9", &["10.0.0.0/8"]);
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["cookie", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"]
        );
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["shop.localhost"]);
        let head = told(&said, "10.0.0.1", &["10.0.0.0/8"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
        for kept in ["x-forwarded-port", "true-client-ip", "x-original-url"] {
            assert!(head.headers.contains_key(kept), "{kept}");
        }
        for dropped in ["x_forwarded_for", "transfer_encoding", "proxy", "forwarded"] {
            assert!(!head.headers.contains_key(dropped), "{dropped}");
        }
    }
}
