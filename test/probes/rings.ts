// SPDX-License-Identifier: Apache-2.0
import type { Family } from "./probe.js";

export const rings: Family = {
  program: "rings",
  title: "Rings of io_uring",
  probes: [
    { name: "idle", state: "ring that has done many requests, with completions that nobody has read", is: "kept" },
    { name: "buffers", state: "registered buffers", is: "kept" },
    { name: "single", state: "ring of the first thread of its process (IORING_SETUP_SINGLE_ISSUER, _DEFER_TASKRUN)", is: "kept" },
    { name: "large", state: "large requests and completions (IORING_SETUP_SQE128, _CQE32)", is: "kept" },
    { name: "poll", state: "request that waits for a file", is: { refused: /1 request that waits for a file/ } },
    { name: "multishot", state: "requests that gave several completions", is: { refused: /more completions than requests/ } },
    { name: "files", state: "registered files", is: { refused: /an io_uring with registered files/ } },
    { name: "event", state: "registered eventfd", is: { refused: /an io_uring with a registered eventfd/ } },
    { name: "itself", state: "ring that is registered itself (IORING_REGISTER_RING_FDS)", is: { refused: /that is registered itself/ } },
    { name: "restricted", state: "restrictions (IORING_REGISTER_RESTRICTIONS)", is: { refused: /an io_uring with restrictions/ } },
    { name: "disabled", state: "ring that is not enabled yet (IORING_SETUP_R_DISABLED)", is: { refused: /that is not enabled yet/ } },
    {
      name: "looked-after",
      state: "ring that a thread of the kernel looks after (IORING_SETUP_SQPOLL)",
      is: { refused: /IORING_SETUP_SQPOLL/ },
    },
    { name: "own-memory", state: "ring in memory of the program (IORING_SETUP_NO_MMAP)", is: { refused: /IORING_SETUP_NO_MMAP/ } },
  ],
  notes: [
    "Of a ring it is known that nothing is under way when it has given as many completions as it has taken requests. What cannot be " +
      "seen and is not kept: registered credentials and rings of buffers (IORING_REGISTER_PERSONALITY, _PBUF_RING), limits on its " +
      "workers, and IORING_SETUP_COOP_TASKRUN, _SUBMIT_ALL and _ATTACH_WQ.",
  ],
};
