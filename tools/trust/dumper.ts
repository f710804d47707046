// SPDX-License-Identifier: Apache-2.0
/**
 * Dumps a process over and over, as a child of trust's main: node dumper.js PID OUTPUT FROM TO ERRNO STEP
 * With ERRNO 0 nothing fails: it dumps TO − FROM times. Else case N makes the N-th system call of the dump fail.
 * One line a case: `begin N`, then `end N CODE` (ok, or the error's code) and the number of calls made.
 */
import { rmSync, readFileSync } from "node:fs";
import { registry } from "../../formats/registry.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { callCount, setFault } from "../../src/native/sys.js";
import { dump } from "../../src/ops/dump.js";

const [pid = 0, from = 0, to = 0, errno = 0, step = 1] = [2, 4, 5, 6, 7].map((place) => Number(process.argv[place]));
const output = process.argv[3] ?? "";

/** A tracer that failed to let go does so by ending: the kernel detaches its tracees. */
const exitStillTracing = 3;

for (let index = from; index < to; index += step) {
  process.stdout.write(`begin ${index}\n`);
  const before = callCount();
  let code = "ok";
  try {
    if (errno !== 0) setFault(index, errno);
    await dump({ registry, pid, output, after: "leave-running", isTree: true, force: true, sync: false, bundle: false, ignore: [] });
  } catch (error) {
    code =
      error instanceof CrimgError
        ? error.code
        : `bug:${error instanceof Error ? (error.stack ?? error.message).split("\n").slice(0, 3).join(" ") : String(error)}`;
  } finally {
    setFault(0, 0);
  }
  process.stdout.write(`end ${index} ${callCount() - before} ${code}\n`);
  rmSync(output, { force: true });
  if (!/^TracerPid:\s*0$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) process.exit(exitStillTracing);
}
