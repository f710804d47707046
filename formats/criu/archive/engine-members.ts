// SPDX-License-Identifier: Apache-2.0
/**
 * What an engine puts beside the set of a container and wants back: config.dump, spec.dump, network.status, logs, whatever else
 * is small. They are carried as they are. Contents (the container's own layer, shared memory, volumes) are in the model.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type ForeignReader, type ForeignWriter, wholeCheckpoint } from "../foreign/foreign.js";
import { maxContent, type Member } from "./members.js";
import { storedNameOf } from "./tmpfs.js";

/** What the foreign rows are called. */
const prefix = "member:";
/** One plain name, and none of the set or of contents. */
const memberName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/;
const contents = /\.(img|tar|gz|zst)$|^deleted\.files$|^descriptors\.json$/;

/** One of these is in whatever an engine wrote. */
export const engineMarks = ["config.dump", "spec.dump"] as const;

/** True if the content of a member is carried along. */
export function isCarriedMember(name: string): boolean {
  return memberName.test(name) && !contents.test(name);
}

/** Members with their contents, by name; none for a set that no engine wrote. */
export function carriedMembers(members: readonly Member[]): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  let total = 0;
  for (const { name, content } of members) {
    if (content === undefined || !isCarriedMember(name) || found.has(name)) continue;
    total += content.length;
    if (total <= maxContent) found.set(name, content);
  }
  return engineMarks.some((name) => found.has(name)) ? found : new Map();
}

export function keepMembers(foreign: ForeignWriter, members: ReadonlyMap<string, Uint8Array>): void {
  for (const [name, content] of members) foreign.add(wholeCheckpoint, `${prefix}${name}`, content);
}

/** The inverse; names come from a file that may be hostile. */
export function keptMembers(foreign: ForeignReader): ReadonlyMap<string, Uint8Array> {
  return new Map(
    foreign.whole(prefix).flatMap(({ key, value }) => {
      const name = key.slice(prefix.length);
      return isCarriedMember(name) ? [[name, value] as const] : [];
    }),
  );
}

/** Where the checkpoints of container engines keep the set. */
export const engineFolder = "checkpoint";

/** What an engine keeps beside the set, by the names that it has in an unpacked archive. */
export function contentsBeside(path: string, names: ReadonlySet<string>): ReadonlyMap<string, string> {
  const volumes = names.has("volumes") ? readdirSync(join(path, "volumes")).map((name) => `volumes/${name}`) : [];
  const found = new Map<string, string>();
  for (const member of [...names, ...volumes]) {
    const name = storedNameOf(member);
    if (name !== undefined) found.set(name, join(path, member));
  }
  return found;
}
