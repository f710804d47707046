// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const sockets: Family = {
  program: "sockets",
  title: "Sockets and other descriptors",
  flags: ["-lrt"],
  probes: [
    { name: "multicast4", state: "membership in a multicast group (IPv4)", is: "kept" },
    { name: "sources4", state: "membership for some sources only (IPv4)", is: "kept" },
    { name: "multicast6", state: "membership in a multicast group (IPv6)", is: "kept" },
    { name: "closed", state: "a TCP connection that the peer has reset, with its local address", is: "kept" },
    { name: "tcp", state: "a TCP connection with both ends in the tree, bytes under way in both directions", is: "kept" },
    { name: "half", state: "a half-closed TCP connection", is: "kept" },
    { name: "unread", state: "what nobody has read of a TCP connection that is over", is: "kept" },
    { name: "unaccepted", state: "a TCP client of the tree that its own listener has not accepted yet", is: "kept" },
    { name: "mptcp", state: "an MPTCP socket that listens", is: "kept" },
    {
      name: "eager",
      state: "bytes that such a client has sent already",
      is: { refused: /a TCP socket that has sent data and is not accepted yet/, ignore: "descriptor" },
    },
    { name: "multipath", state: "an MPTCP connection", is: { refused: /an MPTCP connection/, ignore: "tcp" } },
    { name: "urgent", state: "urgent data of a TCP connection", is: { refused: /urgent data waiting/, ignore: "tcp" } },
    { name: "shared", state: "two UDP sockets on a port that they may not share any more", is: "kept" },
    { name: "renamed", state: "a unix socket whose file was renamed", is: "kept" },
    { name: "owner", state: "a thread as the owner of a descriptor (F_SETOWN_EX)", is: "kept" },
    { name: "peers", state: "who made a pair of unix sockets (SO_PEERCRED)", is: "kept" },
    { name: "letter", state: "who sent a datagram that waits (SCM_CREDENTIALS)", is: "kept" },
    { name: "served", state: "who is connected to a unix socket, and who listens (SO_PEERCRED)", is: "kept", isAlone: true },
    { name: "busy", state: "busy polling of an epoll set (EPIOCSPARAMS)", is: "kept" },
    {
      name: "handle",
      state: "a handle of the peer of a unix socket (SO_PEERPIDFD)",
      is: {
        cannot:
          "the kernel gives that of the process that made the call, and one that stood for the peer did: the handle says that it is gone",
      },
    },
    {
      name: "netlink",
      state: "messages that wait in a netlink socket",
      is: { refused: /a netlink socket with messages waiting/, ignore: "socket" },
    },
    { name: "raw", state: "packets that wait in a raw socket", is: { refused: /a raw socket with packets waiting/, ignore: "socket" } },
    {
      name: "oob",
      state: "an out-of-band byte in a unix socket, among others",
      is: { refused: /a unix socket with an out-of-band byte/, ignore: "unix-socket" },
    },
    {
      name: "oob-alone",
      state: "an out-of-band byte in a unix socket, alone",
      is: { refused: /a unix socket with an out-of-band byte/, ignore: "unix-socket" },
    },
    {
      name: "stranger",
      state: "a process outside the tree as the owner of a descriptor (F_SETOWN_EX)",
      is: { refused: /its signals go to process \d+ \(F_SETOWN\)/, ignore: "descriptor" },
    },
    { name: "secret", state: "memfd_secret", is: { refused: /secret memory \(memfd_secret\)/, ignore: "descriptor" } },
    { name: "secret-memory", state: "a mapping of secret memory", is: { refused: /secret memory \(memfd_secret\)/ } },
    { name: "datagrams", state: "datagrams that wait in a UDP socket, with senders and targets", is: "kept" },
    { name: "datagrams6", state: "the same of IPv6, IPv4 in IPv6, and a socket that was connected afterwards", is: "kept" },
    { name: "console", state: "a terminal of the machine: console, virtual terminal, serial line", is: "kept" },
    { name: "queue", state: "a POSIX message queue", is: "kept" },
    { name: "tree", state: "a mount that is attached nowhere (open_tree)", is: { refused: /attached nowhere/, ignore: "descriptor" } },
  ],
};
