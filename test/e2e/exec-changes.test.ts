// SPDX-License-Identifier: Apache-2.0
/** What a program finds by name may be another at the resume: addresses, paths, descriptors, variables. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { inOwnWorld } from "../support/own-world.js";
import { crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const isAlone = inOwnWorld(import.meta.url);
const skip = existsSync("/usr/bin/python3") ? !isAlone && "needs root, and a network of its own" : "python3 is not installed";
const timeout = 120_000;

/** Serves the first line of a file in its folder, what is in descriptor 7, and what getenv says, to whoever connects. */
const program = `
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
os.chdir(sys.argv[1])
data = open("data")
os.dup2(os.open("seven", os.O_RDONLY), 7)
server = socket.create_server(("127.0.0.1", 4701))
local = socket.socket(socket.AF_UNIX)
local.bind(os.path.join(sys.argv[1], "socket"))
open("ready", "w").close()
while True:
    client, _ = server.accept()
    data.seek(0); os.lseek(7, 0, 0)
    seven = os.read(7, 100).decode()
    words = [os.getcwd(), data.read(), seven, str(libc.getenv(b"PLACE")), local.getsockname(), str(os.path.exists("seven"))]
    words.append(open("/proc/self/environ").read().count("PLACE=far away"))
    client.sendall("|".join(map(str, words)).encode())
    client.close()
`;

async function ask(port: number): Promise<string> {
  for (let left = 400; ; left--) {
    const answer = await new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(port, "127.0.0.1");
      socket.on("data", (bytes) => (text += String(bytes)));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(text));
    });
    if (answer !== "" || left === 0) return answer;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

interface Served {
  readonly directory: string;
  readonly image: string;
}

async function dumped(t: TestContext): Promise<Served> {
  const directory = temporaryDirectory(t);
  const [folder, script, image] = [join(directory, "old"), join(directory, "program.py"), join(directory, "image.elf")];
  mkdirSync(folder);
  writeFileSync(join(folder, "data"), "data");
  writeFileSync(join(folder, "seven"), "seven");
  writeFileSync(script, program);
  const { pid } = start(t, "/usr/bin/python3", [script, folder], { cwd: directory, env: { ...process.env, PLACE: "here" } });
  await until("the program serves", () => existsSync(join(folder, "ready")));
  assert.match(await ask(4701), /old\|data\|seven\|b'here'\|.*old\/socket\|True\|0$/);
  const { status, stderr } = crimg("dump", String(pid), "-o", image);
  assert.equal(status, 0, stderr);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  return { directory, image };
}

function resume(t: TestContext, args: readonly string[], stdio: readonly ("ignore" | number)[] = []): ChildProcess {
  const child = spawn(crimgCommand, ["exec", ...args], { stdio: ["ignore", "ignore", "inherit", ...stdio] });
  t.after(() => child.pid !== undefined && endTree(child.pid));
  return child;
}

test("a server comes back with another port, folder, descriptor and variable, from an image and from CRIU's form", {
  skip,
  timeout,
}, async (t) => {
  const { directory, image } = await dumped(t);
  const [old, fresh] = [join(directory, "old"), join(directory, "elsewhere")];
  renameSync(old, fresh);
  rmSync(join(fresh, "socket"));
  const other = join(directory, "other");
  writeFileSync(other, "other");
  const changes = [
    ...["--tcp-map", "127.0.0.1:4701=*:4702", "--path-map", `${old}=${fresh}`],
    ...["--inherit-fd", "3:7", "--env", `PLACE=far away${"!".repeat(5000)}`],
  ];
  const set = join(directory, "criu");
  assert.equal(crimg("convert", image, set, "--to", "criu").status, 0);
  for (const from of [image, set]) {
    const child = resume(t, [from, ...changes], [openSync(other, "r")]);
    const answer = await ask(4702);
    assert.match(answer, /elsewhere\|data\|other\|b'far away!{5000}'\|.*elsewhere\/socket\|True\|1$/);
    assert.ok(child.pid !== undefined);
    endTree(child.pid);
    rmSync(join(fresh, "socket"), { force: true });
    await new Promise((resolve) => (child.exitCode === null && child.signalCode === null ? child.once("exit", resolve) : resolve(0)));
  }
});

test("a change that changes nothing is refused, and says what there is", { skip, timeout }, async (t) => {
  const { image } = await dumped(t);
  const refused = (...args: string[]): string => {
    const { status, stderr } = run(crimgCommand, ["exec", image, ...args]);
    assert.notEqual(status, 0);
    return stderr;
  };
  assert.match(
    refused("--tcp-map", "127.0.0.1:80=*:81"),
    /no TCP socket of this checkpoint has 127\.0\.0\.1:80\n.*they have 127\.0\.0\.1:4701/,
  );
  assert.match(refused("--tcp-map", "nonsense=*:81"), /nonsense is no address with a port/);
  assert.match(refused("--tcp-map", "*:4701=[::1]:81"), /other address family/);
  assert.match(refused("--path-map", "/no/where=/some/where"), /nothing of this checkpoint is \/no\/where or below it/);
  assert.match(refused("--inherit-fd", "0:99"), /process \d+ has no descriptor 99/);
  assert.match(refused("--inherit-fd", "77:7"), /descriptor 77 is not open here/);
  assert.match(refused("--env", "NOBODY=1"), /no process of this checkpoint was started with NOBODY/);
  assert.ok(readFileSync(image).length > 0);
});
