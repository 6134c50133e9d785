/**
 * A small wrapper of TwillDB's C ABI for Bun: one `Connection` is one handle.
 *
 * - Text goes to C with its NUL terminator; text that cannot make the journey unchanged (a NUL character, half of a
 *   surrogate pair) is refused here, because C would cut it short or see another character.
 * - An answer is copied out of the library before the next call could free it.
 * - Values are decoded as docs/format/json.md says. INTEGER is a number, or a bigint beyond 2^53 - 1; with
 *   `{ integers: "bigint" }` always a bigint, so that 1 and 1.0 differ. REAL is a number, BLOB a Uint8Array.
 * - A call blocks the event loop until the commit is durable; a handle runs one call at a time.
 *
 * The library's path is in the environment variable ENGINE_LIB.
 */
import { CString, dlopen, FFIType, type Pointer } from "bun:ffi";

const ABI_VERSION = 1;

export type Value = null | number | bigint | string | Uint8Array;

export interface Result {
  columns: string[];
  /** The type that a table declares for each column; null for expressions. */
  types: (string | null)[];
  rows: Value[][];
  changes: number;
  lastInsertRowid: number | bigint;
}

export interface Decoding {
  integers?: "number" | "bigint";
}

/** What the engine answered instead of a result. `code` and `extendedCode` are SQLite's. */
export class EngineError extends Error {
  override name = "EngineError";
  constructor(
    message: string,
    readonly code: number,
    readonly extendedCode: number,
  ) {
    super(message);
  }
}

const { symbols: engine } = openLibrary();

function openLibrary() {
  const path = process.env.ENGINE_LIB;
  if (!path) throw new Error("set ENGINE_LIB to the path of libengine.so (.dylib)");
  const library = dlopen(path, {
    engine_abi_version: { args: [], returns: FFIType.u32 },
    engine_version: { args: [], returns: FFIType.ptr },
    engine_open: { args: [FFIType.ptr], returns: FFIType.u64_fast },
    engine_query: { args: [FFIType.u64_fast, FFIType.ptr], returns: FFIType.ptr },
    engine_close: { args: [FFIType.u64_fast], returns: FFIType.void },
    engine_last_error: { args: [FFIType.u64_fast], returns: FFIType.ptr },
  });
  const found = library.symbols.engine_abi_version();
  if (found !== ABI_VERSION) throw new Error(`${path} speaks ABI ${found}, this wrapper ${ABI_VERSION}`);
  return library;
}

/** The library's version. */
export const version = fromC(engine.engine_version());

/** The text as C reads it, or an error if C would read another one. */
function toC(text: string, name: string): Buffer {
  if (text.includes("\0")) throw new TypeError(`${name} contains a NUL character`);
  if (!text.isWellFormed()) throw new TypeError(`${name} contains half of a surrogate pair`);
  return Buffer.from(`${text}\0`, "utf8");
}

/** A copy of a text that belongs to the library. */
function fromC(text: Pointer | bigint | null): string {
  if (text === null) throw new Error("the engine answered no text");
  return new CString(text).toString();
}

/** One connection to a database. A transaction may span calls; closing rolls back an open one. */
export class Connection implements Disposable {
  #handle: number | bigint;

  constructor(readonly url: string) {
    this.#handle = engine.engine_open(toC(url, "the URL"));
    // == on purpose: 0 and 0n are both "no handle".
    if (this.#handle == 0) {
      const message = engine.engine_last_error(0);
      throw new Error(`${url}: ${message === null ? "cannot open" : fromC(message)}`);
    }
  }

  /** Runs SQL, several statements if need be, and returns the last one's result. */
  query(sql: string, decoding: Decoding = {}): Result {
    return decode(fromC(engine.engine_query(this.#handle, toC(sql, "the SQL"))), decoding);
  }

  /** The rows as objects, by column name. */
  all<Row = Record<string, Value>>(sql: string): Row[] {
    const { columns, rows } = this.query(sql);
    return rows.map((row) => Object.fromEntries(columns.map((column, at) => [column, row[at]])) as Row);
  }

  /** The first value of the first row; null if there is none. */
  value(sql: string): Value {
    return this.query(sql).rows[0]?.[0] ?? null;
  }

  /** Runs `body` in a transaction that takes the writer's place at once; an error rolls it back. */
  transaction<T>(body: () => T): T {
    this.query("BEGIN IMMEDIATE");
    try {
      const result = body();
      this.query("COMMIT");
      return result;
    } catch (error) {
      try {
        this.query("ROLLBACK");
      } catch {
        // The engine had rolled back already; the first error says why.
      }
      throw error;
    }
  }

  close(): void {
    engine.engine_close(this.#handle);
    this.#handle = 0;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Reads an answer of the engine: docs/format/json.md. */
export function decode(json: string, { integers = "number" }: Decoding = {}): Result {
  const answer = JSON.parse(json);
  if (answer.error) {
    throw new EngineError(answer.error.message, answer.error.code, answer.error.extended_code);
  }
  for (const row of answer.rows) {
    for (let at = 0; at < row.length; at++) row[at] = decodeValue(row[at], integers);
  }
  return {
    columns: answer.columns,
    types: answer.types,
    rows: answer.rows,
    changes: answer.changes,
    lastInsertRowid: decodeValue(answer.last_insert_rowid, integers) as number | bigint,
  };
}

function decodeValue(value: unknown, integers: "number" | "bigint"): Value {
  if (typeof value === "number") {
    // A bare number is an INTEGER exactly if it is integral.
    return integers === "bigint" && Number.isInteger(value) ? BigInt(value) : value;
  }
  if (value === null || typeof value === "string") return value;
  const tagged = value as { int?: string; real?: number | string; blob?: string };
  if (tagged.int !== undefined) return BigInt(tagged.int);
  if (tagged.blob !== undefined) return new Uint8Array(Buffer.from(tagged.blob, "base64"));
  if (typeof tagged.real === "number") return tagged.real;
  if (tagged.real === "inf") return Infinity;
  if (tagged.real === "-inf") return -Infinity;
  throw new Error(`not a value of this format: ${JSON.stringify(value)}`);
}

/** Builds SQL from a template whose values become literals: sql`SELECT ${name}`. An array becomes a list. */
export function sql(parts: TemplateStringsArray, ...values: (Value | boolean | undefined | Value[])[]): string {
  return parts.reduce((text, part, at) => `${text}${literal(values[at - 1])}${part}`);
}

/** A value as an SQL literal that reads back as the same value of the same storage class. */
export function literal(value: Value | boolean | undefined | Value[]): string {
  if (Array.isArray(value)) return `(${value.map(literal).join(", ")})`;
  if (value === null || value === undefined) return "NULL";
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString("hex")}'`;
  switch (typeof value) {
    case "boolean":
      return value ? "1" : "0";
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} does not fit 64 bits`);
      return value.toString();
    case "number":
      if (Number.isNaN(value)) return "NULL";
      if (!Number.isFinite(value)) return value > 0 ? "9e999" : "-9e999";
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) return value.toString();
      return Number.isInteger(value) ? realLiteral(value) : value.toString();
    case "string":
      return textLiteral(value);
  }
}

function realLiteral(value: number): string {
  const digits = Object.is(value, -0) ? "-0" : value.toString();
  return digits.includes("e") ? digits : `${digits}.0`;
}

/** SQL text cannot hold a NUL character: such a string travels as its bytes. */
function textLiteral(text: string): string {
  if (!text.isWellFormed()) throw new TypeError("a string contains half of a surrogate pair");
  if (text.includes("\0")) return `CAST(x'${Buffer.from(text, "utf8").toString("hex")}' AS TEXT)`;
  return `'${text.replaceAll("'", "''")}'`;
}
