// SPDX-License-Identifier: Apache-2.0
/** docs/gpu.md. */
import type { Machine } from "./machine.js";
import type { Result } from "./result.js";

const ms = (value: number): string => `${Math.round(value)} ms`;
const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
/** Beside the driver's own time, a GB of image. */
const perGb = (total: number, driver: number, bytes: number): string => `${((total - driver) / 1000 / (bytes / 1e9)).toFixed(2)} s`;
/** One line, for a cell. */
const cell = (text: string): string => text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|");

export function renderPage(machine: Machine, results: readonly Result[]): string {
  const dumps = results.filter((result) => result.kind === "dump");
  const resumes = results.filter((result) => result.kind === "resume");
  const claims = results.filter((result) => result.kind === "claim");
  return `# Programs on NVIDIA GPUs

<!-- written by: npm run gpu -->

\`crimg dump PID\` detects that a process of the tree uses CUDA. It has the driver (570 or later, with its own libcuda; nothing
else has to be installed) lock each such process and move the contents of its devices into its memory. Then it freezes and dumps
the tree like any other. The image is one executable that contains a small helper. When the tree has been restored, and before any
of it runs, the helper has the driver restore the GPU state.

Measured on one ${machine.gpu}, driver ${machine.driver}, kernel ${machine.kernel}, CUDA ${machine.nvcc}, PyTorch
${machine.torch}, by \`npm run gpu\` (tools/gpu), one run.

## Times

| program | image | driver: lock | driver: checkpoint | frozen | \`crimg dump\`, whole | without the driver, for each GB |
|---|---|---|---|---|---|---|
${dumps
  .map(
    (d) =>
      `| ${d.program} | ${gb(d.imageBytes)} | ${ms(d.lockMs)} | ${ms(d.checkpointMs)} | ${ms(d.frozenMs)} | ${ms(d.commandMs)} | ` +
      `${perGb(d.commandMs, d.lockMs + d.checkpointMs, d.imageBytes)} |`,
  )
  .join("\n")}

| program | image | driver: restore and unlock | \`./image\` to the program's next step | without the driver, for each GB |
|---|---|---|---|---|
${resumes
  .map(
    (r) =>
      `| ${r.program} | ${gb(r.imageBytes)} | ${ms(r.driverMs)} | ${ms(r.nextStepMs)} | ${perGb(r.nextStepMs, r.driverMs, r.imageBytes)} |`,
  )
  .join("\n")}

For comparison, one thread that does nothing but write zeros into a new file of the same file system needs
${machine.plainWrites.map((seconds) => seconds.toFixed(2)).join(" and ")} s a GB here.

The driver's time to restore is that of the same process with \`--leave-running\`. The times of the commands include the start of the
driver in crimg's helper.

## Results

| claim | holds | seen |
|---|---|---|
${claims.map((c) => `| ${cell(c.what)} | ${c.holds ? "yes" : "**no**"} | ${cell(c.seen)} |`).join("\n")}

${notes}`;
}

const notes = `## What to know

- The pid that the program itself sees must not change: \`--pid any\` is refused for these images. A new pid namespace keeps it.
- \`--gpu-timeout SECONDS\` (10) limits the wait for running GPU work. A kernel that runs longer makes the dump fail, and the
  program continues.
- If anything fails, or crimg is killed, the program gets its GPU back: a helper process holds the driver's lock, and restores
  everything when crimg is gone. If that helper is killed too: \`build/crimg-cuda give-back PID\`.
- \`crimg show\` lists the GPUs, memory and driver that an image needs; \`crimg validate --profile host\` checks whether they are here.
- To use another GPU of the same kind: \`./image --gpu-map OLD=NEW\`, with the names that \`nvidia-smi -L\` prints.
- Images also contain what was on the device and the driver's own state, about 560 MB for a small program.
- What the driver cannot checkpoint, such as memory shared between processes (CUDA IPC), is refused with the driver's own message.
`;
