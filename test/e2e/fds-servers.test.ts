// SPDX-License-Identifier: Apache-2.0
/** Servers at rest: their listening sockets, workers and channels come back, and clients are served. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import test from "node:test";
import { dumpAndResume } from "../support/cycle.js";
import { crimg, endTree, isAlive, run, start, temporaryDirectory, until } from "../support/processes.js";

const nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].find((path) => existsSync(path));

test("nginx with two workers serves, reloads and is resumed again", {
  skip: nginx === undefined && "nginx is not installed",
  timeout: 240_000,
}, async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root");
  const directory = temporaryDirectory(t);
  const socket = join(directory, "nginx.sock");
  const config = join(directory, "nginx.conf");
  const port = 20000 + (process.pid % 20000);
  writeFileSync(
    config,
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 2; user root;
     events { worker_connections 64; }
     http { access_log ${directory}/access.log; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
       fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
       server { listen 127.0.0.1:${port}; listen unix:${socket}; location / { return 200 "served"; } } }`,
  );
  // a connection of its own each time, closed by the answer
  const serves = (): Promise<boolean> =>
    new Promise((resolve) => {
      const request = get({ port, host: "127.0.0.1", agent: false, timeout: 5000 }, (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("data", (chunk: string) => (text += chunk));
        answer.on("end", () => resolve(text === "served"));
      });
      request.on("error", () => resolve(false));
      request.on("timeout", () => request.destroy());
    });
  const served = async (): Promise<void> => {
    let is = false;
    for (let turn = 0; turn < 100 && !is; turn++) {
      is = await serves();
      if (!is) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(is, "nginx serves");
  };
  const first = start(t, nginx as string, ["-c", config], { cwd: directory });
  await until("nginx is up", () => existsSync(join(directory, "pid")) && readFileSync(join(directory, "pid"), "utf8").trim() !== "");
  await served();
  // idle connections of the client must be gone: they are none of the image
  await new Promise((resolve) => setTimeout(resolve, 100));
  let { pid } = await dumpAndResume(t, first.pid, join(directory, "one.elf"), { mayDiffer: / timers:/ });
  await served();
  process.kill(pid, "SIGHUP");
  await served();
  const once = join(directory, "two.elf");
  const dumped = crimg("dump", String(pid), "-o", once, "--tcp-close");
  assert.equal(dumped.status, 0, dumped.stderr);
  await until("nginx is gone", () => !existsSync(`/proc/${pid}`));
  const pidfile = join(directory, "resumed");
  const resumed = run(once, ["--detach", "--pidfile", pidfile]);
  assert.equal(resumed.status, 0, resumed.stderr);
  pid = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(pid));
  assert.ok(isAlive(pid));
  await served();
});
