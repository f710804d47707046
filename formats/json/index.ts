// SPDX-License-Identifier: Apache-2.0
/** The model as a JSON document that people can read, change and turn back. */
import type { FacetSupport, FormatAdapter } from "../../src/adapter/format.js";
import { facetNames, type FacetName } from "../../src/adapter/format.js";
import { documentFormat } from "./document.js";

const documentStart = new RegExp(`^\\s*\\{[^\\u0000]*"format"\\s*:\\s*"${documentFormat}"`);

export const format: FormatAdapter = {
  id: "json",
  title: "JSON document",
  shape: "file",
  keepsAbsentMemory: true,
  // The rows as they are: nothing is lost, whatever they say.
  facets: Object.fromEntries(facetNames.map((name) => [name, "exact"])) as Readonly<Record<FacetName, FacetSupport>>,
  probe({ isDirectory, head }) {
    return !isDirectory && head[0] !== undefined && documentStart.test(Buffer.from(head.subarray(0, 4096)).toString("latin1"));
  },
  async read(path, options) {
    // The judge of schemas is large: who only writes should not wait for it.
    const { readDocument } = await import("./read.js");
    return readDocument(path, options);
  },
  losses() {
    return [];
  },
  async write(checkpoint, output, options) {
    const { writeDocument } = await import("./write.js");
    await writeDocument(checkpoint, output, options);
  },
};
