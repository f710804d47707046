// SPDX-License-Identifier: Apache-2.0
/** MariaDB as Debian configures it (with io_uring), with an open transaction in a client of the same tree: through two images, twice. */
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { missing, twoLives } from "../support/two-lives.js";
import { users } from "../support/users.js";

const skip = missing("mariadbd", "mariadb", "mariadb-install-db");

for (const user of users) {
  test(`MariaDB goes on with an open transaction, ${user.name}`, { skip: skip || user.skip, timeout: 120_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const [command, ...words] = user.words;
    const [data, socket, script, out] = ["data", "socket", "tree.sh", "out"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
      string,
    ];
    // Files of a test database need no more room than they have to.
    const server = `--no-defaults --datadir=${data} --socket=${socket} --skip-networking ${user.isPrivileged ? "--user=root" : ""}`;
    const small = "--innodb-log-file-size=4M --innodb-buffer-pool-size=24M --innodb-temp-data-file-path=ibtmp1:4M:autoextend";
    const who = `$(id -un)`;
    const install = `mariadb-install-db --no-defaults --skip-test-db --auth-root-authentication-method=normal --user=${who}`;
    const made = run(command, [...words, "sh", "-c", `${install} --datadir=${data} >/dev/null`], { cwd: directory, seconds: 60 });
    assert.equal(made.status, 0, made.stderr);
    writeFileSync(
      script,
      [
        `mkfifo to-client`,
        `mariadbd ${server} ${small} >log 2>&1 &`,
        `for i in $(seq 300); do [ -S ${socket} ] && break; sleep 0.05; done`,
        `exec mariadb --no-defaults -u root -S ${socket} -N -B -n -f <>to-client >out 2>&1`,
      ].join("\n"),
    );
    const { pid } = start(t, command, [...words, "sh", script], { cwd: directory });
    await until("the client runs", () => existsSync(out));
    const say = async (sql: string, wanted: string): Promise<void> => {
      const fd = openSync(join(directory, "to-client"), "w");
      writeSync(fd, `${sql}\n`);
      closeSync(fd);
      await until(`the client answers ${wanted}`, () => readFileSync(out, "utf8").endsWith(`${wanted}\n`), 30);
    };
    await say("create database d; use d; create table t (x int) engine=innodb; insert into t values (1), (2); select 'made';", "made");
    await say("begin; insert into t values (40); select 'open';", "open");
    const hasRing = treeOf(pid).some((member) =>
      readdirSync(`/proc/${member}/fd`).some((fd) => readlinkSync(`/proc/${member}/fd/${fd}`).includes("io_uring")),
    );
    t.diagnostic(hasRing ? "with io_uring" : "without io_uring");
    await twoLives(t, {
      pid,
      directory,
      user,
      async check(round) {
        await say(`select 'sum ${round}', sum(x) from t;`, `sum ${round}\t43`);
      },
    });
    await say("commit; optimize table t; select 'done', sum(x) from t;", "done\t43");
  });
}
