// SPDX-License-Identifier: Apache-2.0
/**
 * A rehearsal (option slot `rehearse`): the tree is made as far as the last barrier in private pid, mount, network, ipc,
 * uts and time namespaces, and discarded. Nothing outside may change, so
 *
 * - sockets are bound in a network of their own, which has every address and leads nowhere;
 * - names that the restore makes for a moment or for good (unlinked files, unix sockets) are made in a private directory
 *   instead: `ProgramBuilder.nameToMake`;
 * - what reaches beyond that is left out: `ProgramBuilder.outside`.
 *
 * docs/rehearse.md lists what is so left out. Who adds ops that somebody outside could see uses one of the two.
 */
import { AT, O } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Label, Shared } from "./operands.js";

const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
const [AF_INET, AF_INET6, AF_NETLINK] = [2, 10, 16];
const [SOCK_DGRAM, SOCK_RAW] = [2, 3];
const [FSOPEN_CLOEXEC, FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC] = [1, 6, 1];
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_NOATIME = 0x10;
const MOUNT_ATTR__ATIME = 0x70;
/** Index of the loopback interface in every new network namespace. */
const loopback = 1;

/** RTM_NEWROUTE: everything goes to the loopback interface (rtnetlink(7)). */
function defaultRoute(family: number): Uint8Array {
  const message = new Uint8Array(36);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, 24, true); // RTM_NEWROUTE
  view.setUint16(6, 0x401, true); // NLM_F_REQUEST | NLM_F_CREATE
  message[16] = family;
  message[20] = 254; // RT_TABLE_MAIN
  message[21] = 4; // RTPROT_STATIC
  message[22] = family === AF_INET ? 254 : 0; // RT_SCOPE_HOST: the source may be a loopback address
  message[23] = 1; // RTN_UNICAST
  view.setUint16(28, 8, true);
  view.setUint16(30, 4, true); // RTA_OIF
  view.setUint32(32, loopback, true);
  return message;
}

/** Ops of the init of a rehearsal, when its namespaces and mounts are there. Nothing for other runs. */
export function enterRehearsal(l: Lowering): void {
  const b = l.builder;
  const none = b.label("no rehearsal");
  b.jumpIf(b.rehearsal, "eq", 0, none);
  const attributes = b.u8s(MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, 0, 0);
  b.syscall("mount_setattr", [AT.fdcwd, b.string("/"), AT_RECURSIVE, attributes, 32], { expect: "any" });
  makeNetwork(l);
  const context = b.slot("a tmpfs to be");
  const directory = b.slot("private directory");
  const message = "make a private directory for the rehearsal";
  b.syscall("fsopen", [b.string("tmpfs"), FSOPEN_CLOEXEC], { store: context, message });
  b.syscall("fsconfig", [context, FSCONFIG_CMD_CREATE, 0, 0, 0], { message });
  b.syscall("fsmount", [context, FSMOUNT_CLOEXEC, 0], { store: directory, message });
  b.syscall("fchdir", [directory], { message });
  b.syscall("close", [context]);
  l.keepHigh(directory);
  b.place(none);
}

/** Best effort: what is missing here makes a bind or connect fail, and that is told. */
function makeNetwork(l: Lowering): void {
  const b = l.builder;
  const socket = b.slot("a socket for the network");
  const request = new Uint8Array(40);
  request.set([0x6c, 0x6f]); // "lo"
  request[16] = IFF_UP;
  b.syscall("socket", [AF_INET, SOCK_DGRAM, 0], { store: socket, expect: "any" });
  b.syscall("ioctl", [socket, SIOCSIFFLAGS, b.bytes(request)], { expect: "any" });
  b.syscall("close", [socket], { expect: "any" });
  b.syscall("socket", [AF_NETLINK, SOCK_RAW, 0], { store: socket, expect: "any" });
  for (const family of [AF_INET, AF_INET6]) {
    const message = defaultRoute(family);
    b.syscall("sendto", [socket, b.bytes(message), message.length, 0, 0, 0], { expect: "any" });
  }
  b.syscall("close", [socket], { expect: "any" });
  for (const version of ["ipv4", "ipv6"]) {
    const fd = b.slot(`fd of ${version}/ip_nonlocal_bind`);
    b.syscall("openat", [AT.fdcwd, b.string(`/proc/sys/net/${version}/ip_nonlocal_bind`), O.wronly | O.cloexec, 0], {
      store: fd,
      expect: "any",
    });
    b.syscall("write", [fd, b.string("1"), 1], { expect: "any" });
    b.syscall("close", [fd], { expect: "any" });
  }
}

/** Ops of the init when every thread is ready: a rehearsal ends here, and the kernel ends all that it made. */
export function endRehearsal(l: Lowering, rehearsed: Shared): void {
  const b = l.builder;
  const none = b.label("no rehearsal");
  b.jumpIf(b.rehearsal, "eq", 0, none);
  b.count(rehearsed);
  b.syscall("exit_group", [0]);
  b.place(none);
}

/** Ops of the first process when its init has ended: after a rehearsal that went well, status 0. */
export function reportRehearsal(l: Lowering, rehearsed: Shared): void {
  const b = l.builder;
  const failed: Label = b.label("no rehearsal that went well");
  b.jumpIf(rehearsed.u4, "eq", 0, failed);
  b.syscall("exit_group", [0]);
  b.place(failed);
}
