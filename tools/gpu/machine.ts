// SPDX-License-Identifier: Apache-2.0
/** The machine that the page is about. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { must, root, run } from "./run.js";

export interface Machine {
  readonly gpu: string;
  readonly driver: string;
  readonly kernel: string;
  readonly nvcc: string;
  readonly torch: string;
  /** Seconds that a GB takes to be written into a new file, by one thread and by nothing else: twice in a row. */
  readonly plainWrites: readonly number[];
}

/** A GB of zeros, written 256 KiB at a time. */
function plainWrite(path: string): number {
  const piece = Buffer.alloc(1 << 18);
  const since = performance.now();
  const fd = openSync(path, "w");
  for (let done = 0; done < 1e9; done += piece.length) writeSync(fd, piece);
  closeSync(fd);
  const seconds = (performance.now() - since) / 1000;
  rmSync(path);
  return seconds;
}

export const Machine = {
  look(directory: string): Machine {
    const [gpu = "?", driver = "?"] = must("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"])
      .stdout.trim()
      .split(", ");
    const include = run("bash", ["-c", 'dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")"']).stdout.trim();
    must("cc", ["-c", `-I${include}/include`, "-o", join(directory, "interface.o"), join(root, "tools/gpu/check-interface.c")]);
    return {
      gpu,
      driver,
      kernel: release(),
      nvcc: /release ([\d.]+)/.exec(must("nvcc", ["--version"]).stdout)?.[1] ?? "?",
      plainWrites: [1, 2].map(() => plainWrite(join(directory, "plain"))),
      torch: must("python3", ["-c", "import torch; print(torch.__version__)"], { seconds: 120 }).stdout.trim(),
    };
  },
};
