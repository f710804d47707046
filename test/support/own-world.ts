// SPDX-License-Identifier: Apache-2.0
/** A test file in network, IPC and mount namespaces of its own: what it sees there, no other test changes. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const mark = "CRIMG_TEST_OWN_WORLD";
/** Loopback, and empty places for queues and shared memory. Mounts of others do not come in: unshare makes them private. */
const prepare = [
  "ip link set lo up",
  "{ [ ! -d /dev/mqueue ] || mount -t mqueue mqueue /dev/mqueue; }",
  "{ [ ! -d /dev/shm ] || mount -t tmpfs -o size=16m tmpfs /dev/shm; }",
].join(" && ");
const enter = (...command: string[]): [string, string[]] => ["unshare", ["-nim", "sh", "-c", `${prepare} && exec "$@"`, "sh", ...command]];

/**
 * To be called first of all in a test file: runs the file again in a world of its own, passes on what it reports, and ends with its
 * status. Returns true there, and false where this needs more than the user may or the machine has: the tests then run as they are.
 *
 * @param url of the test file: import.meta.url
 */
export function inOwnWorld(url: string): boolean {
  if (process.env[mark] === "1") return true;
  if (process.getuid?.() !== 0 || spawnSync(...enter("true")).status !== 0) return false;
  const [command, args] = enter(process.execPath, ...process.execArgv, fileURLToPath(url));
  process.exit(spawnSync(command, args, { stdio: "inherit", env: { ...process.env, [mark]: "1" } }).status ?? 1);
}
