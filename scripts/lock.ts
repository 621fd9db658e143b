/** What package-lock.json must hold, so that nobody between the registry and us can put something else in. */

export interface LockEntry {
  version?: string;
  integrity?: string;
  resolved?: string;
  link?: boolean;
  dev?: boolean;
}

export interface Lock {
  packages: Record<string, LockEntry>;
}

/** Entries that a registry gives no hash for, by their path in the lock, each with the reason. Reviewed like code. */
export const WITHOUT_INTEGRITY: Readonly<Record<string, string>> = {};

/**
 * One sentence for each entry that is not pinned by a SHA-512, or that names a host: which registry is used is the
 * installer's own setting, and its hash must fit wherever a package comes from.
 */
export function lockProblems(lock: Lock, exceptions: Readonly<Record<string, string>> = WITHOUT_INTEGRITY): string[] {
  const entries = Object.entries(lock.packages).filter(([path]) => path !== "");
  const problems = entries.flatMap(([path, entry]) => entryProblems(path, entry, path in exceptions));
  const unused = Object.keys(exceptions).filter((path) => {
    const entry = lock.packages[path];
    return entry === undefined || entry.integrity !== undefined;
  });
  return [...problems, ...unused.map((path) => `${path}: needs no exception any more; take it out of scripts/lock.ts`)];
}

function entryProblems(path: string, { integrity, resolved, link }: LockEntry, excepted: boolean): string[] {
  const problems: string[] = [];
  if (link) problems.push(`${path}: is a link to a folder, which nobody else has`);
  if (resolved !== undefined) problems.push(`${path}: names where it came from; npm leaves that out with our .npmrc`);
  if (excepted && integrity === undefined) return problems;
  if (integrity === undefined) problems.push(`${path}: has no integrity; run \`npm run complete-lock\``);
  else if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity)) problems.push(`${path}: its integrity is not one SHA-512`);
  return problems;
}
