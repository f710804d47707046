// SPDX-License-Identifier: Apache-2.0
/** Options of dump and exec for resources that reach outside the tree, under the names that CRIU gave them. */
import { CrimgError } from "../errors/crimg-error.js";
import { inheritedNumbers } from "../ops/changes/pair.js";
import type { ExternalOptions } from "../ops/options.js";
import type { OptionSpecs } from "./command.js";

const group = "Resources that reach outside the tree";

export const externalOptionSpecs = {
  tcpEstablished: { type: "boolean", group, describe: "Keep TCP connections whose other end is outside" },
  tcpClose: { type: "boolean", group, describe: "Treat TCP connections as closed" },
  extUnixSk: { type: "boolean", group, describe: "Connect unix sockets to peers outside again by name, or close them" },
  fileLocks: { type: "boolean", group, describe: "Keep file locks" },
  shellJob: { type: "boolean", group, describe: "The session leader and the terminal are outside the tree" },
  manageCgroups: {
    type: "string",
    group,
    value: "MODE",
    valueOptional: true,
    describe: "How cgroups are kept: none, or ignore (others have no effect yet: refused)",
  },
  cgroupRoot: {
    type: "strings",
    group,
    value: "[CONTROLLER:]PATH",
    describe: "Where the cgroups of the tree are (no effect yet: refused)",
  },
} as const satisfies OptionSpecs;

export const dumpOnlyOptionSpecs = {
  skipInFlight: { type: "boolean", group, describe: "Drop connections that have not been accepted yet" },
  linkRemap: { type: "boolean", group, describe: "Unlinked files that have other names may be opened by those" },
  ghostLimit: { type: "string", group, value: "SIZE", describe: "Largest unlinked file whose content is kept, such as 64M" },
  networkLock: {
    type: "string",
    group,
    value: "METHOD",
    describe: "How TCP peers are kept waiting: nftables, or skip (not at all)",
  },
} as const satisfies OptionSpecs;

/** For the help of dump and exec: nothing is promised that is not done. */
export const externalOptionsNote =
  "Options for resources that reach outside the tree have the same names as in CRIU. --file-locks, --shell-job and " +
  "--link-remap request what is done anyway; one that has no effect yet (--cgroup-root) is refused as such.";

/** The same for exec, where all has been decided by the dump. */
export const externalOptionsAtExecNote =
  "Options for resources that reach outside the tree are accepted here so that scripts can pass them to both commands; the dump has " +
  "decided what happens to such resources.";

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

/** Options that are there for what crimg cannot do yet. Accepted in silence they would promise it. */
function refuseIneffective(args: Parsed): void {
  const { manageCgroups, cgroupRoot } = args;
  const given: readonly (readonly [boolean, string, string])[] = [
    [isOf(manageCgroups, ["none", "ignore"]), "--manage-cgroups", "control groups are not kept; --manage-cgroups=ignore leaves them out"],
    [Array.isArray(cgroupRoot) && cgroupRoot.length > 0, "--cgroup-root", "control groups are not kept; leave it out"],
  ];
  for (const [isGiven, option, why] of given) {
    if (isGiven) throw new CrimgError("usage.no-effect", `${option} has no effect yet`, { hint: why });
  }
}

/** A value that is none of those which ask for nothing. */
function isOf(value: Parsed[string], harmless: readonly string[]): boolean {
  return typeof value === "string" && !harmless.includes(value);
}

const lockMethods = ["nftables", "skip"];

/** @throws CrimgError `usage.network-lock` */
function lockMethod(value: Parsed[string]): string | undefined {
  const method = text(value);
  if (method === undefined || lockMethods.includes(method)) return method;
  throw new CrimgError("usage.network-lock", `--network-lock ${method}: there is no such method`, {
    expected: lockMethods.join(" or "),
    hint: method === "iptables" ? "nftables does the same, and needs nothing installed" : undefined,
  });
}

/**
 * The options as the operations take them.
 * @throws CrimgError `usage.no-effect` for one that would do nothing, `usage.*` for a wrong value
 */
export function externalOptions(args: Parsed): ExternalOptions {
  refuseIneffective(args);
  for (const text of listed(args["inheritFd"]) ?? []) inheritedNumbers(text);
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
    networkLock: lockMethod(args["networkLock"]),
  };
}
