// SPDX-License-Identifier: Apache-2.0
/** Zombies in a process group or a session whose leader is gone: what lends it its id leaves nothing behind. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { crimg, spawned, start, temporaryDirectory, until } from "../support/processes.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { assertSecondOpinion } from "../support/restore-model/second-opinion.js";

/** The root takes up orphans. Its child has a zombie, which is alone in the group of a process that has been reaped. */
const ofGroup = `
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork():
    while True: time.sleep(60)
leader = os.fork()
if leader == 0:
    os.setpgid(0, 0)
    time.sleep(60)
end, go = os.pipe()
zombie = os.fork()
if zombie == 0:
    os.close(go)
    os.read(end, 1)
    os._exit(3)
while os.getpgid(leader) != leader: time.sleep(0.01)
os.setpgid(zombie, leader)
os.close(go)
os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
os.kill(leader, 9)
os.waitpid(leader, 0)
with open(sys.argv[1], "w") as file: file.write(f"{zombie} {leader}\\n")
while True: time.sleep(60)
`;

/** The root has taken up a zombie, which is alone in the session of its parent, that has been reaped. */
const ofSession = `
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
end, told = os.pipe()
leader = os.fork()
if leader == 0:
    os.setsid()
    zombie = os.fork()
    if zombie == 0: os._exit(3)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    os.write(told, str(zombie).encode())
    os._exit(0)
zombie = int(os.read(end, 16))
os.close(end)
os.close(told)
os.waitpid(leader, 0)
with open(sys.argv[1], "w") as file: file.write(f"{zombie} {leader}\\n")
while True: time.sleep(60)
`;

/** Children of a process, with name, state and group. */
function below(pid: number): string[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean);
  return children.flatMap((child) => {
    const stat = readFileSync(`/proc/${child}/stat`, "latin1");
    const [state = "", , group = ""] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [`${child} ${state === "Z" ? "zombie" : "runs"} in ${group}`, ...below(Number(child))];
  });
}

for (const [what, program] of [
  ["group", ofGroup],
  ["session", ofSession],
] as const)
  test(`a zombie of a ${what} whose leader is gone comes back alone`, { timeout: 60_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const [script, told, image] = [join(directory, "program.py"), join(directory, "told"), join(directory, "image.elf")];
    writeFileSync(script, program);
    writeFileSync(told, "");
    const { pid } = start(t, "python3", [script, told], { stdio: "ignore", detached: true });
    await until("the zombie is there", () => readFileSync(told, "latin1").endsWith("\n"));
    const [zombie, leader] = readFileSync(told, "latin1").trim().split(" ");
    const before = below(pid);
    assert.ok(before.includes(`${zombie} zombie in ${leader}`), before.join("\n"));
    await dumped(pid, image);
    spawned.delete(pid);
    assertSecondOpinion(image);
    const root = resume(t, image, directory);
    assert.equal(root, pid);
    // What ends late would be there a little later.
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(below(root), before);
    assert.match(crimg("show", image).stdout, /zombie, exit 3/);
  });
