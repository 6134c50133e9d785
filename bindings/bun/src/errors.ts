/**
 * Errors of the same shape as `bun:sqlite`'s: a plain `Error` whose `name` is "SQLiteError" and which has `code`, `errno`
 * and `byteOffset`. `instanceof SQLiteError` asks for that name, so an error of `bun:sqlite` passes too.
 */
import { CString, type Pointer } from "bun:ffi";
import { codeName } from "./codes.ts";
import { engine } from "./library.ts";

/**
 * What SQL, or opening a database, answered instead of a result.
 *
 * ```ts
 * try { db.run("INSERT INTO users(name) VALUES (?)", ["ada"]); }
 * catch (error) {
 *   if (error instanceof SQLiteError && error.code === "SQLITE_CONSTRAINT_UNIQUE") ...
 * }
 * ```
 */
export class SQLiteError extends Error {
  declare readonly name: "SQLiteError";
  /** SQLite's extended result code, such as 2067. */
  declare readonly errno: number;
  /** Its name, such as `"SQLITE_CONSTRAINT_UNIQUE"`; absent where the code has none. */
  declare readonly code?: string;
  /** UTF-8 byte offset, in the whole SQL that was passed, of the token that the error is about; -1 if there is none. */
  declare readonly byteOffset: number;

  static override [Symbol.hasInstance](instance: unknown): boolean {
    return (instance as { name?: unknown } | null | undefined)?.name === "SQLiteError";
  }

  constructor() {
    super();
    throw new Error("SQLiteError can only be constructed by bun:sqlite");
  }
}

const LOCKED = "database is locked";

/** An error as SQLite words it. What the engine tells beyond that is its cause. */
export function sqliteError(message: string, errno: number, byteOffset = -1): SQLiteError {
  const told = message.startsWith(`${LOCKED}: `) ? LOCKED : message;
  const error = told === message ? new Error(told) : new Error(told, { cause: message });
  const code = codeName(errno);
  Object.defineProperty(error, "name", { value: "SQLiteError", writable: true, enumerable: false, configurable: true });
  if (code !== undefined) Object.defineProperty(error, "code", { value: code, enumerable: true });
  Object.defineProperty(error, "errno", { value: errno, enumerable: true });
  Object.defineProperty(error, "byteOffset", { value: byteOffset, enumerable: true });
  return error as SQLiteError;
}

/** Invariant: only read between a call that failed and the next one. */
const failure = new DataView(new ArrayBuffer(40));

/** The code of the last failed call on `handle`, or, with 0, of this thread's last call without one; 0 if none failed. */
export function failureCode(handle: number): number {
  return engine.engine_failure_of(handle, failure);
}

/** The last failed call on `handle` as an error; `base` is where its SQL begins in what the caller passed. */
export function failureOf(handle: number, base = 0): SQLiteError {
  engine.engine_failure_of(handle, failure);
  const offset = Number(failure.getBigInt64(8, true));
  const address = Number(failure.getBigUint64(16, true)) as Pointer;
  const length = Number(failure.getBigUint64(24, true));
  const message = address === 0 ? "not an error" : String(new CString(address, 0, length));
  return sqliteError(message, failure.getInt32(4, true), offset < 0 ? -1 : base + offset);
}
