/**
 * The module under test. These files run against both: `bun test tests/sqlite` tests @twilldb/bun, and
 * `TWILLDB_TEST_MODULE=bun:sqlite bun test tests/sqlite` asks Bun's own module whether what they expect is true.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as Sqlite from "bun:sqlite";

const name = process.env.TWILLDB_TEST_MODULE ?? "../../src/index.ts";
const loaded = (await import(name)) as typeof Sqlite;

export const { Database, Statement, SQLiteError, constants } = loaded;
export const defaultExport = loaded.default;
export type Database = Sqlite.Database;

/** Whether @twilldb/bun is under test. */
export const ours = name !== "bun:sqlite";

const directory = mkdtempSync(join(tmpdir(), "twilldb-sqlite-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
let files = 0;

/** A path where nothing is yet. */
export const freshPath = (): string => join(directory, `${++files}.db`);
export { directory };

/** A database with a table `t(a INTEGER PRIMARY KEY, b)` of two rows. */
export function sample(options?: Sqlite.DatabaseOptions): Sqlite.Database {
  const db = new Database(":memory:", options);
  db.run("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  db.run("INSERT INTO t VALUES (1, 'x'), (2, 'y')");
  return db;
}

/** What `body` throws: `Class: message`, with `[CODE errno @offset]` for an SQLiteError. */
export function thrown(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    const { name, message, code, errno, byteOffset } = error as Sqlite.SQLiteError;
    return errno === undefined ? `${name}: ${message}` : `${name}: ${message} [${code} ${errno} @${byteOffset}]`;
  }
  return "nothing was thrown";
}

/** One value of one row. */
export function value(db: Sqlite.Database, sql: string, ...params: any[]): unknown {
  return db.prepare(sql).values(...params)[0]?.[0];
}
