// SPDX-License-Identifier: Apache-2.0
/**
 * A tree with a root directory of its own takes it along: what it uses of the directory (`--bundle`), or a whole tar. At the
 * resume that is memory (tmpfs), under the names that it had; so is what it uses of directories mounted from outside.
 */
import { lstatSync, openSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { entryOf, inOrder, modes } from "../../../formats/criu/map/tmpfs.js";
import { dataOf, readTar } from "../../../formats/criu/archive/tmpfs.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { type ExtentRow, extentRow, type MountEntryRow, mountEntryRow, type ObjectRow, objectRow, type Tables } from "../../gen/tables.js";
import { Checkpoint } from "../../model/checkpoint.js";
import { outOf } from "../../model/mount-paths.js";
import { isWhiteout, mountOfPath, ownRootMount } from "../../model/root-files.js";
import type { PageSource } from "../../model/page-source.js";
import { FilePageSource } from "../../pages/file-source.js";

/** A checkpoint that needs no directory for its root. `close` when it is written. */
export interface WithRoot {
  readonly checkpoint: Checkpoint;
  close(): void;
}

const S_IFMT = 0o170000;

/**
 * @param tar the whole root, packed
 * @param isAll the directories that mounts name come along, as far as the tree uses them
 */
export async function bundleRoot(checkpoint: Checkpoint, tar: string | undefined, isAll: boolean): Promise<WithRoot> {
  const root = ownRootMount(checkpoint.tables);
  if (root === undefined) throw new CrimgError("usage.change", "--rootfs: the checkpoint has no root directory of its own");
  const bundle = new Bundle(checkpoint);
  try {
    if (tar !== undefined) await bundle.takeTar(root, tar);
    if (isAll) bundle.takeUsed();
    return { checkpoint: bundle.checkpoint(), close: () => bundle.close() };
  } catch (error) {
    bundle.close();
    throw error;
  }
}

/** An entry and where its content is. */
interface Entry {
  readonly row: Omit<MountEntryRow, "object" | "mount">;
  readonly content?: {
    readonly source: PageSource;
    readonly position: bigint;
    readonly size: bigint;
    /** Where it has bytes, if not everywhere. */
    readonly data?: readonly { readonly offset: bigint; readonly length: bigint }[];
  };
}

class Bundle {
  readonly #tables: Tables;
  readonly #objects: ObjectRow[];
  readonly #extents: ExtentRow[];
  readonly #entries: MountEntryRow[];
  readonly #sources: PageSource[];
  readonly #opened: PageSource[] = [];
  readonly #mounts: Tables["mounts"][number][];

  constructor(private readonly whole: Checkpoint) {
    const { tables, sources } = whole;
    this.#tables = tables;
    this.#objects = [...tables.objects];
    this.#extents = [...tables.extents];
    this.#entries = [...tables.mountEntries];
    this.#mounts = [...tables.mounts];
    this.#sources = [...sources];
  }

  checkpoint(): Checkpoint {
    const tables = {
      ...this.#tables,
      objects: this.#objects,
      extents: this.#extents,
      mountEntries: this.#entries,
      mounts: this.#mounts,
    };
    return new Checkpoint({ tables, sources: this.#sources, unknownTables: this.whole.unknownTables });
  }

  close(): void {
    for (const source of this.#opened) source.close();
  }

  async takeTar(mount: number, tar: string): Promise<void> {
    const { members, fd } = await readTar(tar);
    const source = this.#opens(new FilePageSource(tar, fd));
    this.#put(
      mount,
      inOrder(members).map((member) => ({
        row: entryOf(member),
        ...(member.type === "file" && member.size > 0n
          ? { content: { source, position: member.position, size: member.size, data: dataOf(member) } }
          : {}),
      })),
    );
  }

  /** Every directory that a mount names. */
  takeUsed(): void {
    const { objects } = this.#tables;
    const mounts = [...this.#mounts];
    const paths = new Map<number, Set<string>>();
    const add = (path: string): void => {
      const mount = mountOfPath(mounts, path);
      if (mount === undefined) return;
      const known = paths.get(mount) ?? new Set();
      known.add(outOf(path, mounts[mount]?.point ?? "/") ?? "");
      paths.set(mount, known);
    };
    for (const { kind, path, linkTarget } of objects) {
      if ((kind === "file" || kind === "directory" || kind === "other") && path.startsWith("/")) add(linkTarget === "" ? path : linkTarget);
    }
    // What is mounted on a directory needs it.
    for (const { point, parent } of mounts) if (parent !== null) add(point.slice(0, Math.max(point.lastIndexOf("/"), 1)));
    mounts.forEach((row, mount) => {
      const isDirectory = row.source !== "" && statSync(row.source, { throwIfNoEntry: false })?.isDirectory() === true;
      const isOutside = row.origin === "rootfs" || (row.origin === "external" && !row.fsType.startsWith("cgroup"));
      if (!isOutside || !isDirectory) return;
      const used = paths.get(mount) ?? new Set();
      // Distributions have links such as /bin.
      if (row.origin === "rootfs") {
        for (const entry of readdirSync(row.source, { withFileTypes: true })) if (entry.isSymbolicLink()) used.add(entry.name);
      }
      this.#put(mount, this.#entriesOf(row.source, used));
    });
  }

  /** Entries for paths below a directory, and for the directories that lead to them; what is not there is left out. */
  #entriesOf(directory: string, paths: ReadonlySet<string>): Entry[] {
    const wanted = new Set([""]);
    for (const path of paths) {
      const parts = path.split("/");
      for (let depth = 1; depth <= parts.length; depth++) wanted.add(parts.slice(0, depth).join("/"));
    }
    return [...wanted].sort().flatMap((path) => {
      const full = join(directory, path);
      const stat = lstatSync(full, { bigint: true, throwIfNoEntry: false });
      if (stat === undefined) return [];
      const mode = Number(stat.mode);
      const row = mountEntryRow({
        path,
        mode,
        uid: Number(stat.uid),
        gid: Number(stat.gid),
        mtimeNs: stat.mtimeNs,
        target: stat.isSymbolicLink() ? readlinkSync(full) : "",
      });
      if (!stat.isFile() || stat.size === 0n) return [{ row }];
      const source = this.#opens(new FilePageSource(full, openSync(full, "r")));
      return [{ row, content: { source, position: 0n, size: stat.size } }];
    });
  }

  #opens(source: PageSource): PageSource {
    this.#opened.push(source);
    return source;
  }

  /** Makes a mount one of memory with these entries, under what the image has of its own layer already. */
  #put(mount: number, base: readonly Entry[]): void {
    const row = this.#mounts[mount];
    if (row === undefined) return;
    const layer = this.#entries.filter((entry) => entry.mount === mount && entry.path !== "");
    const removed = layer.filter(isWhiteout).map(({ path }) => path);
    const replaced = new Set(layer.map(({ path }) => path));
    const isLeft = (path: string): boolean => !replaced.has(path) && !removed.some((gone) => path.startsWith(`${gone}/`));
    const entries = base.filter(({ row: { path } }) => isLeft(path)).map((entry) => this.#add(mount, entry));
    const known = new Set([...entries, ...layer].map(({ path }) => path));
    const added: MountEntryRow[] = [];
    const addParents = (path: string): void => {
      const parts = path.split("/");
      for (let depth = 1; depth < parts.length; depth++) {
        const parent = parts.slice(0, depth).join("/");
        if (known.has(parent)) continue;
        known.add(parent);
        added.push(mountEntryRow({ mount, mode: modes.directory | 0o755, path: parent }));
      }
    };
    for (const { path } of [...entries, ...layer]) addParents(path);
    const top = entries.some(({ path }) => path === "") ? [] : [mountEntryRow({ mount, mode: modes.directory | 0o755, path: "" })];
    const depth = ({ path, mode, target }: MountEntryRow): number =>
      (path === "" ? 0 : path.split("/").length) + ((mode & S_IFMT) === modes.file && target !== "" ? 1000 : 0);
    const all = [...top, ...entries, ...added, ...layer.filter((entry) => !isWhiteout(entry))].sort((a, b) => depth(a) - depth(b));
    const others = this.#entries.filter((entry) => entry.mount !== mount);
    this.#entries.splice(0, this.#entries.length, ...others, ...all);
    this.#mounts[mount] = { ...row, origin: "made", fsType: "tmpfs", source: "tmpfs", options: "mode=755", root: "/", superFlags: 0 };
  }

  #add(mount: number, { row, content }: Entry): MountEntryRow {
    if (content === undefined) return { ...row, mount, object: null };
    const { mode, path, uid, gid, mtimeNs } = row;
    const { source, position, size, data = [{ offset: 0n, length: size }] } = content;
    const object = this.#objects.push(objectRow({ kind: "ghost", mode, path: `/${path}`, uid, gid, size, mtimeNs, atimeNs: mtimeNs })) - 1;
    let index = this.#sources.indexOf(source);
    if (index < 0) index = this.#sources.push(source) - 1;
    for (const { offset, length } of data) {
      const place = { address: offset, length, fileOffset: position + offset, source: index };
      this.#extents.push(extentRow({ ownerKind: "object", owner: object, ...place }));
    }
    return { ...row, mount, object };
  }
}
