// SPDX-License-Identifier: Apache-2.0
/** All families of probes, in the order of docs/limits.md. A new one is a C program, a list like process.ts, and a line here. */
import { confinement } from "./confinement.js";
import { files } from "./files.js";
import { huge } from "./huge.js";
import { io } from "./io.js";
import { ipc } from "./ipc.js";
import { memory } from "./memory.js";
import type { Family } from "./probe.js";
import { namespaces } from "./namespaces.js";
import { processes } from "./process.js";
import { rings } from "./rings.js";
import { security } from "./security.js";
import { socketOptions } from "./socket-options.js";
import { sockets } from "./sockets.js";
import { threads } from "./threads.js";

export const families: readonly Family[] = [
  memory,
  huge,
  security,
  threads,
  processes,
  files,
  ipc,
  io,
  rings,
  confinement,
  sockets,
  socketOptions,
  namespaces,
];
