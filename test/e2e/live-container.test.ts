// SPDX-License-Identifier: Apache-2.0
/** A database in a container of Podman's: dumped from the host as one file, it goes on where neither Podman nor its storage is. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, temporaryDirectory, treeOf, until } from "../support/processes.js";

const has = (tool: string): boolean => spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
const missing = ["podman", "runc", "redis-server", "redis-cli", "nsenter"].find((tool) => !has(tool));
const skip = (process.getuid?.() !== 0 && "containers of root's") || (missing !== undefined && `${missing} is not installed`);

/** Runs a command of the shell; its output goes through files, as what an engine leaves behind would hold pipes. */
function shell(directory: string, command: string): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const paths = ["stdout", "stderr"].map((name) => join(directory, name));
  const [out = 0, err = 0] = paths.map((path) => openSync(path, "w"));
  const { status } = spawnSync("sh", ["-c", command], { stdio: ["ignore", out, err], timeout: 60_000 });
  closeSync(out);
  closeSync(err);
  const [stdout = "", stderr = ""] = paths.map((path) => readFileSync(path, "utf8"));
  return { status, stdout: stdout.trim(), stderr };
}

/** A root file system with the server and its libraries. */
function rootOf(directory: string): string {
  const root = join(directory, "root");
  const { stdout } = shell(directory, "server=$(command -v redis-server); echo $server; ldd $server | grep -oE '/[^ ]+'");
  for (const file of stdout.split("\n")) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  for (const name of ["data", "dev", "etc", "proc", "run", "sys", "tmp"]) mkdirSync(join(root, name), { recursive: true });
  return root;
}

/** Starts the container; why there can be none, if so. */
function start(t: TestContext, directory: string, name: string): string | undefined {
  t.after(() =>
    spawnSync("sh", ["-c", `podman rm -f -t 0 ${name}; podman rmi -f localhost/${name}`], { stdio: "ignore", timeout: 60_000 }),
  );
  const command = `["/usr/bin/redis-server", "--save", "", "--dir", "/data"]`;
  const limits = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096";
  const { status, stderr } = shell(
    directory,
    `tar -C ${rootOf(directory)} -cf - . | podman import -c 'CMD ${command}' - localhost/${name} && ` +
      `podman --runtime runc run -d --name ${name} --network none ${limits} localhost/${name}`,
  );
  return status === 0 ? undefined : `podman runs no container here: ${stderr.trim().split("\n").at(-1) ?? ""}`;
}

test("redis in a container, dumped from the host as one file, without its engine", { skip, timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const name = `crimg-live-${process.pid}-${Date.now() % 100_000}`;
  const obstacle = start(t, directory, name);
  if (obstacle !== undefined) return t.skip(obstacle);
  const ask = (pid: string, words: string): string => shell(directory, `nsenter -t ${pid} -n redis-cli ${words}`).stdout;
  const pid = shell(directory, `podman inspect -f '{{.State.Pid}}' ${name}`).stdout;
  await until("the server answers", () => ask(pid, "ping") === "PONG");
  assert.equal(ask(pid, "set answer 42"), "OK");
  assert.equal(ask(pid, "rpush list a b c"), "3");

  const image = join(directory, "redis.elf");
  const dumped = crimg("dump", pid, "-o", image, "--bundle", "--ignore", "cgroup");
  assert.equal(dumped.status, 0, dumped.stderr);
  const storage = shell(directory, "podman info -f '{{.Store.GraphRoot}} {{.Store.RunRoot}}'").stdout;
  shell(directory, `podman rm -f -t 0 ${name}; podman rmi -f localhost/${name}`);
  await until("the container is gone", () => !existsSync(`/proc/${pid}`));

  // Where the engine's storage is not.
  const [pidfile, without] = [
    join(directory, "pid"),
    storage.split(" ").filter((path) => existsSync(path) && statSync(path).isDirectory()),
  ];
  const hide = without.map((path) => `mount -t tmpfs none ${path}`).join(" && ");
  const resumed = shell(directory, `unshare -m sh -c '${hide} && exec ${image} --detach --pidfile ${pidfile}'`);
  assert.equal(resumed.status, 0, resumed.stderr);
  const again = readFileSync(pidfile, "utf8").trim();
  t.after(() => endTree(Number(again)));
  assert.equal(ask(again, "get answer"), "42");
  assert.equal(ask(again, "lrange list 0 -1"), "a\nb\nc");
  assert.match(readFileSync(`/proc/${again}/status`, "utf8"), /^NSpid:.*\t1$/m);
  assert.match(readFileSync(`/proc/${again}/status`, "utf8"), /^Seccomp:\t2$/m);
  assert.equal(treeOf(Number(again)).length, 1);
});
