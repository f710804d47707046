// SPDX-License-Identifier: Apache-2.0
/**
 * Containers go back to their engines: an archive of Podman's becomes an executable and an archive again that Podman restores; a
 * live container that crimg dumped becomes such an archive with the help of another one; the same with the folders of runc.
 * The program prints a number every 50 ms, and "WRONG what" if anything is not as it was.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import test, { type TestContext } from "node:test";
import { run, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand, criuBin, fixtures, noCriu } from "../support/project.js";

const has = (tool: string): boolean => spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
const needsRoot = process.getuid?.() !== 0 && "containers of root's";
const skipRunc = needsRoot || (criuBin === undefined ? noCriu : !has("runc") && "runc is not installed");
const skipPodman = skipRunc || (!has("podman") && "podman is not installed");
const rootfs = join(fixtures, "containers/rootfs.tar");

/** Numbers printed, and complaints. */
function printed(text: string): { readonly last: number; readonly numbers: readonly number[] } {
  assert.doesNotMatch(text, /WRONG/);
  const numbers = text.split("\n").flatMap((line) => (/^\d+$/.test(line) ? [Number(line)] : []));
  return { last: numbers.at(-1) ?? 0, numbers };
}

function assertUnbroken(numbers: readonly number[], after: number): void {
  const later = numbers.filter((number) => number > after);
  assert.deepEqual(
    later,
    later.map((_, index) => after + 1 + index),
  );
}

/** A place whose PATH has the CRIU that is wanted. */
class Place {
  readonly directory: string;
  readonly env: NodeJS.ProcessEnv;

  /** @param clean ends what was started, before the directory goes that it uses */
  constructor(
    readonly t: TestContext,
    clean: string,
  ) {
    t.after(() => spawnSync("sh", ["-c", clean], { stdio: "ignore", timeout: 60_000 }));
    this.directory = temporaryDirectory(t);
    const bin = this.path("bin");
    mkdirSync(bin);
    symlinkSync(criuBin ?? "", join(bin, "criu"));
    this.env = { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}` };
    mkdirSync(this.path("rootfs"));
    assert.equal(spawnSync("tar", ["xf", rootfs, "-C", this.path("rootfs")]).status, 0);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Through files, not pipes: what an engine leaves behind would hold those. */
  shell(command: string, ...words: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
    const paths = [this.path("stdout"), this.path("stderr")];
    const [out = 0, err = 0] = paths.map((path) => openSync(path, "w"));
    const { status } = spawnSync("sh", ["-c", command, "sh", ...words], {
      env: this.env,
      cwd: this.directory,
      stdio: ["ignore", out, err],
      timeout: 60_000,
    });
    closeSync(out);
    closeSync(err);
    const [stdout = "", stderr = ""] = paths.map((path) => readFileSync(path, "utf8"));
    return { status, stdout, stderr };
  }

  ok(command: string, ...words: string[]): string {
    const { status, stdout, stderr } = this.shell(command, ...words);
    assert.equal(status, 0, `${command} ${words.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  crimg(...words: string[]): void {
    const { status, stderr } = run(crimgCommand, words);
    assert.equal(status, 0, `${words.join(" ")}: ${stderr}`);
  }
}

const ownName = (): string => `crimg-back-${process.pid}-${Date.now() % 100_000}`;

/** A container of Podman's with a name of its own. */
class Container extends Place {
  constructor(
    t: TestContext,
    readonly name = ownName(),
  ) {
    super(t, `podman rm -f -t 0 ${name}; podman rmi -f localhost/${name}`);
  }

  podman(...words: string[]): string {
    return this.ok('podman --log-level error --runtime runc "$@"', ...words);
  }

  /** Returns why there can be none here. */
  start(): string | undefined {
    const image = `podman import -c 'CMD ["/bin/counter"]' - localhost/${this.name} < ${rootfs}`;
    const limits = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096";
    const start = `podman --log-level error --runtime runc run -d --name ${this.name} --network none --hostname demo`;
    const { status, stderr } = this.shell(`${image} && ${start} ${limits} localhost/${this.name}`);
    return status === 0 ? undefined : `podman runs no container here: ${stderr.split("\n").at(-2) ?? ""}`;
  }

  read(): ReturnType<typeof printed> {
    return printed(this.podman("logs", this.name));
  }

  /** Restores an archive; the program counts on from `from`. */
  async restored(archive: string, from: number): Promise<void> {
    this.podman("rm", "-f", "-t", "0", this.name);
    this.podman("container", "restore", "--import", archive);
    await until("it counts on", () => this.read().last > from + 5);
    assertUnbroken(this.read().numbers, from);
  }
}

test("Podman's checkpoint, as an executable and as an archive again, is restored by Podman", {
  skip: skipPodman,
  timeout: 120_000,
}, async (t) => {
  const container = new Container(t);
  const why = container.start();
  if (why !== undefined) return t.skip(why);
  await until("it counts", () => container.read().last > 3);
  const [first, image] = [container.path("first.tar.zst"), container.path("image.elf")];
  container.podman("container", "checkpoint", "--export", first, container.name);
  const { last } = container.read();
  container.crimg("convert", first, image, "--rootfs", container.path("rootfs"));
  for (const name of ["again.tar.zst", "again.tar.gz"]) {
    container.crimg("convert", image, container.path(name), "--strict");
    await container.restored(container.path(name), last);
  }
});

test("a live container that crimg dumped is restored by Podman, with the files of another checkpoint", {
  skip: skipPodman,
  timeout: 120_000,
}, async (t) => {
  const container = new Container(t);
  const why = container.start();
  if (why !== undefined) return t.skip(why);
  await until("it counts", () => container.read().last > 3);
  const [like, image, archive] = ["like.tar.zst", "image.elf", "archive.tar"].map((name) => container.path(name));
  container.podman("container", "checkpoint", "--leave-running", "--export", like ?? "", container.name);
  const before = container.read().last;
  await until("it counts on", () => container.read().last > before + 5);
  container.crimg("dump", container.podman("inspect", "-f", "{{.State.Pid}}", container.name), "-o", image ?? "");
  const { last } = container.read();
  container.crimg("convert", image ?? "", archive ?? "", "--like", like ?? "");
  await container.restored(archive ?? "", last);
});

/** A container of runc's with a name and a bundle of its own. */
class Bundle extends Place {
  readonly log = this.path("log");

  constructor(
    t: TestContext,
    readonly name = ownName(),
  ) {
    super(t, `runc delete -f ${name}`);
    this.ok("runc spec");
    const spec = JSON.parse(readFileSync(this.path("config.json"), "utf8")) as {
      readonly process: object;
      readonly root: object;
      readonly linux: object;
    };
    const rlimits = [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }];
    const config = {
      ...spec,
      process: { ...spec.process, args: ["/bin/counter"], terminal: false, rlimits },
      // CRIU cannot restore into a root that is read-only.
      root: { ...spec.root, readonly: false },
      hostname: "demo",
      linux: { ...spec.linux, cgroupsPath: `/${this.name}` },
    };
    writeFileSync(this.path("config.json"), JSON.stringify(config));
  }

  /** Its output goes through a pipe, as an engine's would. */
  #runc(...words: string[]): void {
    const fd = openSync(this.log, "a");
    closeSync(fd);
    this.ok(`{ runc "$@" < /dev/null 2>&1; echo "status $?" >> status; } | cat >> log & sleep 0.5`, ...words);
  }

  start(): void {
    this.#runc("run", "-d", "-b", this.directory, this.name);
  }

  read(): ReturnType<typeof printed> {
    return printed(existsSync(this.log) ? readFileSync(this.log, "utf8") : "");
  }

  async restored(set: string, from: number): Promise<void> {
    this.shell(`runc delete -f ${this.name}`);
    this.#runc("restore", "-d", "-b", this.directory, "--image-path", set, "--work-path", this.path("work"), this.name);
    await until("it counts on", () => this.read().last > from + 5, 30).catch(() => {
      const log = this.path("work/restore.log");
      assert.fail(existsSync(log) ? this.ok(`grep Error ${log}`) : readFileSync(this.log, "utf8"));
    });
    assertUnbroken(this.read().numbers, from);
  }
}

test("runc's checkpoint, as an executable and as a folder again, is restored by runc; so is a live container that crimg dumped", {
  skip: skipRunc,
  timeout: 120_000,
}, async (t) => {
  const bundle = new Bundle(t);
  bundle.start();
  await until("it counts", () => bundle.read().last > 3, 10).catch(() => undefined);
  if (bundle.read().last === 0) return t.skip(`runc runs no container here: ${readFileSync(bundle.log, "utf8")}`);
  const [first, image, again] = ["first", "image.elf", "again"].map((name) => bundle.path(name)) as [string, string, string];
  bundle.ok(`runc checkpoint --image-path ${first} --work-path ${bundle.path("work")} ${bundle.name}`);
  const { last } = bundle.read();
  bundle.crimg("convert", first, image, "--rootfs", bundle.path("rootfs"));
  bundle.crimg("convert", image, again, "--to", "criu", "--strict");
  await bundle.restored(again, last);
  rmSync(image);
  const { pid } = JSON.parse(bundle.ok(`runc state ${bundle.name}`)) as { readonly pid: number };
  bundle.crimg("dump", String(pid), "-o", image);
  const live = bundle.read().last;
  rmSync(again, { recursive: true });
  bundle.crimg("convert", image, again, "--to", "criu");
  await bundle.restored(again, live);
});
