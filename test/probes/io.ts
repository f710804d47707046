// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const io: Family = {
  program: "io",
  title: "Asynchronous I/O and packet sockets",
  probes: [
    { name: "aio", state: "context with events that nobody has taken (io_setup)", is: "kept" },
    { name: "packet", state: "packet socket with a mapped ring, a membership and a fanout group", is: "kept" },
  ],
  notes: ["Requests of io_submit(2) that are under way cannot be seen; those that end before the memory is copied are kept as events."],
};
