// SPDX-License-Identifier: Apache-2.0
import type { Family, Probe } from "./probe.js";

const kept = (name: string, state: string): Probe => ({ name, state, is: "kept" });

export const socketOptions: Family = {
  program: "socket-options",
  title: "Options of sockets",
  probes: [
    kept("keepalive", "SO_KEEPALIVE"),
    kept("priority", "SO_PRIORITY, besides IP_TOS"),
    kept("mark", "SO_MARK"),
    kept("incoming_cpu", "SO_INCOMING_CPU"),
    kept("rcvpriority", "SO_RCVPRIORITY"),
    kept("txrehash", "SO_TXREHASH"),
    kept("wifi_status", "SO_WIFI_STATUS"),
    kept("peek_off", "SO_PEEK_OFF"),
    kept("passpidfd", "SO_PASSPIDFD"),
    kept("timestamp", "SO_TIMESTAMP"),
    kept("max_pacing", "SO_MAX_PACING_RATE"),
    kept("txtime", "SO_TXTIME"),
    kept("locked", "SO_LOCK_FILTER"),
    kept("sizes", "SO_RCVBUF and its lock (SO_BUF_LOCK)"),
    kept("tos", "IP_TOS"),
    kept("unicast_if", "IP_UNICAST_IF"),
    kept("recverr6", "IPV6_RECVERR"),
    kept("unicast_if6", "IPV6_UNICAST_IF"),
    kept("udp_encap", "UDP_ENCAP"),
    kept("udp_gro", "UDP_GRO"),
    kept("nodelay", "TCP_NODELAY"),
    kept("user_timeout", "TCP_USER_TIMEOUT"),
    kept("congestion", "TCP_CONGESTION"),
    kept("rto_max", "TCP_RTO_MAX_MS"),
    kept("rto_max_listener", "TCP_RTO_MAX_MS of a listener"),
    kept("rto_min", "TCP_RTO_MIN_US"),
    kept("delack_max", "TCP_DELACK_MAX_US"),
    kept("fastopen_key", "TCP_FASTOPEN_KEY"),
    { name: "md5", state: "TCP_MD5SIG", is: "kept", isAlone: true },
  ],
};
