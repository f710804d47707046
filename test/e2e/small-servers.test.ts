// SPDX-License-Identifier: Apache-2.0
/** Servers that clients outside use before and after: ssh-agent, haproxy, node with cluster, and sqlite with its locks. */
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { answer, ask, choosePort } from "../support/http.js";
import { run, start, temporaryDirectory, until } from "../support/processes.js";
import { missing, twoLives } from "../support/two-lives.js";
import { users } from "../support/users.js";

const timeout = 90_000;
for (const user of users) {
  const [command, ...words] = user.words;

  // It protects itself from its own user (PR_SET_DUMPABLE).
  const skipAgent = user.isPrivileged ? missing("ssh-agent", "ssh-keygen") : "only root may look into it";
  test(`ssh-agent keeps its keys, ${user.name}`, { skip: skipAgent, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const env = { ...process.env, HOME: directory, SSH_AUTH_SOCK: join(directory, "socket") };
    const ssh = (program: string, ...args: string[]) => run(command, [...words, program, ...args], { env, cwd: directory });
    const { pid } = start(t, command, [...words, "ssh-agent", "-D", "-a", env.SSH_AUTH_SOCK], { cwd: directory, env });
    await until("the agent listens", () => ssh("ssh-add", "-l").status === 1);
    ssh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key");
    assert.equal(ssh("ssh-add", "-t", "3600", "key").status, 0);
    writeFileSync(join(directory, "message"), "message\n");
    const keys = ssh("ssh-add", "-l").stdout;
    assert.match(keys, /ED25519/);
    // only the agent has the private key from here on
    run("rm", [join(directory, "key")]);
    await twoLives(t, {
      pid,
      directory,
      user,
      check(round) {
        assert.equal(ssh("ssh-add", "-l").stdout, keys);
        const signed = ssh("sh", "-c", `ssh-keygen -Y sign -f key.pub -n file <message >signed-${round}`);
        assert.equal(signed.status, 0, signed.stderr);
        assert.match(readFileSync(join(directory, `signed-${round}`), "latin1"), /BEGIN SSH SIGNATURE/);
      },
    });
  });

  test(`haproxy, master and worker, ${user.name}`, { skip: missing("haproxy") || user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const port = choosePort();
    const file = join(directory, "haproxy.cfg");
    const counts = "track-sc0 src\n http-request return status 200 content-type text/plain lf-string %[sc_http_req_cnt(0)]";
    const lines = [
      `global\n stats socket ${directory}/stats level admin\n nbthread 2`,
      "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s",
      `listen all\n bind 127.0.0.1:${port}\n stick-table type ip size 100 store http_req_cnt\n http-request ${counts}`,
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    const { pid } = start(t, command, [...words, "haproxy", "-W", "-f", file], { cwd: directory });
    let count = Number(await answer(port));
    await twoLives(t, {
      pid,
      directory,
      user,
      async check() {
        for (let request = 0; request < 5; request++) assert.equal(await answer(port), String(++count));
      },
    });
  });

  test(`node with cluster, ${user.name}`, { skip: user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const port = choosePort();
    const program = join(directory, "cluster.cjs");
    writeFileSync(
      program,
      `const cluster = require("cluster");
      if (cluster.isPrimary) {
        for (let i = 0; i < 2; i++) cluster.fork();
        cluster.on("exit", () => cluster.fork());
      } else {
        let count = 0;
        require("http").createServer((request, response) => {
          response.end(process.pid + " " + ++count);
          if (request.url === "/end") process.exit();
        }).listen(${port}, "127.0.0.1");
      }`,
    );
    const { pid } = start(t, command, [...words, process.execPath, program], { cwd: directory });
    const counts = new Map<string, number>();
    const count = async (): Promise<void> => {
      for (let request = 0; request < 6; request++) {
        const [worker = "", number] = (await answer(port)).split(" ");
        assert.equal(Number(number), (counts.get(worker) ?? 0) + 1, "each worker counts on");
        counts.set(worker, Number(number));
      }
    };
    await count();
    await twoLives(t, { pid, directory, user, check: count });
    assert.equal(counts.size, 2);
    await ask(port, "/end");
    for (let attempt = 0; counts.size < 3 && attempt < 400; attempt++) {
      const [worker = ""] = (await answer(port)).split(" ");
      counts.set(worker, 0);
    }
    assert.equal(counts.size, 3, "a new worker takes the place of one that ended");
  });

  test(`sqlite in WAL mode while another process reads, ${user.name}`, { skip: missing("sqlite3") || user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const script = [
      "mkfifo to-writer to-reader",
      "sqlite3 db <>to-writer >from-writer 2>&1 &",
      "exec sqlite3 db <>to-reader >from-reader 2>&1",
    ];
    const { pid } = start(t, command, [...words, "sh", "-c", script.join("\n")], { cwd: directory });
    const say = async (who: "writer" | "reader", sql: string, wanted: string): Promise<void> => {
      const pipe = join(directory, `to-${who}`);
      await until("sqlite reads", () => existsSync(join(directory, `from-${who}`)));
      const fd = openSync(pipe, "w");
      writeSync(fd, `${sql}\n`);
      closeSync(fd);
      await until(`the ${who} answers ${wanted}`, () => readFileSync(join(directory, `from-${who}`), "utf8").endsWith(`${wanted}\n`), 20);
    };
    await say("writer", "pragma journal_mode = wal; create table t (x); insert into t values (1), (2); select 'made';", "made");
    await say("reader", "begin; select 'sum', sum(x) from t;", "sum|3");
    await say("writer", "begin; insert into t values (40); select 'open';", "open");
    await twoLives(t, {
      pid,
      directory,
      user,
      async check(round) {
        await say("writer", `select 'writer ${round}', sum(x) from t;`, `writer ${round}|43`);
        await say("reader", `select 'reader ${round}', sum(x) from t;`, `reader ${round}|3`);
      },
    });
    // the locks are there: somebody else cannot write now, and can when the writer has committed
    const other = (sql: string) => run(command, [...words, "sqlite3", join(directory, "db"), sql]);
    assert.match(other("insert into t values (5);").stderr, /database is locked/);
    await say("writer", "commit; select 'committed';", "committed");
    assert.equal(other("insert into t values (5);").stderr, "");
    await say("reader", "select 'old', sum(x) from t; commit; select 'new', sum(x) from t;", "old|3\nnew|48");
  });
}
