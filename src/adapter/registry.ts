// SPDX-License-Identifier: Apache-2.0
/** Formats by id, loaded when they are needed: start-up pays for none of them. */
import { CrimgError } from "../errors/crimg-error.js";
import type { FormatAdapter } from "./format.js";

/** A format's module: `formats/<id>/index.ts`. */
export interface FormatModule {
  readonly format: FormatAdapter;
}

/** Handed to everything that works with formats; formats/registry.ts (generated) makes the real one. */
export interface FormatRegistry {
  /** In the order in which detection asks them. */
  readonly ids: readonly string[];
  /** Throws CrimgError `format.unknown` for an id that is not there. */
  load(id: string): Promise<FormatAdapter>;
}

/** A registry over a table of loaders. */
export function registryOf(loaders: Readonly<Record<string, () => Promise<FormatModule>>>): FormatRegistry {
  const ids = Object.keys(loaders);
  return {
    ids,
    async load(id) {
      const loader = Object.hasOwn(loaders, id) ? loaders[id] : undefined;
      if (loader === undefined) {
        throw new CrimgError("format.unknown", `there is no format "${id}"`, {
          expected: ids.join(", "),
          hint: "crimg formats lists what each of them holds",
        });
      }
      return (await loader()).format;
    },
  };
}
