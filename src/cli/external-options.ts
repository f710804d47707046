// SPDX-License-Identifier: Apache-2.0
/** Options of dump and exec for resources that reach outside the tree, under the names that CRIU gave them. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ExternalOptions } from "../ops/options.js";
import type { OptionSpecs } from "./command.js";

const group = "Resources that reach outside the tree";

export const externalOptionSpecs = {
  tcpEstablished: { type: "boolean", group, describe: "Keep established TCP connections" },
  tcpClose: { type: "boolean", group, describe: "Treat TCP connections as closed" },
  extUnixSk: { type: "boolean", group, describe: "Allow unix sockets whose peer is outside" },
  fileLocks: { type: "boolean", group, describe: "Keep file locks" },
  shellJob: { type: "boolean", group, describe: "The session leader and the terminal are outside the tree" },
  manageCgroups: {
    type: "string",
    group,
    value: "MODE",
    valueOptional: true,
    describe: "How cgroups are kept (none, props, soft, full, strict, ignore)",
  },
  cgroupRoot: { type: "strings", group, value: "[CONTROLLER:]PATH", describe: "Where the cgroups of the tree are; may be repeated" },
} as const satisfies OptionSpecs;

export const dumpOnlyOptionSpecs = {
  skipInFlight: { type: "boolean", group, describe: "Drop connections that nobody has accepted yet" },
  linkRemap: { type: "boolean", group, describe: "Unlinked files with other names left may be found by those" },
  ghostLimit: { type: "string", group, value: "SIZE", describe: "Largest unlinked file whose content is kept, such as 64M" },
  networkLock: { type: "string", group, value: "METHOD", describe: "How TCP peers are kept waiting (iptables, nftables, skip)" },
} as const satisfies OptionSpecs;

/** For the help of dump and exec: nothing is promised that is not done. */
export const externalOptionsNote =
  "Options for resources that reach outside the tree have the names that CRIU gave them. --ghost-limit, --skip-in-flight and " +
  "--ext-unix-sk (datagram sockets) change what a dump takes; the others are accepted, and what they are about (connected TCP " +
  "sockets, file locks, cgroups, namespaces) is refused by name if it is met.";

/** The same for exec, where all has been decided by the dump. */
export const externalOptionsAtExecNote =
  "Options for resources that reach outside the tree are accepted here so that scripts may give them to both commands; what becomes " +
  "of such resources has been decided by the dump.";

/** Values as they come from the parser; those of the other command are simply not there. */
type Parsed = Readonly<Record<string, boolean | string | number | readonly string[] | undefined>>;

/** `64M` → bytes. Throws CrimgError `usage.size`. */
export function parseSize(text: string): bigint {
  const match = /^(\d{1,15})([KMGT]?)(?:i?B)?$/i.exec(text);
  if (match === null) {
    throw new CrimgError("usage.size", `"${text}" is not a size`, { expected: "bytes, or a number with K, M, G or T" });
  }
  const shift = BigInt("KMGT".indexOf((match[2] ?? "").toUpperCase()) + 1);
  return BigInt(match[1] ?? "0") << ((match[2] ?? "") === "" ? 0n : shift * 10n);
}

/** A list that is not empty, or nothing. */
function listed(value: Parsed[string]): readonly string[] | undefined {
  return Array.isArray(value) && value.length > 0 ? (value as readonly string[]) : undefined;
}

function flag(value: Parsed[string]): true | undefined {
  return value === true ? true : undefined;
}

function text(value: Parsed[string]): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The options as the operations take them. */
export function externalOptions(args: Parsed): ExternalOptions {
  const limit = text(args["ghostLimit"]);
  return {
    tcpEstablished: flag(args["tcpEstablished"]),
    tcpClose: flag(args["tcpClose"]),
    skipInFlight: flag(args["skipInFlight"]),
    extUnixSk: flag(args["extUnixSk"]),
    fileLocks: flag(args["fileLocks"]),
    shellJob: flag(args["shellJob"]),
    linkRemap: flag(args["linkRemap"]),
    ghostLimit: limit === undefined ? undefined : parseSize(limit),
    manageCgroups: text(args["manageCgroups"]),
    cgroupRoot: listed(args["cgroupRoot"]),
    networkLock: text(args["networkLock"]),
  };
}
