// SPDX-License-Identifier: Apache-2.0
/** PostgreSQL with an open transaction in a psql of the same tree: dumped, gone, resumed, twice; then it commits. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, readdirSync, writeFileSync, writeSync, openSync, closeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { inOwnWorld } from "../support/own-world.js";
import { crimg, endTree, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";

const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql") : [];
const programs = versions.map((version) => `/usr/lib/postgresql/${version}/bin`).find((path) => existsSync(join(path, "initdb")));
const isKnown = spawnSync("id", ["postgres"]).status === 0;
const isInstalled = programs !== undefined && isKnown && existsSync("/usr/bin/setpriv");
const skip = isInstalled ? !inOwnWorld(import.meta.url) && "needs root" : "postgresql is not installed";
const asPostgres = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--inh-caps=-all", "--bounding-set=-all"];

test("postgres goes on with its System V memory and a transaction that is open", { skip, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [data, commands, out, script] = ["data", "commands", "out", "tree.sh"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
    string,
  ];
  run("chown", ["postgres", directory]);
  const made = run("setpriv", [...asPostgres, `${programs}/initdb`, "-D", data, "-A", "trust", "--no-sync"], { cwd: directory });
  assert.equal(made.status, 0, made.stderr);
  run("mkfifo", ["-m", "666", commands]);
  writeFileSync(
    script,
    [
      `${programs}/postgres -D ${data} -k ${directory} -h '' >${join(directory, "log")} 2>&1 &`,
      `for i in $(seq 200); do [ -S ${directory}/.s.PGSQL.5432 ] && break; sleep 0.05; done`,
      `exec ${programs}/psql -X -h ${directory} -d postgres <${commands} >${out} 2>&1`,
    ].join("\n"),
  );
  chmodSync(script, 0o755);
  let { pid } = start(t, "setpriv", [...asPostgres, "bash", script], { cwd: directory });
  const root = pid;
  const pipe = openSync(commands, "r+");
  t.after(() => closeSync(pipe));
  const say = async (sql: string, answer: RegExp): Promise<void> => {
    writeSync(pipe, `${sql}\n`);
    await until(`psql answers to ${sql}`, () => existsSync(out) && answer.test(readFileSync(out, "utf8")), 20);
  };
  await say("create table t (x int); begin; insert into t values (42); select 'in' || 'side';", /inside/);
  for (const round of ["first", "second"]) {
    const image = join(directory, `${round}.elf`);
    const tree = treeOf(pid);
    const { status, stderr } = crimg("dump", String(root), "-o", image);
    assert.equal(status, 0, stderr);
    await until("postgres is gone", () => tree.every((member) => !existsSync(`/proc/${member}`)), 20);
    const waiter = spawn(image, [], { cwd: directory, stdio: ["ignore", "ignore", "inherit"] });
    pid = waiter.pid ?? assert.fail();
    t.after(() => endTree(waiter.pid ?? 0));
    await say(`select '${round}' || 'again', sum(x) from t;`, new RegExp(`${round}again\\s*\\|\\s*42`));
  }
  await say("commit; insert into t values (1); select 'com' || 'mitted', sum(x) from t;", /committed\s*\|\s*43/);
  const segments = readFileSync("/proc/sysvipc/shm", "utf8").trim().split("\n").slice(1);
  assert.equal(segments.length, 1, segments.join("\n"));
});
