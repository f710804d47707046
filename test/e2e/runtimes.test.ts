// SPDX-License-Identifier: Apache-2.0
/** Programs on runtimes of their own: valgrind, erlang with epmd, a machine of qemu with a disk, servers in Go and Rust. */
import assert from "node:assert/strict";
import { existsSync, openSync, readFileSync, readSync, writeFileSync, closeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { answer, choosePort } from "../support/http.js";
import { compile, run, start, temporaryDirectory, until } from "../support/processes.js";
import { projectRoot } from "../support/project.js";
import { missing, twoLives } from "../support/two-lives.js";
import { users } from "../support/users.js";

const timeout = 120_000;
const program = (name: string): string => join(projectRoot, "test/programs", name);

/** A disk with the boot sector of test/programs/boot.S. */
function bootSector(directory: string): string {
  const [object, disk] = [join(directory, "boot.o"), join(directory, "disk")];
  const made = run("cc", ["-nostdlib", "-m32", "-c", program("boot.S"), "-o", object]);
  assert.equal(made.status, 0, made.stderr);
  const linked = run("ld", ["-m", "elf_i386", "-Ttext", "0x7c00", "-e", "0x7c00", "--oformat", "binary", object, "-o", disk]);
  assert.equal(linked.status, 0, linked.stderr);
  run("truncate", ["-s", "1M", disk]);
  return disk;
}

for (const user of users) {
  const [command, ...words] = user.words;

  test(`valgrind, ${user.name}`, { skip: missing("valgrind") || user.skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const log = join(directory, "log");
    const { pid } = start(t, command, [...words, "valgrind", "-q", compile("counter.c", directory), log], { cwd: directory });
    await moreTicks(log, 3);
    await twoLives(t, { pid, directory, user, check: async () => void (await moreTicks(log, 3)) });
    assertUnbroken(log);
  });

  // Its node is connected to epmd by TCP.
  const skipErlang = user.isPrivileged ? missing("erl", "erlc", "epmd") : "connections need root";
  test(`erlang with epmd, ${user.name}`, { skip: skipErlang, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const port = choosePort();
    const epmd = String(choosePort());
    const env = { ...process.env, HOME: directory, ERL_EPMD_PORT: epmd };
    writeFileSync(
      join(directory, "node.erl"),
      `-module(node).\n-export([start/0]).
      start() -> ets:new(table, [named_table, public]), spawn(fun() -> count(0) end),
        {ok, L} = gen_tcp:listen(${port}, [{ip, {127,0,0,1}}, {active, false}, {reuseaddr, true}]), serve(L).
      count(N) -> ets:insert(table, {count, N}), timer:sleep(5), count(N + 1).
      serve(L) -> {ok, C} = gen_tcp:accept(L), gen_tcp:recv(C, 0), [{_, N}] = ets:lookup(table, count),
        {ok, Names} = erl_epmd:names(), B = io_lib:format("~p ~s", [N, [X || {X, _} <- Names]]),
        gen_tcp:send(C, ["HTTP/1.0 200 OK\\r\\n\\r\\n", B]), gen_tcp:close(C), serve(L).\n`,
    );
    const compiled = run("erlc", ["-o", directory, join(directory, "node.erl")]);
    assert.equal(compiled.status, 0, compiled.stdout);
    const script = "epmd -relaxed_command_check & exec erl -sname crimg -noshell -noinput -s node start";
    const { pid } = start(t, command, [...words, "sh", "-c", script], { cwd: directory, env });
    let count = parseInt(await answer(port), 10);
    await twoLives(t, {
      pid,
      directory,
      user,
      async check() {
        const [next = "0", name] = (await answer(port)).split(" ");
        assert.equal(name, "crimg", "epmd knows the node");
        assert.ok(Number(next) >= count, "it counts on");
        count = Number(next);
      },
    });
  });

  test(`a machine of qemu with a disk, ${user.name}`, {
    skip: missing("qemu-system-x86_64", "cc", "ld") || user.skip,
    timeout,
  }, async (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const disk = bootSector(directory);
    run("chmod", ["666", disk]);
    const serial = join(directory, "serial");
    const drive = `file=${disk},format=raw,if=ide,aio=io_uring`;
    const machine = ["-M", "pc", "-m", "32", "-nodefaults", "-display", "none", "-serial", `file:${serial}`, "-drive", drive];
    const { pid } = start(t, command, [...words, "qemu-system-x86_64", ...machine], { cwd: directory });
    const told = (): number[] =>
      (existsSync(serial) ? readFileSync(serial, "latin1") : "").match(/[0-9a-f]{8}(?=\n)/g)?.map((word) => parseInt(word, 16)) ?? [];
    const more = async (): Promise<void> => {
      const before = told().length;
      await until("the machine has counted on", () => told().length >= before + 5, 30);
    };
    await more();
    await twoLives(t, { pid, directory, user, check: more });
    const numbers = told();
    numbers.forEach((number, index) => assert.equal(number, index + 1, "each number once"));
    const sector = Buffer.alloc(4);
    const fd = openSync(disk, "r");
    readSync(fd, sector, 0, 4, 512);
    closeSync(fd);
    assert.ok(sector.readUInt32LE() >= numbers.length - 1, "it is on the disk");
  });

  const servers = [
    { name: "Go", needs: "go", build: (directory: string) => ["go", "build", "-o", join(directory, "server"), program("server.go")] },
    { name: "Rust", needs: "rustc", build: (directory: string) => ["rustc", "-o", join(directory, "server"), program("server.rs")] },
  ] as const;
  for (const { name, needs, build } of servers) {
    test(`a server in ${name}, ${user.name}`, { skip: missing(needs) || user.skip, timeout }, async (t) => {
      const directory = temporaryDirectory(t);
      user.own(directory);
      const port = choosePort();
      const [compiler, ...args] = build(directory);
      const built = run(compiler as string, args, { env: { ...process.env, GO111MODULE: "off" }, seconds: 100, cwd: directory });
      if (built.status !== 0) return t.skip(`${needs} does not work: ${built.stderr.slice(0, 200)}`);
      const { pid } = start(t, command, [...words, join(directory, "server"), String(port)], { cwd: directory });
      let count = Number(await answer(port));
      await twoLives(t, {
        pid,
        directory,
        user,
        async check() {
          const next = Number(await answer(port, "/", (text) => Number(text) > count));
          count = next;
        },
      });
    });
  }
}
