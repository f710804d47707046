// SPDX-License-Identifier: Apache-2.0
/**
 * Standard streams of a container: runc keeps in descriptors.json what they were ("pipe:[61562]"). A pipe to the engine has
 * no other end in the set, and is whatever the caller gives when the container is resumed.
 */
import { readFileSync } from "node:fs";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import type { ModelBuilder } from "../builder.js";

export const descriptorsName = "descriptors.json";

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
