// SPDX-License-Identifier: Apache-2.0
/** Runs an image in jail.c. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";

export interface Verdict {
  readonly how: "exit" | "signal" | "late" | "refused";
  /** Exit status, signal or errno. */
  readonly number: number;
  /** Processes that outlived the first one. */
  readonly survivors: number;
  readonly stderr: string;
}

/** ETXTBSY: a child that was just forked still holds the file open for writing. */
const textBusy = 26;
const maxMessageBytes = 16384;

export class Jail {
  readonly #program: string;

  /** Compiles it into `directory`. */
  constructor(source: string, directory: string) {
    this.#program = compileTool(source, directory);
  }

  async run(image: string, rights: "root" | "nobody", milliseconds: number): Promise<Verdict> {
    for (let tries = 0; ; tries += 1) {
      const verdict = await this.#runOnce(image, rights, milliseconds);
      if (verdict.how !== "refused" || verdict.number !== textBusy || tries > 50) return verdict;
    }
  }

  #runOnce(image: string, rights: string, milliseconds: number): Promise<Verdict> {
    const child = spawn(this.#program, [rights, String(milliseconds), image], {
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      env: {},
      cwd: "/",
    });
    const output = { stderr: "", result: "" };
    child.stdio[2]?.on("data", (chunk: Buffer) => {
      if (output.stderr.length < maxMessageBytes) output.stderr += chunk.toString("latin1");
    });
    child.stdio[3]?.on("data", (chunk: Buffer) => (output.result += chunk.toString("latin1")));
    return new Promise((done, failed) => {
      child.on("error", failed);
      child.on("close", () => {
        const match = /^(exit|signal|late|refused) (\d+) (\d+)$/m.exec(output.result);
        if (match === null) failed(new Error(`the jail does not work here: ${output.stderr}`));
        else done({ how: match[1] as Verdict["how"], number: Number(match[2]), survivors: Number(match[3]), stderr: output.stderr });
      });
    });
  }
}

/** cc; returns the path of the program. */
export function compileTool(source: string, directory: string): string {
  const program = join(directory, source.replace(/^.*\/|\.c$/g, ""));
  const { status, stderr } = spawnSync("cc", ["-O1", "-pthread", "-o", program, source], { encoding: "utf8" });
  if (status !== 0) throw new Error(`cc ${source}: ${stderr}`);
  return program;
}
