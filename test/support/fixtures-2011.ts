// SPDX-License-Identifier: Apache-2.0
/** The images that the tool of 2011 made, and adapters at work on them. */
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { FormatAdapter, ReadOptions } from "../../src/adapter/format.js";
import type { Output } from "../../src/adapter/output.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { fixtures } from "./project.js";

/** Folder of the sets. */
export const folder2011 = join(fixtures, "crtools2011");

/** Names of the sets. */
export const sets2011: readonly string[] = readdirSync(folder2011).sort();

/** The folder of a set. */
export function set2011(name: string): string {
  return join(folder2011, name);
}

/** Image files of a set. */
export function imagesOf(name: string): string[] {
  return readdirSync(set2011(name))
    .filter((file) => file.endsWith(".img"))
    .sort();
}

/** Pids of a set, those of its cores. */
export function pidsOf(name: string): number[] {
  return imagesOf(name).flatMap((file) => {
    const pid = /^core-(\d+)\.img$/.exec(file)?.[1];
    return pid === undefined ? [] : [Number(pid)];
  });
}

/** What the fixture's truth.json says of one process, as far as the tests look at it. */
export interface Truth2011 {
  readonly pid: number;
  readonly comm: string;
  readonly exe: string;
  readonly personality: string;
  readonly task_flags: string;
  readonly mm: Readonly<Record<string, string>>;
  readonly auxv: readonly (readonly [number, string])[];
  readonly threads: readonly { readonly regs: Readonly<Record<string, string>> }[];
  readonly vmas: readonly {
    readonly start: string;
    readonly end: string;
    readonly prot_bits: number;
    readonly shared: boolean;
    readonly offset: string;
    readonly inode: number;
    readonly file: string;
  }[];
  readonly fds: readonly {
    readonly fd: number;
    readonly target: string;
    readonly pos: number;
    readonly flags: string;
    readonly ino: number;
  }[];
  readonly memory: readonly { readonly name: string; readonly start: string; readonly length: number; readonly sha256: string }[];
}

export function truthOf(name: string): readonly Truth2011[] {
  return (JSON.parse(readFileSync(join(set2011(name), "truth.json"), "utf8")) as { processes: Truth2011[] }).processes;
}

/** A folder that goes with the test. */
export function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "crimg-2011-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An output in a folder: files of a directory format, or the one file `name`. Closed with the test. */
export function outputIn(t: TestContext, folder: string, name = "image.elf"): Output {
  const open = (file: string) => {
    const path = join(folder, file);
    const fd = openSync(path, "w+");
    t.after(() => closeSync(fd));
    return { fd, path };
  };
  return { path: folder, file: () => open(name), create: open };
}

/** A checkpoint that is closed with the test. */
export async function readFor(t: TestContext, format: FormatAdapter, path: string, options: ReadOptions = {}): Promise<Checkpoint> {
  const checkpoint = await format.read?.(path, options);
  if (!checkpoint) throw new Error(`${format.id} cannot be read`);
  t.after(() => checkpoint.close());
  return checkpoint;
}
