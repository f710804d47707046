// SPDX-License-Identifier: Apache-2.0
/** The machine that the page is about. */
import { release } from "node:os";
import { join } from "node:path";
import { must, root, run } from "./run.js";

export interface Machine {
  readonly gpu: string;
  readonly driver: string;
  readonly kernel: string;
  readonly nvcc: string;
  readonly torch: string;
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
      torch: must("python3", ["-c", "import torch; print(torch.__version__)"], { seconds: 120 }).stdout.trim(),
    };
  },
};
