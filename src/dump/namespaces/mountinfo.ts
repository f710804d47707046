// SPDX-License-Identifier: Apache-2.0
/** /proc/PID/mountinfo (proc_pid_mountinfo(5)). */
import { decodeText } from "../../bytes/text.js";
import { mountFlagsBits } from "../../gen/tables.js";
import { tryReadSmall } from "../../native/index.js";

/** A line, in the order of the file: what is mounted on something comes after it. */
export interface MountInfo {
  readonly id: number;
  readonly parent: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** What of the filesystem is mounted. */
  readonly root: string;
  readonly point: string;
  /** MS_* flags of the mount. */
  readonly flags: number;
  /** Peer groups; 0 for none. */
  readonly peers: number;
  readonly master: number;
  readonly isUnbindable: boolean;
  readonly fsType: string;
  readonly source: string;
  /** Options of the filesystem, without ro and rw. */
  readonly options: string;
  readonly isReadOnly: boolean;
}

const flagOf: Readonly<Record<string, number>> = {
  ro: mountFlagsBits.read_only,
  nosuid: mountFlagsBits.nosuid,
  nodev: mountFlagsBits.nodev,
  noexec: mountFlagsBits.noexec,
  nosymfollow: mountFlagsBits.nosymfollow,
  noatime: mountFlagsBits.noatime,
  nodiratime: mountFlagsBits.nodiratime,
  relatime: mountFlagsBits.relatime,
};

export function parseMountInfo(text: string): MountInfo[] {
  return text.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [id, parent, device = "", root = "", point = "", options = "", ...tags] = before.split(" ");
    const [fsType = "", source = "", superOptions = ""] = after.split(" ");
    if (point === "") return [];
    const [devMajor = 0, devMinor = 0] = device.split(":").map(Number);
    const group = (name: string): number => Number(tags.find((tag) => tag.startsWith(`${name}:`))?.slice(name.length + 1) ?? 0);
    const words = superOptions.split(",");
    return {
      id: Number(id),
      parent: Number(parent),
      devMajor,
      devMinor,
      root: unescapeOctal(root),
      point: unescapeOctal(point),
      flags: options.split(",").reduce((flags, word) => flags | (flagOf[word] ?? 0), 0),
      peers: group("shared"),
      master: group("master"),
      isUnbindable: tags.includes("unbindable"),
      fsType,
      source: unescapeOctal(source),
      options: words.filter((word) => word !== "ro" && word !== "rw").join(","),
      isReadOnly: words.includes("ro"),
    };
  });
}

export function mountInfoOf(pid: number | "self"): MountInfo[] {
  return parseMountInfo(tryReadSmall(`/proc/${pid}/mountinfo`)?.toString("latin1") ?? "");
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
export function unescapeOctal(text: string): string {
  const bytes = text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  return decodeText(Buffer.from(bytes, "latin1"));
}
