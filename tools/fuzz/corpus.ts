// SPDX-License-Identifier: Apache-2.0
/** What is mutated: images of the real tools, and images that crimg makes of them in every format it writes. */
import { cpSync, mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { probeFormat, probeInputOf } from "../../src/adapter/detect.js";
import type { FormatAdapter } from "../../src/adapter/format.js";
import type { FormatRegistry } from "../../src/adapter/registry.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { writeCheckpoint } from "../../src/ops/convert.js";
import type { Range } from "./mutate.js";

export interface SeedFile {
  /** In the work directory. */
  readonly path: string;
  readonly original: Buffer;
  /** Bytes that are not page payload. */
  readonly metadata: readonly Range[];
}

export interface Seed {
  /** Such as `criu/ctree`. */
  readonly name: string;
  /** What to open. */
  readonly path: string;
  readonly format: FormatAdapter;
  /** Files that may be mutated. */
  readonly files: readonly SeedFile[];
}

/** Of every file, always: where a format has no time of its own, the model takes the file's. Seconds. */
export const fileTime = 1_000_000_000;

/** Larger files only cost time: their records are no different. */
const maxFileBytes = 8 << 20;

/** Files of a set, or the file itself; descriptions that lie beside fixtures are no part of them. */
function filesOf(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.txt$|^truth\.json$|^crit.*\.json$/.test(entry.name))
    .map((entry) => join(path, entry.name));
}

/** What of a file no extent of the unmutated checkpoint covers. */
function metadataOf(path: string, size: number, checkpoint: Checkpoint): Range[] {
  const payload = checkpoint.tables.extents
    .filter((extent) => basename(checkpoint.sources[extent.source]?.name ?? "") === basename(path))
    .map((extent) => ({ start: Number(extent.fileOffset), end: Number(extent.fileOffset + extent.length) }))
    .sort((a, b) => a.start - b.start);
  const ranges: Range[] = [];
  let at = 0;
  for (const { start, end } of payload) {
    if (start > at) ranges.push({ start: at, end: Math.min(start, size) });
    at = Math.max(at, end);
  }
  if (at < size) ranges.push({ start: at, end: size });
  return ranges.filter(({ start, end }) => end > start);
}

async function seedOf(name: string, path: string, registry: FormatRegistry): Promise<Seed | undefined> {
  const format = await probeFormat(probeInputOf(path), registry);
  if (format?.read === undefined) return undefined;
  for (const file of filesOf(path)) {
    // Without holes: some readers skip them, and a case that rewrites the file would fill them.
    writeFileSync(file, readFileSync(file));
    utimesSync(file, fileTime, fileTime);
  }
  const checkpoint = await format.read(path, {});
  try {
    const files = filesOf(path)
      .filter((file) => statSync(file).size <= maxFileBytes)
      .map((file): SeedFile => {
        const original = readFileSync(file);
        return { path: file, original, metadata: metadataOf(file, original.length, checkpoint) };
      });
    return { name, path, format, files };
  } finally {
    checkpoint.close();
  }
}

/** Directories and files under the fixtures that are images. */
function fixturePaths(root: string): string[] {
  const paths: string[] = [];
  for (const kind of ["crtools2011", "criu", "core", "dmtcp"]) {
    for (const name of readdirSync(join(root, kind))) {
      const folder = join(root, kind, name);
      if (!statSync(folder).isDirectory()) continue;
      if (kind === "crtools2011" || kind === "criu") paths.push(folder);
      for (const inner of ["elf", "coredump"]) {
        try {
          for (const file of readdirSync(join(folder, inner))) paths.push(join(folder, inner, file));
        } catch {
          // no such part of this fixture
        }
      }
      if (kind === "core" || kind === "dmtcp")
        for (const file of readdirSync(folder)) if (/^core|\.dmtcp$/.test(file)) paths.push(join(folder, file));
    }
  }
  return paths;
}

/** Copies the fixtures into `work` and makes images of them in every format that can be written. */
export async function makeCorpus(fixtures: string, work: string, registry: FormatRegistry, say: (text: string) => void): Promise<Seed[]> {
  const seeds: Seed[] = [];
  const add = async (name: string, path: string): Promise<void> => {
    try {
      const seed = await seedOf(name, path, registry);
      if (seed !== undefined) seeds.push(seed);
    } catch (error) {
      say(`not in the corpus: ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  for (const fixture of fixturePaths(fixtures)) {
    const name = relative(fixtures, fixture);
    const path = join(work, name);
    cpSync(fixture, path, { recursive: true });
    await add(name, path);
  }
  mkdirSync(join(work, "own"));
  for (const seed of [...seeds]) {
    if (!/^(crtools2011\/(tree3|single)|criu\/(ctree|threads4)|core\/gcore-threads4)/.test(seed.name) || seed.name.includes("/elf/"))
      continue;
    for (const id of registry.ids) {
      const target = await registry.load(id);
      if (target.write === undefined) continue;
      const name = `${seed.name.replace(/\//g, "-")}.${id}`;
      const path = join(work, "own", name);
      const checkpoint = await seed.format.read?.(seed.path, {});
      if (checkpoint === undefined) continue;
      try {
        await writeCheckpoint(checkpoint, path, target, { registry, extra: { "inline-pages": true } });
        await add(`own/${name}`, path);
      } catch (error) {
        say(`not in the corpus: own/${name}: ${error instanceof Error ? error.message : String(error)}`);
      } finally {
        checkpoint.close();
      }
    }
  }
  return seeds;
}
