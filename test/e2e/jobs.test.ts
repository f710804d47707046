// SPDX-License-Identifier: Apache-2.0
/** The recipes of docs/jobs.md, word for word, with the real schedulers where they are installed. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { KubePod } from "../support/kube-pod.js";
import { crimgCommand, projectRoot } from "../support/project.js";
import { endTree, type Outcome, run, temporaryDirectory, until } from "../support/processes.js";

const isRoot = process.getuid?.() === 0;
const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const page = readFileSync(join(projectRoot, "docs/jobs.md"), "utf8");
const nobody = 65534;
/** Debian's: a wrapper of python's version managers would be another program while it looks for its python. */
const path = `${dirname(crimgCommand)}:/usr/bin:/bin:/usr/sbin:/sbin:${dirname(process.execPath)}`;
const seconds = 240;

/** The block behind `<!-- recipe: NAME -->`. */
function recipe(name: string): string {
  const found = new RegExp(`<!-- recipe: ${name} -->\\n\`\`\`\\w+\\n(.*?)^\`\`\`$`, "ms").exec(page)?.[1];
  return found ?? assert.fail(`docs/jobs.md has no recipe ${name}`);
}

/** A computation whose result tells whether any step was lost or done twice, some ten seconds long. */
const computation = `
import hashlib, time
state = b'seed'
for step in range(100):
    for _ in range(500): state = hashlib.sha256(state).digest()
    print(step, flush=True)
    time.sleep(0.1)
print('result', state.hex(), flush=True)
`;
const result = run("/usr/bin/python3", ["-c", computation.replaceAll("time.sleep(0.1)", "")])
  .stdout.split("\n")
  .at(-2);

function workplace(t: TestContext): string {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, "job.py"), computation);
  return directory;
}

/** The output of all lives of the job is that of one undisturbed life; messages of crimg are in between. */
function assertUndisturbed(directory: string): void {
  const lines = readFileSync(join(directory, "job.out"), "utf8").split("\n");
  const steps = lines.filter((line) => /^\d+$/.test(line)).map(Number);
  assert.deepEqual(
    steps,
    Array.from({ length: 100 }, (_, step) => step),
    "every step once",
  );
  assert.equal(lines.filter((line) => line.startsWith("result")).join(), result);
  assert.equal(existsSync(join(directory, "job.elf")), false, "the image is removed after the job's own end");
}

const stepsIn = (directory: string): number =>
  existsSync(join(directory, "job.out")) ? readFileSync(join(directory, "job.out"), "utf8").split("\n").length : 0;

async function moreSteps(directory: string, count = 5): Promise<void> {
  const before = stepsIn(directory);
  await until("the job goes on", () => stepsIn(directory) >= before + count, 60);
}

const sh = (script: string, options: { cwd: string; env?: NodeJS.ProcessEnv }): Outcome =>
  run("sh", ["-c", script], { seconds: 60, ...options, env: { ...process.env, PATH: path, ...options.env } });

test("timeout", { timeout: seconds * 1000 }, (t) => {
  const directory = workplace(t);
  const statuses: (number | null)[] = [];
  while (statuses.at(-1) !== 0 && statuses.length < 60) {
    const { status, stderr } = sh(recipe("timeout"), { cwd: directory });
    statuses.push(status);
    assert.ok(status === 85 || status === 0, stderr);
  }
  assert.ok(statuses.length > 3, "in several pieces");
  assertUndisturbed(directory);
});

/** Ports of 127.0.0.1 that nobody has: all are taken at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

const noSlurm = !isRoot ? "needs root" : !["slurmctld", "slurmd", "sbatch", "munged"].every(has) ? "Slurm is not installed" : false;

test("Slurm: preempted three times, requeued on the other node, as an ordinary user", {
  skip: noSlurm,
  timeout: seconds * 1000,
}, async (t) => {
  const directory = workplace(t);
  chownSync(directory, nobody, nobody);
  const script = (name: string): string => join(projectRoot, "test/support/slurm", name);
  const state = mkdtempSync(join(tmpdir(), "crimg-test-"));
  chmodSync(state, 0o755);
  // In one step: what runs is found by the directory, which goes only afterwards.
  t.after(() => {
    const down = run("bash", [script("down.sh"), join(state, "slurm")]);
    rmSync(state, { recursive: true, force: true });
    assert.equal(down.status, 0, `Slurm does not end: ${down.stdout}${down.stderr}`);
  });
  const ports = (await freePorts(3)).join(" ");
  const up = run("bash", [script("up.sh"), join(state, "slurm")], { env: { ...process.env, PATH: path, SLURM_UP_PORTS: ports } });
  assert.equal(up.status, 0, up.stdout + up.stderr);
  const env = { SLURM_CONF: join(state, "slurm/slurm.conf") };
  const slurm = (command: string): string => {
    const { status, stdout, stderr } = sh(command, { cwd: directory, env });
    assert.equal(status, 0, `${command}: ${stderr}`);
    return stdout.trim();
  };
  writeFileSync(join(directory, "job.sh"), recipe("slurm job.sh"));
  const user = `setpriv --reuid=${nobody} --regid=${nobody} --clear-groups env HOME=$PWD`;
  const job = /\d+$/.exec(slurm(`${user} ${recipe("slurm submit")}`))?.[0] ?? assert.fail("no job");
  const nodes: string[] = [];
  let urgent: string | undefined;
  const nodeOf = (): string | undefined => /^RUNNING (\S+)$/.exec(slurm(`squeue -h -j ${job} -o '%T %N'`))?.[1];
  for (let round = 0; round < 3; round++) {
    const node = await until("the job runs", nodeOf, 90);
    assert.notEqual(node, nodes.at(-1), "on the other node");
    nodes.push(node);
    await moreSteps(directory);
    // It has that node until our job runs on the other one, however slow the machine is, and no longer.
    const last = urgent;
    if (last !== undefined) {
      slurm(`scancel ${last}`);
      await until("the other node is free", () => slurm(`squeue -h -j ${last} -o %T || true`) === "", 60);
    }
    urgent = slurm(`sbatch --parsable -p high -w ${node} -o /dev/null --wrap 'sleep 200'`);
    // The state of the job itself says less: while Slurm sends a signal it is SIGNALING, and then RUNNING on the same node again.
    await until("the job is preempted", () => slurm(`squeue -h -j ${urgent} -o %T`) === "RUNNING", 60);
  }
  await until("the job has ended", () => /JobState=COMPLETED/.test(slurm(`scontrol show job ${job}`)), 120);
  assert.match(slurm(`scontrol show job ${job}`), /Restarts=3 /);
  const output = readFileSync(join(directory, "job.out"), "utf8");
  assert.equal(output.match(/the job is frozen \(SIGUSR1\)/g)?.length, 3, output);
  assertUndisturbed(directory);
});

/** A container of the host's own files. What a container may do here differs: rlimits that are lower, no network. */
const podman = "podman --log-level error --runtime runc";
const limits = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --network none --rootfs";
const noPodman =
  !isRoot || !has("podman") || !has("runc")
    ? "needs root, podman and runc"
    : sh(`${podman} run --rm ${limits} /:O true`, { cwd: "/" }).status === 0
      ? false
      : "podman runs no container here";

test("a Podman container is stopped, and goes on", { skip: noPodman, timeout: seconds * 1000 }, async (t) => {
  for (const more of ["", "--cap-add SYS_ADMIN "]) {
    const directory = workplace(t);
    const name = `crimg-test-${process.pid}`;
    t.after(() => sh(`${podman} rm -f ${name}`, { cwd: "/" }));
    const line = recipe("podman")
      .replace("podman run", `${podman} run ${more}--env PATH=${path}`)
      .replace("--name job", `--name ${name}`)
      .replace("IMAGE", `${limits} /:O`);
    const first = spawn("sh", ["-c", line], { cwd: directory, env: { ...process.env, PATH: path }, stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    first.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    const ended = new Promise((done) => first.once("close", done));
    await moreSteps(directory);
    assert.equal(sh(`${podman} stop ${name}`, { cwd: directory }).status, 0);
    assert.equal(await ended, 85, errors);
    assert.equal(errors.includes("no pid namespace for the job"), more === "", errors);
    const second = sh(line, { cwd: directory });
    assert.equal(second.status, 0, second.stderr);
    assertUndisturbed(directory);
  }
});

test("a pod is stopped as a kubelet stops it, and goes on", { skip: noPodman, timeout: seconds * 1000 }, async (t) => {
  const directory = workplace(t);
  const name = `crimg-test-${process.pid}`;
  const pod = new KubePod(temporaryDirectory(t), recipe("kubernetes pod.yaml").replace("{ name: job }", `{ name: ${name} }`), directory);
  t.after(() => pod.remove(name));
  for (const round of ["first", "last"]) {
    const played = pod.play();
    assert.equal(played.status, 0, played.stderr);
    await moreSteps(directory);
    const logs = (): string => pod.podman("logs", `${name}-job`).stderr;
    const status = (): string => pod.podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", `${name}-job`).stdout.trim();
    if (round === "first") {
      assert.equal(pod.podman("pod", "stop", name).status, 0);
      assert.equal(status(), "exited 85", logs());
      assert.match(logs(), /the job is frozen \(SIGTERM\)/);
    } else await until("the job has ended", () => status() === "exited 0", 60);
    assert.equal(pod.podman("pod", "rm", "-f", name).status, 0);
  }
  assertUndisturbed(directory);
});

const systemd = "/lib/systemd/systemd";

test("systemd stops a unit, and starts it where it was", {
  skip: !isRoot || !existsSync(systemd) ? "needs root and systemd" : false,
  timeout: seconds * 1000,
}, async (t) => {
  const directory = workplace(t);
  const units = join(directory, "units");
  mkdirSync(units);
  // A system instance of its own namespaces, with no unit but ours: nothing of this machine is started or cleaned.
  const own = "[Unit]\nDefaultDependencies=no\n";
  writeFileSync(join(units, "idle.target"), own);
  const unit = recipe("systemd job.service").replace("/srv/job", directory).replace("=crimg", `=${crimgCommand}`);
  writeFileSync(join(units, "job.service"), `${own}${unit}Environment=PATH=${path}\n`);
  const init = spawn(
    "unshare",
    [
      "-pfmuiC",
      "--mount-proc",
      "--kill-child",
      "sh",
      "-c",
      `mount -t tmpfs tmpfs /run && mkdir /run/systemd && exec ${systemd} --system --unit=idle.target --log-target=console ` +
        `--show-status=no`,
    ],
    { env: { PATH: path, container: "lxc", SYSTEMD_UNIT_PATH: units }, stdio: "ignore" },
  );
  const pid = init.pid ?? assert.fail("no unshare");
  t.after(() => endTree(pid));
  const inside = (command: string): Outcome =>
    sh(`nsenter --target $(cat /proc/${pid}/task/${pid}/children) --all ${command}`, { cwd: directory });
  const isUp = await until(
    "systemd is up",
    () => (inside("systemctl is-active idle.target").status === 0 ? "yes" : init.exitCode !== null && "no"),
    20,
  );
  if (isUp !== "yes") return t.skip("systemd does not run here");
  for (let round = 0; round < 2; round++) {
    const started = inside("systemctl start job");
    assert.equal(started.status, 0, started.stderr);
    await moreSteps(directory);
    assert.equal(inside("systemctl stop job").status, 0);
    assert.match(inside("systemctl show job -p Result").stdout, /Result=success/);
    assert.ok(existsSync(join(directory, "job.elf")));
  }
  assert.equal(inside("systemctl start job").status, 0);
  await until("the job has ended", () => inside("systemctl is-active job").stdout.startsWith("inactive"), 60);
  assertUndisturbed(directory);
});
