// SPDX-License-Identifier: Apache-2.0
/** Names of the kernel's numbers, for people: signals, open flags, signal-action flags, capabilities, sockets. */
import { openFlags } from "../../linux/open-flags.js";

// signal(7), x86-64 numbers.
const signals = [
  "HUP",
  "INT",
  "QUIT",
  "ILL",
  "TRAP",
  "ABRT",
  "BUS",
  "FPE",
  "KILL",
  "USR1",
  "SEGV",
  "USR2",
  "PIPE",
  "ALRM",
  "TERM",
  "STKFLT",
  "CHLD",
  "CONT",
  "STOP",
  "TSTP",
  "TTIN",
  "TTOU",
  "URG",
  "XCPU",
  "XFSZ",
  "VTALRM",
  "PROF",
  "WINCH",
  "IO",
  "PWR",
  "SYS",
] as const;

/** `SIGTERM`, `SIGRT3` (34 is SIGRT0 to programs), `0` for none. */
export function signalName(signal: number): string {
  if (signal === 0) return "0";
  const name = signals[signal - 1];
  if (name !== undefined) return `SIG${name}`;
  return signal >= 32 && signal <= 64 ? (signal < 34 ? `SIG${signal}` : `SIGRT${signal - 34}`) : String(signal);
}

/** A mask with bit n−1 for signal n, as names; `all but …` where that is shorter. */
export function signalSetNames(mask: bigint): string {
  const members = (set: bigint): string[] => {
    const names: string[] = [];
    for (let signal = 1; signal <= 64; signal += 1) {
      if ((set >> BigInt(signal - 1)) & 1n) names.push(signalName(signal).replace(/^SIG/, ""));
    }
    return names;
  };
  if (mask === 0n) return "none";
  const inside = members(mask);
  const outside = members(~mask & 0xffffffffffffffffn);
  if (outside.length === 0) return "all";
  return outside.length < inside.length ? `all but ${outside.join(" ")}` : inside.join(" ");
}

function bitNames(value: bigint, names: readonly (readonly [bigint, string])[], separator = "|"): string {
  let rest = value;
  const found: string[] = [];
  for (const [bits, name] of names) {
    if ((rest & bits) === bits) {
      found.push(name);
      rest &= ~bits;
    }
  }
  if (rest !== 0n) found.push(`0x${rest.toString(16)}`);
  return found.join(separator);
}

// O_SYNC contains O_DSYNC and O_TMPFILE contains O_DIRECTORY: the larger come first.
const { RDONLY: _r, WRONLY: _w, RDWR: _rw, ACCMODE: _a, SYNC, TMPFILE, ...openBits } = openFlags;
const openFlagBits = Object.entries({ TMPFILE, SYNC, ...openBits }).map(([name, bits]) => [BigInt(bits), name] as const);

/** `RDWR|APPEND`. */
export function openFlagNames(flags: number): string {
  const how = ["RDONLY", "WRONLY", "RDWR", "ACCMODE3"][flags & 3] ?? "";
  const others = bitNames(BigInt(flags & ~3), openFlagBits);
  return others === "" ? how : `${how}|${others}`;
}

// asm/signal.h of x86-64.
const actionFlags: readonly (readonly [bigint, string])[] = [
  [1n, "NOCLDSTOP"],
  [2n, "NOCLDWAIT"],
  [4n, "SIGINFO"],
  [0x04000000n, "RESTORER"],
  [0x08000000n, "ONSTACK"],
  [0x10000000n, "RESTART"],
  [0x40000000n, "NODEFER"],
  [0x80000000n, "RESETHAND"],
];

/** `SIGINFO|RESTART|RESTORER`, or `-`. */
export function actionFlagNames(flags: bigint): string {
  return bitNames(flags, actionFlags) || "-";
}

// linux/capability.h
const capabilities = [
  "chown",
  "dac_override",
  "dac_read_search",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "linux_immutable",
  "net_bind_service",
  "net_broadcast",
  "net_admin",
  "net_raw",
  "ipc_lock",
  "ipc_owner",
  "sys_module",
  "sys_rawio",
  "sys_chroot",
  "sys_ptrace",
  "sys_pacct",
  "sys_admin",
  "sys_boot",
  "sys_nice",
  "sys_resource",
  "sys_time",
  "sys_tty_config",
  "mknod",
  "lease",
  "audit_write",
  "audit_control",
  "setfcap",
  "mac_override",
  "mac_admin",
  "syslog",
  "wake_alarm",
  "block_suspend",
  "audit_read",
  "perfmon",
  "bpf",
  "checkpoint_restore",
] as const;
const allCapabilities = (1n << BigInt(capabilities.length)) - 1n;

/** Names of a capability set; `all`, `none`, `all but …`. */
export function capabilityNames(set: bigint): string {
  if (set === 0n) return "none";
  if (set === allCapabilities) return "all";
  const names = (bits: bigint): string =>
    bitNames(
      bits,
      capabilities.map((name, bit) => [1n << BigInt(bit), name] as const),
      " ",
    );
  const missing = allCapabilities & ~set;
  const missingCount = missing.toString(2).replace(/0/g, "").length;
  return (set & ~allCapabilities) === 0n && missingCount <= 8 ? `all but ${names(missing)}` : names(set);
}

const families: Readonly<Record<number, string>> = { 1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet", 40: "vsock" };
const socketTypes: Readonly<Record<number, string>> = { 1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket" };
const protocols: Readonly<Record<number, string>> = {
  6: "tcp",
  17: "udp",
  1: "icmp",
  136: "udplite",
  58: "icmpv6",
  132: "sctp",
  262: "mptcp",
};

/** `inet stream tcp`. */
export function socketKindName(family: number, type: number, protocol: number): string {
  const words = [families[family] ?? `family ${family}`, socketTypes[type] ?? `type ${type}`];
  if (family !== 1 && protocol !== 0) words.push(protocols[protocol] ?? `protocol ${protocol}`);
  return words.join(" ");
}

/** A struct sockaddr in words; hex where it is no address that crimg knows. */
export function sockaddrText(bytes: Uint8Array): string {
  if (bytes.length === 0) return "";
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = bytes.length >= 2 ? view.readUInt16LE(0) : -1;
  if (family === 2 && bytes.length >= 8) return `${view.subarray(4, 8).join(".")}:${view.readUInt16BE(2)}`;
  if (family === 10 && bytes.length >= 24) {
    const groups = Array.from({ length: 8 }, (_, index) => view.readUInt16BE(8 + 2 * index).toString(16));
    return `[${shortenIpv6(groups)}]:${view.readUInt16BE(2)}`;
  }
  if (family === 1) {
    const name = view.subarray(2);
    if (name.length === 0) return "(unnamed)";
    if (name[0] === 0) return `@${name.subarray(1).toString("latin1")}`;
    const end = name.indexOf(0);
    return name.subarray(0, end < 0 ? name.length : end).toString("utf8");
  }
  if (family === 16 && bytes.length >= 12) return `pid ${view.readUInt32LE(4)} groups 0x${view.readUInt32LE(8).toString(16)}`;
  return view.toString("hex");
}

/** RFC 5952: the longest run of zero groups becomes `::`. */
function shortenIpv6(groups: readonly string[]): string {
  const runs = [...groups.join(":").matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort((a, b) => b[0].length - a[0].length);
  const longest = runs[0];
  if (longest === undefined) return groups.join(":");
  const text = groups.join(":");
  return `${text.slice(0, longest.index)}::${text.slice(longest.index + longest[0].length).replace(/^:/, "")}`;
}

const clocks: Readonly<Record<number, string>> = {
  0: "realtime",
  1: "monotonic",
  2: "process-cputime",
  3: "thread-cputime",
  7: "boottime",
  8: "realtime-alarm",
  9: "boottime-alarm",
  11: "tai",
};

/** `monotonic`; CPU clocks of other tasks (negative numbers) as numbers. */
export function clockName(clock: number): string {
  return clocks[clock] ?? `clock ${clock}`;
}

/** `1.5s`, `250ms`; exact to the nanosecond. */
export function durationText(ns: bigint): string {
  if (ns === 0n) return "0";
  const sign = ns < 0n ? "-" : "";
  const size = ns < 0n ? -ns : ns;
  const [unit, digits] = size >= 1_000_000_000n ? ["s", 9] : size >= 1_000_000n ? ["ms", 6] : size >= 1000n ? ["us", 3] : ["ns", 0];
  const text = size.toString().padStart(Number(digits) + 1, "0");
  const whole = text.slice(0, text.length - Number(digits));
  const fraction = text.slice(text.length - Number(digits)).replace(/0+$/, "");
  return `${sign}${whole}${fraction === "" ? "" : `.${fraction}`}${unit}`;
}
