// SPDX-License-Identifier: Apache-2.0
/**
 * A binfmt_misc rule for ET_CKPT images, so that `./old.elf` works on a stock kernel as it did on the patched one of
 * 2011: the kernel starts `crimg-exec FILE` for every 64-bit ELF file whose e_type is 5.
 * See Documentation/admin-guide/binfmt-misc.rst of the kernel.
 */
import { existsSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CrimgError } from "../errors/crimg-error.js";
import { isSingleExecutable, resourcePath } from "../resources/resources.js";

/** Name of the rule, and of its file. */
export const binfmtName = "crimg-ckpt";
const defaultFolder = "/proc/sys/fs/binfmt_misc";
/** The kernel takes rules up to this length. */
const maxRuleBytes = 1920;

/** e_ident up to EI_VERSION and e_type; what lies between is not looked at. */
const magic = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0];
const mask = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

function escaped(bytes: readonly number[]): string {
  return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

/** The program that a rule names: bin/crimg-exec of this checkout, as an absolute path without links. */
export function binfmtInterpreter(): string {
  return realpathSync(isSingleExecutable() ? join(dirname(process.execPath), "crimg-exec") : resourcePath("bin/crimg-exec"));
}

/**
 * The rule as the kernel and binfmt.d(5) take it.
 * @param interpreter absolute path of crimg-exec
 * @throws CrimgError `binfmt.path` for a path that no rule can hold
 */
export function binfmtRule(interpreter: string): string {
  // The first character of a rule says what separates its fields.
  const separator = [":", "|", ",", ";"].find((one) => !interpreter.includes(one));
  const rule = separator && ["", binfmtName, "M", "0", escaped(magic), escaped(mask), interpreter, ""].join(separator);
  const isSound = interpreter.startsWith("/") && !interpreter.includes("\n") && !interpreter.includes("\0");
  if (rule && isSound && Buffer.byteLength(rule) < maxRuleBytes) return rule;
  throw new CrimgError("binfmt.path", `a binfmt_misc rule cannot name ${JSON.stringify(interpreter)}`, {
    hint: "install crimg under a short absolute path",
  });
}

/** Whether the rule is there. */
export function isBinfmtInstalled(folder = defaultFolder): boolean {
  return existsSync(join(folder, binfmtName));
}

/** Registers the rule until the next boot; a rule of that name is replaced. @throws CrimgError `binfmt.absent`, `binfmt.refused` */
export function installBinfmt(interpreter: string, folder = defaultFolder): void {
  const rule = binfmtRule(interpreter);
  assertMounted(folder);
  removeBinfmt(folder);
  say(join(folder, "register"), rule, "register the rule");
}

/** Takes the rule back. @returns whether there was one */
export function removeBinfmt(folder = defaultFolder): boolean {
  assertMounted(folder);
  if (!isBinfmtInstalled(folder)) return false;
  say(join(folder, binfmtName), "-1", "remove the rule");
  return true;
}

function assertMounted(folder: string): void {
  if (existsSync(join(folder, "register"))) return;
  throw new CrimgError("binfmt.absent", "binfmt_misc is not mounted", {
    source: folder,
    hint: `as root: mount -t binfmt_misc binfmt_misc ${folder}`,
  });
}

function say(file: string, text: string, what: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    const hint = code === "EACCES" || code === "EPERM" ? "this needs root" : "crimg binfmt --print shows the rule";
    throw new CrimgError("binfmt.refused", `the kernel refused to ${what}: ${code}`, { source: file, cause, hint });
  }
}
