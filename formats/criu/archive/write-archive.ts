// SPDX-License-Identifier: Apache-2.0
/** An image set → an archive, as Podman and CRI-O take it (`podman container restore --import`): what they wrote beside it comes back. */
import { closeSync, createReadStream, fstatSync, ftruncateSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Output } from "../../../src/adapter/output.js";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import { isWhiteout } from "../../../src/model/root-files.js";
import { ForeignReader } from "../foreign/foreign.js";
import { NetworkNamespaceSchema } from "../gen/namespaces_pb.js";
import { engineMemory } from "../map/namespace-images.js";
import { one } from "../wire/image-lists.js";
import { ImageSet } from "../wire/image-set.js";
import type { Compression } from "./archive.js";
import { bindPoints, factsOf } from "./container.js";
import { carriedMembers, contentsBeside, engineFolder, isCarriedMember, keptMembers } from "./engine-members.js";
import { extractSet } from "./extract.js";
import { type Member, membersOfDirectory } from "./members.js";
import { archiveAt } from "./oci.js";
import { TarWriter } from "./tar-writer.js";
import { deletedFiles, nameless, rootDiffTar, sharedMemoryTar, storedNameOf } from "./tmpfs.js";
import { writeTmpfs } from "./write-tmpfs.js";

/** The compression that the name of an archive asks for; undefined for the name of a directory. */
export function compressionByName(path: string): Compression | undefined {
  if (/\.(tar\.zst|tzst)$/.test(path)) return "zstd";
  if (/\.(tar\.gz|tgz)$/.test(path)) return "gzip";
  return /\.tar$/.test(path) ? "none" : undefined;
}

interface File {
  readonly name: string;
  readonly fd: number;
}

/**
 * Writes an archive into the file of `output`.
 * @param like another checkpoint of the same container, whose engine's files this one gets
 * @param writeSet writes the images, by `create`
 */
export async function writeArchive(
  checkpoint: Checkpoint,
  output: Output,
  compression: Compression,
  like: string | undefined,
  writeSet: (output: Output, enginePoints: ReadonlySet<string>) => Promise<void>,
): Promise<void> {
  const engine = like === undefined ? filesKept(checkpoint) : await filesOf(like);
  const { members, network } = engine;
  const files: File[] = [];
  const create = (name: string): { fd: number; path: string } => {
    const fd = nameless();
    files.push({ name, fd });
    return { fd, path: `${output.path}: ${name}` };
  };
  try {
    await writeSet({ ...output, create }, bindPoints(members.get("spec.dump")));
    const set = withNetwork(files.splice(0), network);
    try {
      const kept = await writeContents(checkpoint, engine, create);
      const tar = new TarWriter(output.file().fd, compression);
      try {
        await addAll(tar, members, [...files, ...kept], set);
      } catch (error) {
        await tar.abandon();
        throw error;
      }
      await tar.finish();
    } finally {
      for (const { fd } of set) closeSync(fd);
    }
  } finally {
    for (const { fd } of [...files, ...engine.contents]) closeSync(fd);
  }
}

const [fileMode, folderMode] = [0o600, 0o700];

/** In Podman's order: the small ones first, so that `show` need not read all. */
async function addAll(
  tar: TarWriter,
  members: ReadonlyMap<string, Uint8Array>,
  contents: readonly File[],
  set: readonly File[],
): Promise<void> {
  const mtime = new Date();
  const addFile = async (name: string, fd: number): Promise<void> => {
    const { size } = fstatSync(fd);
    const bytes = size === 0 ? [] : createReadStream("", { fd, autoClose: false, start: 0, end: size - 1, highWaterMark: 1 << 20 });
    await tar.add({ name, size, mode: fileMode, mtime }, bytes);
  };
  const isEngines = members.size > 0;
  if (isEngines) await tar.add({ name: "artifacts/", type: "directory", mode: folderMode, mtime });
  for (const { name, fd } of contents) await addFile(name, fd);
  for (const [name, content] of members) await tar.add({ name, size: content.length, mode: fileMode, mtime }, [content]);
  if (isEngines) await tar.add({ name: "checkpoint/", type: "directory", mode: folderMode, mtime });
  for (const { name, fd } of set) await addFile(isEngines ? `checkpoint/${name}` : name, fd);
}

/**
 * What an engine keeps beside the set: /dev/shm always, what the container changed of its image, and volumes. Returns the
 * engine's own files that stay as they are.
 */
async function writeContents(checkpoint: Checkpoint, engine: EngineFiles, create: Output["create"]): Promise<readonly File[]> {
  if (engine.members.size === 0) return [];
  const { tables } = checkpoint;
  const written = new Set<string>();
  const write = async (name: string, mount: number): Promise<void> => {
    written.add(name);
    await writeTmpfs(create(name).fd, checkpoint, mount, "none");
  };
  const memory = engineMemory(tables);
  if (memory !== undefined) await write(sharedMemoryTar, memory);
  for (const { name, destination } of factsOf(membersAsRead(engine))?.volumes ?? []) {
    const row = tables.mounts.findIndex(({ origin, point }) => origin === "made" && point === destination);
    if (row >= 0) await write(`volumes/${name}.tar`, row);
  }
  const root = tables.mounts.findIndex(({ parent, origin }) => parent === null && origin === "rootfs");
  const layer = tables.mountEntries.filter(({ mount }) => mount === root);
  if (layer.length > 0) {
    // The root itself is in it in any case.
    if (layer.some((entry) => entry.path !== "" && !isWhiteout(entry))) await write(rootDiffTar, root);
    const removed = layer.filter(isWhiteout).map(({ path }) => `/${path}`);
    if (removed.length > 0) writeSync(create(deletedFiles).fd, JSON.stringify(removed));
    for (const name of [rootDiffTar, deletedFiles]) written.add(name);
  }
  const hasMemory = memory !== undefined || engine.contents.some(({ name }) => name === sharedMemoryTar);
  if (!hasMemory) await write(sharedMemoryTar, -1);
  return engine.contents.filter(({ name }) => !written.has(name));
}

const membersAsRead = ({ members }: EngineFiles): Member[] =>
  [...members].map(([name, content]) => ({ name, size: content.length, mtime: undefined, content: Buffer.from(content) }));

/** The network is the engine's: the set says by which name it hands it over, and no more. */
function withNetwork(set: readonly File[], network: Buffer | undefined): readonly File[] {
  if (network === undefined) return set;
  for (const { name, fd } of set) {
    if (!/^netns-\d+\.img$/.test(name)) continue;
    ftruncateSync(fd, 0);
    writeSync(fd, network, 0, network.length, 0);
  }
  const others = /^(netdev|ifaddr|route6?)-\d+\.img$/;
  for (const { name, fd } of set) if (others.test(name)) closeSync(fd);
  return set.filter(({ name }) => !others.test(name));
}

/** What there is in another archive of the same container, or in a directory that was one. */
interface EngineFiles {
  readonly members: ReadonlyMap<string, Uint8Array>;
  /** Its netns-N.img, if that names a network from outside. */
  readonly network: Buffer | undefined;
  /** What it keeps beside the set, open. */
  readonly contents: readonly File[];
}

const filesKept = ({ tables }: Checkpoint): EngineFiles => ({
  members: keptMembers(new ForeignReader(tables)),
  network: undefined,
  contents: [],
});

async function filesOf(path: string): Promise<EngineFiles> {
  const archive = archiveAt(path);
  // Pages are passed over.
  const extracted = archive === undefined ? undefined : await extractSet(path, archive, 0, Number.POSITIVE_INFINITY);
  try {
    const members = carriedMembers(extracted?.members ?? membersOfDirectory(path, isCarriedMember));
    const set = extracted?.directory ?? join(path, engineFolder);
    if (members.size > 0) {
      const beside = extracted === undefined ? contentsBeside(path, new Set(readdirSync(path))) : filesIn(set);
      const contents = [...beside].flatMap(([name, file]) =>
        storedNameOf(name) === undefined ? [] : [{ name: memberOf(name), fd: openSync(file, "r") }],
      );
      return { members, network: networkOf(set), contents };
    }
  } finally {
    if (extracted !== undefined) rmSync(extracted.temporary, { recursive: true, force: true });
  }
  throw new CrimgError("criu.like", "It has neither config.dump nor spec.dump: no container engine made it.", {
    source: path,
    format: "criu",
    hint: "Name a checkpoint of the same container, as podman container checkpoint --export writes it.",
  });
}

const filesIn = (directory: string): Map<string, string> => new Map(readdirSync(directory).map((name) => [name, join(directory, name)]));

/** The member of an archive that has such a name among the files of the set. */
const memberOf = (name: string): string => name.replace(/^volumes-/, "volumes/");

/** Without a name the runtime makes an empty network. */
function networkOf(directory: string): Buffer | undefined {
  const set = new ImageSet(directory, directory);
  const name = [...set.names].find((one) => /^netns-\d+\.img$/.test(one));
  if (name === undefined) return undefined;
  const { extKey } = one(set, name, "netns", NetworkNamespaceSchema);
  return extKey.length === 0 ? undefined : readFileSync(join(directory, name));
}
