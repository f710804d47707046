// SPDX-License-Identifier: Apache-2.0
/** Where a TCP socket connects to that has no answer yet: getpeername(2) does not tell it, /proc/PID/net/tcp does. */
import type { Description } from "../../../dump/fds/context.js";
import { tryReadSmall } from "../../../native/index.js";

const [AF_INET, AF_INET6] = [2, 10];
/** TCP_SYN_SENT as the file has it. */
const synSent = "02";

/** By process, whose network it is: where sockets connect to, by inode. Nobody begins to connect while the tree stands still. */
const known = new WeakMap<object, ReadonlyMap<string, Uint8Array>>();

/** The sockaddr; undefined if the socket is none that connects. */
export function targetOfConnecting({ stat, holders }: Description): Uint8Array | undefined {
  const process = holders[0]?.process;
  if (process === undefined) return undefined;
  let targets = known.get(process);
  if (targets === undefined) {
    targets = targetsOf(process.pid);
    known.set(process, targets);
  }
  return targets.get(String(stat.ino));
}

function targetsOf(pid: number): ReadonlyMap<string, Uint8Array> {
  const targets = new Map<string, Uint8Array>();
  for (const [file, family] of [
    ["tcp", AF_INET],
    ["tcp6", AF_INET6],
  ] as const) {
    const text = tryReadSmall(`/proc/${pid}/net/${file}`)?.toString("latin1") ?? "";
    for (const line of text.split("\n")) {
      // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
      const words = line.trim().split(/\s+/);
      const target = words[3] === synSent ? sockaddrOf(words[2] ?? "", family) : undefined;
      if (target !== undefined) targets.set(words[9] ?? "", target);
    }
  }
  return targets;
}

/** From `0100007F:1F90`: words of 4 bytes as this machine stores them, and a port. */
function sockaddrOf(text: string, family: number): Uint8Array | undefined {
  const [address = "", port = ""] = text.split(":");
  if (address.length !== (family === AF_INET ? 8 : 32) || !/^[0-9A-F]+$/.test(address) || !/^[0-9A-F]{4}$/.test(port)) return undefined;
  const bytes = Buffer.alloc(family === AF_INET ? 16 : 28);
  bytes.writeUInt16LE(family, 0);
  bytes.writeUInt16BE(parseInt(port, 16), 2);
  const from = family === AF_INET ? 4 : 8;
  for (let at = 0; at < address.length; at += 8) bytes.writeUInt32LE(parseInt(address.slice(at, at + 8), 16), from + at / 2);
  return Uint8Array.from(bytes);
}
