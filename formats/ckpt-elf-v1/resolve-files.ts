// SPDX-License-Identifier: Apache-2.0
/**
 * Which files the areas of a v1 image map. The image itself has no names: the helper of 2011 opened the files that
 * fdinfo-PID.img names and patched the descriptors into the areas. So here: a descriptor that is patched in names an
 * open file of the caller, else the fdinfo image of the set beside the ELF file names the file.
 */
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { decodeText } from "../../src/bytes/text.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { VmaEntry } from "../../src/gen/ckpt-elf-v1.js";
import { fdinfoMagic, fdinfoTypeValues, readFdinfoEntry } from "../../src/gen/crtools-2011.js";
import { formatId } from "./headers.js";

/** Largest fdinfo image that is read. */
const maxFdinfoBytes = 16 << 20;

/** Finds the path of the file that an area maps, if there is a way to know. */
export type PathOf = (vma: VmaEntry) => string | undefined;

/** @param mapFd whether descriptors in the image are those of this process (--map-fd) */
export function pathResolver(image: string, pid: number, mapFd: boolean): PathOf {
  let named: ReadonlyMap<bigint, string> | undefined;
  return (vma) => {
    if (mapFd && vma.fd >= 0n) return pathOfDescriptor(vma, image);
    named ??= namesBeside(image, pid);
    return named.get(vma.start);
  };
}

/** The file that a descriptor of this process names. @throws CrimgError `v1.fd` */
function pathOfDescriptor(vma: VmaEntry, image: string): string {
  const where = `the area at 0x${vma.start.toString(16)} maps descriptor ${vma.fd}`;
  const place = { source: image, path: "fd", format: formatId };
  let target: string;
  try {
    target = readlinkSync(`/proc/self/fd/${vma.fd}`);
  } catch (cause) {
    throw new CrimgError("v1.fd", `${where}, which is not open`, {
      ...place,
      cause,
      hint: `open it for the command: crimg exec --map-fd ${image} ${vma.fd}<FILE`,
    });
  }
  const isNamed = target.startsWith("/") && statSync(target, { throwIfNoEntry: false }) !== undefined;
  if (isNamed) return target;
  throw new CrimgError("v1.fd", `${where}, which is ${target}: only a file that still has a name can be mapped again`, place);
}

/** Names by address from fdinfo-PID.img in the folder of the image or the one above it. */
function namesBeside(image: string, pid: number): ReadonlyMap<bigint, string> {
  const folder = dirname(image);
  for (const directory of [folder, join(folder, "..")]) {
    const names = namesIn(join(directory, `fdinfo-${pid}.img`));
    if (names) return names;
  }
  return new Map();
}

/** What an fdinfo image says about mapped files; undefined if it is none, as it is only a help. */
function namesIn(path: string): ReadonlyMap<bigint, string> | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.size > maxFdinfoBytes) return undefined;
  const reader = new ByteReader(readFileSync(path), { source: path, format: "crtools" });
  if (reader.remaining < 4 || reader.u4() !== fdinfoMagic) return undefined;
  const names = new Map<bigint, string>();
  for (let index = 0; reader.remaining > 0; index++) {
    reader.enter("fdinfo", index);
    const entry = readFdinfoEntry(reader);
    const name = decodeText(entry.path);
    const isSound = name.startsWith("/") && !name.includes("\0") && !name.split("/").includes("..");
    if (entry.type === fdinfoTypeValues.map && isSound) names.set(entry.addr, name);
  }
  return names;
}
