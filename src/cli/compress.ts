// SPDX-License-Identifier: Apache-2.0
/** --compress and --dedup of dump and convert. */
import { CrimgError } from "../errors/crimg-error.js";

export const compressOption = {
  type: "string",
  value: "METHOD",
  describe: "Compress stored pages: lz4. The image inflates them itself when it is executed",
} as const;

export const dedupOption = { type: "boolean", describe: "Store pages that are equal once" } as const;

/** @throws CrimgError `usage.compress` */
export function parseCompress(text: string | undefined): { readonly compress?: "lz4" } {
  if (text === undefined) return {};
  if (text === "lz4") return { compress: text };
  throw new CrimgError("usage.compress", `--compress ${text}: there is no such method`, {
    expected: "lz4",
    ...(text === "zstd" ? { hint: "an image inflates its pages itself, and has a decoder for lz4 only" } : {}),
  });
}
