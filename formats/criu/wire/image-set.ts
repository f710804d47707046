// SPDX-License-Identifier: Apache-2.0
/** A directory of images, and through its `parent` link the images that an incremental dump builds on. */
import { lstatSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { ImageReader } from "./image-reader.js";

/** Name of the symbolic link to the images that an incremental dump builds on. */
const parentName = "parent";
/** More names than this in a directory are refused: a set has a handful a task. */
const maxNames = 1_000_000;
/** Incremental dumps build on one another; deeper than this is a loop or nonsense. */
const maxDepth = 1024;

export class ImageSet {
  readonly names: ReadonlySet<string>;

  constructor(
    /** The directory with the images. */
    readonly directory: string,
    /** For messages: what the user named, if the directory is a private copy. */
    readonly label: string,
    /** Removed at close. */
    readonly temporary: string | undefined = undefined,
    readonly depth = 0,
    /** Files elsewhere that count as its own: name → path. */
    private readonly beside: ReadonlyMap<string, string> = new Map(),
  ) {
    const names = [...readdirSync(directory), ...beside.keys()];
    if (names.length > maxNames) {
      throw new CrimgError("criu.names", `The directory has ${names.length} names; no more than ${maxNames} are accepted.`, {
        source: label,
        format: "criu",
      });
    }
    this.names = new Set(names);
  }

  has(name: string): boolean {
    return this.names.has(name);
  }

  path(name: string): string {
    return this.beside.get(name) ?? join(this.directory, name);
  }

  labelOf(name: string): string {
    return join(this.label, name);
  }

  /** Opens an image and checks its magic numbers. */
  open(name: string, typeId: string): ImageReader {
    const reader = new ImageReader(this.path(name), this.labelOf(name));
    try {
      reader.readMagic(typeId);
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** The set that this one builds on, or undefined. */
  parent(): ImageSet | undefined {
    if (!this.names.has(parentName)) return undefined;
    const path = this.path(parentName);
    const where = { source: this.labelOf(parentName), format: "criu" };
    if (this.temporary !== undefined) {
      throw new CrimgError("criu.parent", "The archive holds an incremental set, whose parent images are not in it.", {
        ...where,
        hint: "Unpack the archive beside its parent images and name the directory.",
      });
    }
    if (this.depth >= maxDepth) throw new CrimgError("criu.parent", "Parent images refer to one another without end.", where);
    let directory: string;
    try {
      directory = realpathSync(path);
      if (!lstatSync(directory).isDirectory()) throw new Error("not a directory");
    } catch (cause) {
      throw new CrimgError("criu.parent", "The parent images that this incremental set needs are not there.", {
        ...where,
        hint: "Keep the directory that the link names, at the same place.",
        cause,
      });
    }
    return new ImageSet(directory, path, undefined, this.depth + 1);
  }

  /** Removes what was made for this set. */
  close(): void {
    if (this.temporary !== undefined) rmSync(this.temporary, { recursive: true, force: true });
  }
}
