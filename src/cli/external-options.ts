// SPDX-License-Identifier: Apache-2.0
/** Options of dump and exec for resources that reach outside the tree, under the names that CRIU gave them. */
import { CrimgError } from "../errors/crimg-error.js";
import { rootFor } from "../model/cgroup-root.js";
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
    describe: "Keep control groups. At a resume: none, props, soft (default), full, strict, ignore",
  },
  cgroupRoot: {
    type: "strings",
    group,
    value: "[CONTROLLER:]PATH",
    describe: "The control group that stands for / of the tree's own",
  },
} as const satisfies OptionSpecs;

export const dumpOnlyOptionSpecs = {
  skipInFlight: { type: "boolean", group, describe: "Drop connections that have not been accepted yet" },
  linkRemap: { type: "boolean", group, describe: "Unlinked files that have other names may be opened by those" },
  ghostLimit: { type: "string", group, value: "SIZE", describe: "Largest unlinked file whose content is kept, such as 64M" },
  external: {
    type: "strings",
    group,
    value: "mnt[PATH]:NAME",
    describe: "What is mounted at PATH in the tree is of outside: --mount NAME=PATH gives it at the resume; may be repeated",
  },
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
  "--link-remap request what is done anyway.";

/** The same for exec, where all has been decided by the dump. */
export const externalOptionsAtExecNote =
  "Options for resources that reach outside the tree are accepted here so that scripts can pass them to both commands; the dump has " +
  "decided what happens to such resources. --manage-cgroups and --cgroup-root change what the dump has chosen.";

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

const cgroupModes = ["none", "props", "soft", "full", "strict", "ignore"];

/** An option without a mode asks for `soft`. @throws CrimgError `usage.manage-cgroups` */
function cgroupMode(value: Parsed[string]): string | undefined {
  const mode = text(value);
  if (mode === undefined || mode === "" || cgroupModes.includes(mode)) return mode === "" ? "soft" : mode;
  throw new CrimgError("usage.manage-cgroups", `--manage-cgroups ${mode}: there is no such mode`, { expected: cgroupModes.join(", ") });
}

/** @throws CrimgError `usage.cgroup-root` */
function cgroupRoots(value: Parsed[string]): readonly string[] | undefined {
  const roots = listed(value);
  if (roots !== undefined) rootFor("", roots);
  return roots;
}

/** `mnt[]` asks for what is done anyway. @throws CrimgError `usage.external` */
export function externalMountPairs(texts: readonly string[] = []): [key: string, value: string][] {
  return texts.filter((text) => !text.startsWith("mnt[]")).map(parseExternalMount);
}

function externalMounts(texts: readonly string[] | undefined): ReadonlyMap<string, string> | undefined {
  const pairs = externalMountPairs(texts);
  return pairs.length === 0 ? undefined : new Map(pairs);
}

/** `mnt[KEY]:VALUE`: at a dump a path and its name, at a resume a name and its path. @throws CrimgError `usage.external` */
function parseExternalMount(text: string): [key: string, value: string] {
  const match = /^mnt\[([^\]]+)\]:(.+)$/.exec(text);
  if (match === null) {
    throw new CrimgError("usage.external", `--external ${text}: there is no such resource`, { expected: "mnt[PATH]:NAME" });
  }
  return [match[1] ?? "", match[2] ?? ""];
}

/**
 * The options as the operations take them.
 * @throws CrimgError `usage.*` for a wrong value
 */
export function externalOptions(args: Parsed): ExternalOptions {
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
    manageCgroups: cgroupMode(args["manageCgroups"]),
    cgroupRoot: cgroupRoots(args["cgroupRoot"]),
    networkLock: lockMethod(args["networkLock"]),
    externalMounts: externalMounts(listed(args["external"])),
  };
}
