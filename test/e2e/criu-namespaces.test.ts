// SPDX-License-Identifier: Apache-2.0
/**
 * A tree in namespaces of its own goes from crimg to CRIU and back: mounts and what is in a tmpfs, names, System V objects, the
 * loopback device with addresses and routes, pids. What crimg dumped is restored by CRIU; what CRIU dumped runs as an executable,
 * and as a set that was read and written again.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { criuDump, gone } from "../support/criu-run.js";
import { differencesOfSets } from "../support/criu.js";
import { closeLeaks, endTree, list, run, spawned, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand, criuBin, noCriu, projectRoot } from "../support/project.js";

const skip = process.getuid?.() !== 0 ? "only root makes namespaces without a user namespace" : criuBin === undefined && noCriu;
const program = join(projectRoot, "test/programs/own-namespaces.py");
/** CRIU wants a root directory that is a mount of its own. */
const ownRoot = 'mount --bind / "$1" && cd / && shift && exec "$@"';

interface Report {
  readonly count: number;
  readonly asked: number;
}

/** A tree that reports what it sees of its namespaces. */
class Tree {
  readonly #started: number[] = [];
  readonly directory: string;
  readonly #report: string;

  constructor(t: TestContext) {
    // Before the directory goes, in which they write.
    t.after(() => {
      for (const pid of this.#started) endTree(pid);
    });
    this.directory = temporaryDirectory(t);
    this.#report = join(this.directory, "report");
  }

  start(): void {
    for (const name of ["place", "root"]) mkdirSync(join(this.directory, name));
    const script = `${closeLeaks}; exec python3 "$@" < /dev/null > "${this.directory}/out" 2>&1`;
    const words = [
      "-pfmniu",
      "--mount-proc",
      "setsid",
      "bash",
      "-c",
      script,
      "bash",
      program,
      this.directory,
      join(this.directory, "place"),
    ];
    this.#spawn("unshare", words);
  }

  /** Executes an image in the foreground. */
  execute(image: string): void {
    // The image counts on from an earlier time.
    rmSync(this.#report);
    const root = join(this.directory, "root");
    this.#spawn("unshare", ["-m", "sh", "-c", ownRoot, "sh", root, image, "--rootfs", root]);
  }

  /** Restores a set with CRIU. */
  restore(set: string): void {
    const [root, pidfile] = [join(this.directory, "root"), join(this.directory, "pid")];
    rmSync(pidfile, { force: true });
    const options = ["restore", "-d", "-D", set, "-o", "restore.log", "-v2", "--root", root, "--external", "mnt[]", "--pidfile", pidfile];
    const { status } = run("unshare", ["-m", "sh", "-c", ownRoot, "sh", root, criuBin ?? "", ...options]);
    const log = join(set, "restore.log");
    assert.equal(status, 0, existsSync(log) ? readFileSync(log, "utf8") : "no log");
    this.#started.push(Number(readFileSync(pidfile, "utf8")));
  }

  #spawn(command: string, words: readonly string[]): void {
    const { pid } = spawn(command, words, { stdio: ["ignore", "ignore", "inherit"] });
    assert.ok(pid !== undefined);
    spawned.add(pid);
    this.#started.push(pid);
  }

  #read(): Report | undefined {
    return existsSync(this.#report) ? (JSON.parse(readFileSync(this.#report, "utf8")) as Report) : undefined;
  }

  /** What it sees now, without counters, after a connection to itself. */
  async look(): Promise<Report> {
    const before = this.#read()?.asked ?? 0;
    writeFileSync(join(this.directory, "ask"), "");
    const report = await until("the program reports", () => {
      const said = join(this.directory, "out");
      if (existsSync(said)) assert.equal(readFileSync(said, "utf8"), "");
      const now = this.#read();
      return now !== undefined && now.asked > before && now;
    });
    return { ...report, count: 0, asked: 0 };
  }

  /** Its process 1, as seen from here. */
  pid(): number {
    const found = list("/proc")
      .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/cwd`))
      .find((name) => {
        const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
        return words[1] === program && words[2] === this.directory && /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${name}/status`, "utf8"));
      });
    return Number(found ?? assert.fail("the tree is not there"));
  }

  assertConfined(): void {
    for (const kind of ["pid", "mnt", "net", "ipc", "uts"])
      assert.notEqual(readlinkSync(`/proc/${this.pid()}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`), kind);
  }
}

test("dumped by crimg in its own namespaces, restored by CRIU, dumped by crimg again", { skip, timeout: 180_000 }, async (t) => {
  const tree = new Tree(t);
  tree.start();
  const first = await tree.look();
  for (const name of ["one", "two"]) {
    const pid = tree.pid();
    const members = treeOf(pid);
    const [image, set] = [join(tree.directory, `${name}.elf`), join(tree.directory, name)];
    // CRIU leaves empty tables of packet filters behind where it has restored a network.
    const dumped = run(crimgCommand, ["dump", String(pid), "-o", image, "--ignore", "network-device"]);
    assert.equal(dumped.status, 0, dumped.stderr);
    await gone(members);
    const converted = run(crimgCommand, ["convert", image, set, "--to", "criu", "--strict"]);
    assert.equal(converted.status, 0, converted.stderr);
    rmSync(image);
    tree.restore(set);
    assert.deepEqual(await tree.look(), first);
    tree.assertConfined();
  }
});

test("dumped by CRIU in its own namespaces: read and written again, and as an executable", { skip, timeout: 180_000 }, async (t) => {
  const tree = new Tree(t);
  tree.start();
  const first = await tree.look();
  const [one, image, two] = [join(tree.directory, "one"), join(tree.directory, "image.elf"), join(tree.directory, "two")];
  await criuDump(tree.pid(), one, "--external", "mnt[]");
  for (const words of [
    [one, image, "--rootfs", join(tree.directory, "root")],
    [image, two, "--to", "criu"],
  ]) {
    const converted = run(crimgCommand, ["convert", ...words]);
    assert.equal(converted.status, 0, converted.stderr);
  }
  // Pages of zeros are not in the executable.
  assert.deepEqual(differencesOfSets(one, two, /^(stats-dump$|page)/), []);
  tree.restore(two);
  assert.deepEqual(await tree.look(), first);
  tree.assertConfined();
  const pid = tree.pid();
  endTree(pid);
  await gone([pid]);
  tree.execute(image);
  // What makes the tree lets it go before it is gone itself.
  await tree.look();
  assert.deepEqual(await tree.look(), first);
  tree.assertConfined();
});
