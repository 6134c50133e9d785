/**
 * What @twilldb/bun does otherwise than `bun:sqlite`, on purpose: the same list as docs/guides/bun-differences.md, which a
 * test compares. A test of something listed here says so with `differs(name)`, and states both behaviours.
 */
import { ours } from "./module.ts";

export const differences = {
  "journal mode": "the storage keeps one log: `PRAGMA journal_mode` is always `wal`",
  "busy timeout": "a writer waits its turn for 5 s, not 0; not for a transaction of its own thread",
  "one process": "while a database is open, another process is told that it is locked",
  "connection strings": "a file name may be a connection string",
  "junk files": "a file that is no database fails when it is opened, not at the first query",
  "WAL images": "the image of a database in WAL mode can be opened",
  "serialize": "an image is in rollback-journal mode, so that any SQLite opens it",
  "loadExtension": "refused",
  "file control": "what a storage cannot answer is SQLITE_NOTFOUND, and its log does not persist",
  "SQL version": "libSQL 0.2.3, which is SQLite 3.47.0; Bun's SQLite is newer",
  "many parameters": "at most 32766 for a statement, not 250000",
} as const;

/** Picks what is expected of the module under test. */
export function differs<T>(name: keyof typeof differences, expected: { bun: T; twill: T }): T {
  if (!(name in differences)) throw new Error(`not a known difference: ${name}`);
  return ours ? expected.twill : expected.bun;
}
