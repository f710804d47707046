// SPDX-License-Identifier: Apache-2.0
/**
 * The official Kaitai compiler's JavaScript readers of the same .ksy files: an independent oracle for ours.
 * Its readers get a stream whose 64-bit reads are exact, so that every value can be compared bit for bit.
 */
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import kaitai from "kaitai-struct";
import { parse } from "yaml";
import { pascalCase } from "../../tools/gen/names.js";
import { projectRoot } from "./project.js";

const require = createRequire(import.meta.url);
const KaitaiStream = kaitai.KaitaiStream as unknown as typeof kaitai.KaitaiStream.default;

interface Importer {
  readonly importYaml: (name: string, mode: string) => Promise<unknown>;
}
interface Compiler {
  readonly compile: (language: string, spec: unknown, importer: Importer, isDebug: boolean) => Promise<Record<string, string>>;
}

/** Something read by the official code: its fields, by camelCase name. */
export type OfficialValue = Readonly<Record<string, unknown>>;
type Modules = Readonly<Record<string, OfficialClass & Readonly<Record<string, OfficialClass>>>>;
type OfficialClass = new (stream: unknown, parent: unknown, root: unknown) => OfficialValue;

class ExactStream extends KaitaiStream {
  constructor(bytes: Uint8Array) {
    super(new DataView(new Uint8Array(bytes).buffer));
  }

  #take8(): number {
    this.ensureBytesLeft(8);
    this.pos += 8;
    return this.pos - 8;
  }

  // The typings say number; the official code only stores and compares the value.
  override readU8le(): number {
    return this.dataView.getBigUint64(this.#take8(), true) as unknown as number;
  }

  override readS8le(): number {
    return this.dataView.getBigInt64(this.#take8(), true) as unknown as number;
  }
}

function ksy(name: string): unknown {
  return parse(readFileSync(join(projectRoot, "spec/ksy", `${name}.ksy`), "utf8"));
}

/** The official classes of one spec. */
export class OfficialReaders {
  readonly #modules: Modules;
  readonly #specId: string;

  private constructor(specId: string, modules: Modules) {
    this.#specId = specId;
    this.#modules = modules;
  }

  /** Compiles spec/ksy/<specId>.ksy. */
  static async compile(specId: string): Promise<OfficialReaders> {
    const compiler = require("kaitai-struct-compiler") as Compiler;
    const importer: Importer = { importYaml: (name) => Promise.resolve(ksy(name.split("/").at(-1) ?? name)) };
    const sources = await compiler.compile("javascript", ksy(specId), importer, false);
    const loaded: Record<string, Record<string, OfficialClass>> = {};
    const load = (name: string): Record<string, OfficialClass> => {
      const known = loaded[name];
      if (known) return known;
      const exports: Record<string, OfficialClass> = (loaded[name] = {});
      const requireOne = (path: string): unknown => (path.startsWith("./") ? load(path.slice(2)) : require(path));
      const source = sources[`${name}.js`];
      if (source === undefined) throw new Error(`the compiler gave no ${name}.js`);
      new Function("exports", "require", "module", source)(exports, requireOne, {});
      return exports;
    };
    for (const file of Object.keys(sources)) load(file.replace(/\.js$/, ""));
    const modules = Object.fromEntries(Object.entries(loaded).map(([name, exports]) => [name, exports[name]]));
    return new OfficialReaders(specId, modules as Modules);
  }

  /** Reads one record from the start of the bytes. */
  read(record: string, bytes: Uint8Array): OfficialValue {
    const Class = this.#root()[pascalCase(record)];
    if (!Class) throw new Error(`the official code of ${this.#specId} has no ${record}`);
    return new Class(new ExactStream(bytes), null, null);
  }

  /** Reads the whole file type (the spec's own seq). */
  readWhole(bytes: Uint8Array): OfficialValue {
    return new (this.#root())(new ExactStream(bytes), null, null);
  }

  #root(): OfficialClass & Readonly<Record<string, OfficialClass>> {
    // x86_64_regs is X8664Regs there: digits do not begin a word.
    const name = pascalCase(this.#specId);
    const root = this.#modules[name];
    if (!root) throw new Error(`no ${name} among ${Object.keys(this.#modules).join(", ")}`);
    return root;
  }
}
