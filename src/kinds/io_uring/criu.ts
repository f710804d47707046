// SPDX-License-Identifier: Apache-2.0
/** CRIU knows no io_uring: /dev/null takes its descriptor. */
import { deviceOf } from "../../../formats/criu/map/map-object.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";

export const mapping: FileMapping = {
  fromWire: () => undefined,
  toWire: (context, row, file) => deviceOf("/dev/null", context.fileId(row), file),
  losses: ({ tables }) => [
    {
      code: "event-fds.io-uring",
      facet: "event-fds",
      names: tables.ioUrings.map((_, index) => `ring ${index}`),
      what: "io_uring is replaced by /dev/null, and its memory by a copy: a program that waits at its ring waits for ever",
    },
  ],
};
