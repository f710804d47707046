/**
 * Makes the bundle's code cache. It holds the functions that ran until it was made, so a dump runs here, of a child
 * that sleeps, whatever descriptors it inherited. Where that may not be dumped (another process traces us, say) the cache holds less, and nothing is lost.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { cache, loadBundle } = createRequire(import.meta.url)("../../bin/bundle.cjs");
const directory = mkdtempSync(join(tmpdir(), "crimg-build-"));
const sleeper = spawn("sleep", ["60"], { stdio: "ignore" });
try {
  const { runCommandLine, script } = loadBundle();
  await runCommandLine(["dump", String(sleeper.pid), "-o", join(directory, "image.elf"), "--leave-running", "--ignore", "descriptor"]);
  writeFileSync(cache, script.createCachedData());
} finally {
  sleeper.kill();
  rmSync(directory, { recursive: true, force: true });
}
