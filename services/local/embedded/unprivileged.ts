import { dirname, resolve } from "node:path";
import { SetupError } from "./setup-error.ts";

const account = "postgres";

/** How a command is to be started so that it does not run as root. */
export interface Unprivileged {
  /** Words to put before the command. */
  readonly prefix: string[];
  /** Who must own the files it works on; undefined where that can only be us. */
  readonly owner?: { uid: number; gid: number };
}

/**
 * Postgres refuses to run as root. Where the kernel allows it, a user namespace shows root as user 1000: the files keep
 * their owner, and it does not matter who may enter the folders above. In containers that forbid namespaces there is
 * a user `postgres` instead, created if need be.
 *
 * @param folders what the command has to be able to enter.
 * @throws SetupError when neither way works.
 */
export function unprivileged(folders: string[], allowNamespace = true): Unprivileged {
  if (process.getuid?.() !== 0) return { prefix: [] };
  const namespace = ["unshare", "-U", "--map-user=1000"];
  if (allowNamespace && succeeds([...namespace, "true"])) return { prefix: namespace, owner: { uid: 0, gid: 0 } };
  const owner = findAccount() ?? createAccount();
  const prefix = ["setpriv", `--reuid=${owner.uid}`, `--regid=${owner.gid}`, "--clear-groups", "--"];
  for (const folder of folders) requireReachable(prefix, folder);
  return { prefix, owner };
}

function findAccount(): { uid: number; gid: number } | undefined {
  const [uid, gid] = ["-u", "-g"].map((flag) => Number(output(["id", flag, account]) || Number.NaN));
  return uid !== undefined && gid !== undefined && uid > 0 && gid > 0 ? { uid, gid } : undefined;
}

function createAccount(): { uid: number; gid: number } {
  output(["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", account]);
  const created = findAccount();
  if (created !== undefined) return created;
  throw new SetupError(
    `Postgres does not run as root, and a user "${account}" could not be created: start as another user, or set DATABASE_URL.`,
  );
}

function requireReachable(prefix: string[], folder: string): void {
  if (succeeds([...prefix, "test", "-x", folder])) return;
  throw new SetupError(
    `Postgres does not run as root, and its user "${account}" may not enter ${firstClosed(prefix, folder)}: ` +
      "use a folder that others may enter (chmod o+x), start as another user, or set DATABASE_URL.",
  );
}

/** The topmost folder on the way that the command may not enter: the one to name. */
function firstClosed(prefix: string[], folder: string): string {
  const above = dirname(resolve(folder));
  if (above === folder || succeeds([...prefix, "test", "-x", above])) return folder;
  return firstClosed(prefix, above);
}

function succeeds(command: string[]): boolean {
  try {
    return Bun.spawnSync(command, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  } catch {
    return false;
  }
}

function output(command: string[]): string {
  try {
    return Bun.spawnSync(command, { stderr: "ignore" }).stdout.toString().trim();
  } catch {
    return "";
  }
}
