//! The connection to an instance that a request asks for.

use std::time::Duration;

use func_model::Endpoint;
use pingora::upstreams::peer::HttpPeer;

use crate::request::Kind;
use crate::upgrade::LateConnect;

/// How long a connection to an instance on this machine may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an unused connection to an instance is kept. Shorter than what servers commonly allow (2 s or more), so that
/// it is we who close: a request that meets a connection which the app is just closing is not sent again.
const UPSTREAM_IDLE: Duration = Duration::from_secs(1);

/// Describes the connection to an instance for a request of this kind.
pub(crate) fn peer(endpoint: Endpoint, request: Kind) -> HttpPeer {
    let mut peer = HttpPeer::new(endpoint.addr, false, String::new());
    // A pooled connection never crosses over to the successor of an instance.
    peer.group_key = endpoint.generation;
    peer.options.connection_timeout = Some(CONNECT);
    // The one that an upgrade's own connector keeps to as well.
    peer.options.total_connection_timeout = Some(CONNECT);
    // An unsafe request is not repeated, so it must not meet a connection that the app is just closing; and what has
    // a body must leave none behind, since the app may take that for the next request.
    let kept = request == Kind::Safe;
    peer.options.idle_timeout = Some(if kept { UPSTREAM_IDLE } else { Duration::ZERO });
    if !kept {
        peer.group_key ^= rand::random::<u64>() | 1 << 63;
    }
    if request == Kind::Upgrade {
        peer.options.custom_l4 = Some(LateConnect::shared());
    }
    peer
}
