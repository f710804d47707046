// SPDX-License-Identifier: Apache-2.0
/** Unix sockets with a peer outside the tree: connected again by name, or found closed; refused without --ext-unix-sk. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, isAlive, run, start, temporaryDirectory, until } from "../support/processes.js";
import { resume } from "../support/dump-and-resume.js";

const skip = existsSync("/usr/bin/python3") ? false : "python3 is not installed";
const timeout = 120_000;

/** A server of this test. Returns what its clients have said so far. */
async function serve(t: TestContext, path: string): Promise<{ readonly said: string[]; readonly server: Server }> {
  const said: string[] = [];
  const clients: Socket[] = [];
  const server = createServer((client) => {
    clients.push(client);
    client.on("data", (data) => {
      said.push(String(data));
      client.write(`echo ${String(data)}`);
    });
    client.on("error", () => undefined);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  t.after(() => {
    for (const client of clients) client.destroy();
    server.close();
  });
  return { said, server };
}

async function startPython(t: TestContext, directory: string, lines: readonly string[]): Promise<number> {
  const script = join(directory, "program.py");
  writeFileSync(script, ["import os, socket, sys, time", ...lines].join("\n"));
  const { pid } = start(t, "/usr/bin/python3", [script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return pid;
}

test("a client of an outside server is connected to its name again", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "server.sock");
  const { said } = await serve(t, path);
  const pid = await startPython(t, directory, [
    `c = socket.socket(socket.AF_UNIX); c.connect(${JSON.stringify(path)})`,
    "c.sendall(b'one'); c.recv(99); open('ready', 'w').close()",
    "while not os.path.exists('go'): time.sleep(0.02)",
    "c.sendall(b'two'); c.settimeout(20); open('new', 'wb').write(c.recv(99)); os.rename('new', 'result')",
    "time.sleep(600)",
  ]);
  await until("the server was told", () => said.length === 1);
  const image = join(directory, "image.elf");
  const refused = crimg("dump", String(pid), "-o", image);
  assert.equal(refused.status, 4);
  assert.match(refused.stderr, /a unix socket whose peer is outside the tree[\s\S]*--ext-unix-sk/);
  assert.ok(isAlive(pid));
  const dumped = crimg("dump", String(pid), "-o", image, "--ext-unix-sk");
  assert.equal(dumped.status, 0, dumped.stderr);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  resume(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  const result = await until(
    "it was answered",
    () => existsSync(join(directory, "result")) && readFileSync(join(directory, "result"), "utf8"),
  );
  assert.equal(result, "echo two");
  assert.deepEqual(said, ["one", "two"]);
});

test("where the server is gone the resume says which", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "server.sock");
  const { server } = await serve(t, path);
  const pid = await startPython(t, directory, [
    `c = socket.socket(socket.AF_UNIX); c.connect(${JSON.stringify(path)}); open('ready', 'w').close(); time.sleep(600)`,
  ]);
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image, "--ext-unix-sk").status, 0);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  await new Promise((resolve) => server.close(resolve));
  const { status, stderr } = run(image, ["--detach"]);
  assert.equal(status, 125);
  assert.match(stderr, /connect to \S+server\.sock for fd \d+ of task \d+[\s\S]*another program, which must be running/);
});

test("a server finds an outside client closed, with what it had sent", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "listen.sock");
  const pid = await startPython(t, directory, [
    `l = socket.socket(socket.AF_UNIX); l.bind(${JSON.stringify(path)}); l.listen(3); open('ready', 'w').close()`,
    "s = l.accept()[0]; open('accepted', 'w').close()",
    "while not os.path.exists('go'): time.sleep(0.02)",
    "s.settimeout(20); got = [s.recv(99), s.recv(99)]",
    "l.settimeout(20); x = l.accept()[0]; got.append(x.recv(99))",
    "open('new', 'w').write(repr(got)); os.rename('new', 'result'); time.sleep(600)",
  ]);
  const client = createConnection(path);
  client.on("error", () => undefined);
  t.after(() => client.destroy());
  await new Promise((sent) => client.write("before", sent));
  await until("it was accepted", () => existsSync(join(directory, "accepted")));
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--ext-unix-sk");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(dumped.stderr, /lost: .*a unix socket \(\S+listen\.sock\) whose peer is outside the tree and has no name/);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  resume(t, image, directory);
  writeFileSync(join(directory, "go"), "");
  const next = createConnection(path);
  next.on("error", () => undefined);
  t.after(() => next.destroy());
  next.write("again");
  const result = await until(
    "it has looked",
    () => existsSync(join(directory, "result")) && readFileSync(join(directory, "result"), "utf8"),
  );
  assert.equal(result, "[b'before', b'', b'again']");
});
