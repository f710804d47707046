// SPDX-License-Identifier: Apache-2.0
/**
 * Standard streams of a container: runc keeps in descriptors.json what they were ("pipe:[61562]"). A pipe to the engine has
 * no other end in the set, and is whatever the caller gives when the container is resumed.
 */
import { readFileSync } from "node:fs";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import type { Tables } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { formatId } from "../foreign/foreign.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";

export const descriptorsName = "descriptors.json";

/** Whether an engine gives the standard streams when a set is restored: it left its list, or the tree has a root of its own. */
export function isContainer({ foreign, mounts }: Pick<Tables, "foreign" | "mounts">): boolean {
  if (mounts.some(({ origin, parent }) => origin === "rootfs" && parent === null)) return true;
  return foreign.some(({ format, key }) => format === formatId && key === `image:${descriptorsName}`);
}

/** The list of a container that was not read from a set; undefined where there is none to write. */
export function descriptorsToWire(context: ImageSetIds): string | undefined {
  const { tables, foreign } = context;
  if (!isContainer(tables) || foreign.whole(`image:${descriptorsName}`).length > 0) return undefined;
  const names = [0, 1, 2].map((fd) => {
    const row = tables.descriptors.find((descriptor) => descriptor.task === 0 && descriptor.fd === fd)?.file;
    const isPipe = row !== undefined && tables.files[row]?.kind === "inherited" && !context.isTerminal(row);
    return isPipe ? `pipe:[${context.outsidePipeId(row)}]` : "/dev/null";
  });
  return JSON.stringify(names);
}

/** Makes such pipes the caller's. Files and descriptors are there. */
export function inheritStandardStreams(builder: ModelBuilder): void {
  const { wire, tables } = builder;
  if (!wire.set.has(descriptorsName)) return;
  const names = parse(builder);
  names.forEach((name, fd) => {
    const row = tables.descriptors.find((descriptor) => descriptor.task === 0 && descriptor.fd === fd)?.file;
    const file = row === undefined ? undefined : tables.files[row];
    if (row === undefined || file?.kind !== "pipe" || !name.startsWith("pipe:")) return;
    const access = file.flags & 3;
    const hasOtherEnd = tables.files.some((other) => other.kind === "pipe" && other.detail === file.detail && (other.flags & 3) !== access);
    if (!hasOtherEnd) tables.files[row] = { ...file, kind: "inherited", detail: fd };
  });
}

function parse({ wire }: ModelBuilder): readonly string[] {
  const refuse = (): never => {
    throw new CrimgError("criu.descriptors", "This is not a list of three descriptors.", {
      source: wire.set.labelOf(descriptorsName),
      format: "criu",
    });
  };
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(wire.set.path(descriptorsName), "utf8"));
  } catch {
    return refuse();
  }
  return Array.isArray(value) && value.length <= 3 && value.every((item): item is string => typeof item === "string") ? value : refuse();
}
