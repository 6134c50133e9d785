/**
 * Statements, as `bun:sqlite` has them.
 *
 * Invariants:
 * 1. A statement has one cursor, and its newest run owns it: an iterator of an earlier run fails at its next step.
 * 2. A statement of `Database.query()` belongs to its database and ends with it; one of `prepare()` outlives
 *    `close(false)`.
 * 3. One that nobody reaches any more is finalized by the garbage collector, in the middle of a loop that never yields
 *    too: the deallocator of `anchor` tells the library.
 */
import { CString, type Pointer } from "bun:ffi";
import { anchorStatement, type Connection } from "./connection.ts";
import { engine } from "./library.ts";
import {
  answer, Batch, byteCell, cell, DONE, HEADER_BYTES, outgoing, readArrays, readTypes, ROW, rowShape, wideCell, type RowShape, type Value,
} from "./memory.ts";
import { writeParameters, type Parameters, type SQLQueryBindings } from "./parameters.ts";

const EXECUTE_RESET = 1;
const EXECUTE_DISCARD = 2;

const PROPERTY_PARAMETERS = 1;
const PROPERTY_COLUMNS = 2;
const PROPERTY_READONLY = 3;

/** What `run` answers. */
export interface Changes {
  /**
   * Rows that the statement itself inserted, updated or deleted, not those of triggers and foreign key actions; the sum
   * for a text of several statements.
   */
  changes: number;
  /** The rowid of the row inserted last on this connection; a bigint with `safeIntegers`. */
  lastInsertRowid: number | bigint;
}

/** Where a statement's rows may be told as instances of. */
type RowClass = (new (...args: never[]) => unknown) | undefined;

/**
 * What `Statement.native` gives: the compiled statement. Its members may change with any release; use `Statement`'s.
 */
export class NativeStatement implements Parameters {
  readonly strict: boolean;
  readonly count: number;
  /** See invariant 3. */
  anchor: ArrayBuffer | undefined;
  #finalized = false;
  #safeIntegers: boolean;
  #names: (string | null)[] | undefined;
  #columns: string[] | undefined;
  #declared: (string | null)[] = [];
  #compiled = 0;
  #shape: RowShape | undefined;
  #prototype: object | undefined;
  #runs = 0;

  constructor(
    readonly connection: Connection,
    readonly handle: number,
    /** Whether the statement ends with its `Database`, not with the connection. */
    readonly owned: boolean,
  ) {
    this.strict = connection.strict;
    this.#safeIntegers = connection.safeIntegers;
    this.anchor = anchorStatement(handle);
    this.count = engine.engine_statement_property(handle, PROPERTY_PARAMETERS);
    if (!owned) connection.prepared++;
  }

  get checkRange(): boolean {
    return this.#safeIntegers;
  }

  get isFinalized(): boolean {
    return this.#finalized || this.#closed;
  }

  /** Whether the database's end was this statement's. */
  get #closed(): boolean {
    const { closed } = this.connection;
    return closed === 2 || (closed === 1 && this.owned);
  }

  /** Refuses to go on with a statement that has ended, or from inside a callback. */
  #enter(): void {
    const { connection } = this;
    if (connection.busy !== 0) connection.enter();
    if (this.#finalized) throw new Error("Statement has finalized");
    if (connection.closed !== 0 && this.#closed) throw new Error("Database has closed");
  }

  // -- what it is -------------------------------------------------------------------------------------------------

  get paramsCount(): number {
    this.#enter();
    return this.count;
  }

  get columnsCount(): number {
    this.#enter();
    return this.#columns?.length ?? engine.engine_statement_property(this.handle, PROPERTY_COLUMNS);
  }

  get readonly(): boolean {
    this.#enter();
    return engine.engine_statement_property(this.handle, PROPERTY_READONLY) === 1;
  }

  get columns(): string[] {
    this.#enter();
    return [...this.#describe()];
  }

  get declaredTypes(): (string | null)[] {
    this.#enter();
    this.#describe();
    return [...this.#declared];
  }

  get columnTypes(): ("INTEGER" | "FLOAT" | "TEXT" | "BLOB" | "NULL" | null)[] {
    if (!this.readonly) {
      throw new Error("columnTypes is not available for non-read-only statements (INSERT, UPDATE, DELETE, etc.)");
    }
    // Before the run: to read the columns takes the memory that the answer is in.
    const { length } = this.#describe();
    this.#execute([], 1, EXECUTE_RESET);
    return readTypes(answer.resolve(), length);
  }

  get safeIntegers(): boolean {
    this.#enter();
    return this.#safeIntegers;
  }

  set safeIntegers(value: boolean) {
    this.#enter();
    if (value !== this.#safeIntegers) this.#shape = undefined;
    this.#safeIntegers = value;
  }

  /** The SQL with the parameters' values written in; empty once the statement has ended. */
  toString(): string {
    if (this.isFinalized) return "";
    const sql = engine.engine_sql(this.handle, 1) as Pointer | null;
    return sql === null ? "" : String(new CString(sql));
  }

  names(): (string | null)[] {
    if (this.#names === undefined) this.#describe();
    return this.#names as (string | null)[];
  }

  /** Reads columns and parameters; again after the schema changed under the statement. */
  #describe(): string[] {
    if (this.#columns !== undefined) return this.#columns;
    const code = engine.engine_describe(this.handle, answer.bytes, answer.bytes.length);
    if (code !== DONE) throw this.connection.failure(this.handle);
    const rows: Value[][] = [];
    readArrays(answer.resolve(), rows, cell);
    const columns = rows.filter(([kind]) => kind === 1);
    this.#declared = columns.map(([, , declared]) => declared as string | null);
    this.#names = rows.filter(([kind]) => kind === 2).map(([, name]) => name as string | null);
    this.#columns = columns.map(([, name]) => name as string);
    return this.#columns;
  }

  as(Class: unknown): void {
    if (this.connection.busy !== 0) this.connection.enter();
    if (Class === undefined) {
      this.#prototype = undefined;
    } else {
      if ((typeof Class !== "function" && typeof Class !== "object") || Class === null) {
        throw new TypeError("Expected class to be a constructor or undefined");
      }
      if (!isConstructor(Class)) throw new TypeError("Expected a constructor");
      const prototype: unknown = Class.prototype;
      if ((typeof prototype !== "object" && typeof prototype !== "function") || prototype === null) {
        throw new TypeError("Expected a constructor prototype to be an object");
      }
      this.#prototype = prototype === Object.prototype ? undefined : (prototype as object);
    }
    this.#shape = undefined;
  }

  // -- running it -------------------------------------------------------------------------------------------------

  /** Binds `args`, if there are any, and runs to the first batch of at most `rowsMax` rows (0: as many as fit). */
  #execute(args: readonly unknown[], rowsMax: number, flags: number): number {
    this.#enter();
    this.#runs++;
    const { handle, connection } = this;
    let length = 0;
    if (args.length !== 0) {
      try {
        if (writeParameters(outgoing, args, this)) length = outgoing.length;
      } catch (error) {
        // As far as the values went they are bound, and the others are NULL.
        this.#bindRest();
        throw error;
      }
    }
    const block = length === 0 ? null : outgoing.bytes;
    const batch = answer;
    const code = connection.wouldWaitForItself()
      ? connection.patiently(() => engine.engine_execute(handle, block, length, batch.bytes, batch.bytes.length, rowsMax, flags))
      : engine.engine_execute(handle, block, length, batch.bytes, batch.bytes.length, rowsMax, flags);
    if (code !== DONE && code !== ROW) throw connection.errorOf(batch.resolve());
    this.#noteAnswer(batch);
    return code;
  }

  /** Binds `args` without running the statement. */
  bind(args: readonly unknown[]): void {
    this.#enter();
    try {
      writeParameters(outgoing, args, this);
    } finally {
      this.#bindRest();
    }
  }

  #bindRest(): void {
    engine.engine_reset(this.handle);
    if (outgoing.cells === this.count && this.count > 0) engine.engine_bind(this.handle, outgoing.bytes, outgoing.length);
  }

  #next(rowsMax: number): number {
    const batch = answer;
    const code = engine.engine_next(this.handle, batch.bytes, batch.bytes.length, rowsMax, 0);
    if (code !== DONE && code !== ROW) throw this.connection.errorOf(batch.resolve());
    this.#noteAnswer(batch);
    return code;
  }

  #noteAnswer(batch: Batch): void {
    this.connection.note(batch.flags);
    const { compiled } = batch;
    if (compiled !== this.#compiled) {
      this.#compiled = compiled;
      this.#columns = undefined;
      this.#shape = undefined;
    }
  }

  /** The rows' shape. Reading the columns' names overwrites the answer. */
  #rowShape(): RowShape {
    return (this.#shape ??= rowShape(this.#describe(), this.#safeIntegers ? wideCell : cell, this.#prototype));
  }

  /**
   * The rows of the last call. If the statement was compiled anew for it, the columns' names must be read again, which
   * takes the memory that the rows are in: then they are a copy.
   */
  #rows(): Batch {
    const batch = answer.resolve();
    if (this.#shape !== undefined) return batch;
    const copy = new Batch(batch.u8.buffer.slice(0, Math.max(batch.length, HEADER_BYTES)) as ArrayBuffer);
    this.#rowShape();
    return copy;
  }

  run(args: readonly unknown[]): Changes {
    this.#execute(args, 0, EXECUTE_DISCARD);
    return this.#safeIntegers
      ? { changes: answer.changes, lastInsertRowid: answer.wideLastInsertRowid }
      : { changes: answer.changes, lastInsertRowid: answer.lastInsertRowid };
  }

  get(args: readonly unknown[]): object | null {
    this.#prepareShape();
    this.#execute(args, 1, EXECUTE_RESET);
    const batch = this.#rows();
    return batch.rows === 0 || batch.columns === 0 ? null : this.#rowShape().first(batch);
  }

  all(args: readonly unknown[]): object[] {
    this.#prepareShape();
    const rows: object[] = [];
    for (let code = this.#execute(args, 0, 0); ; code = this.#next(0)) {
      const batch = this.#rows();
      if (batch.columns !== 0 && batch.rows !== 0) this.#rowShape().all(batch, rows);
      if (code === DONE) return rows;
    }
  }

  /** Reads the columns' names before a run rather than in the middle of it. */
  #prepareShape(): void {
    this.#enter();
    if (this.#shape === undefined) this.#rowShape();
  }

  values(args: readonly unknown[]): Value[][] {
    const rows: Value[][] = [];
    for (let code = this.#execute(args, 0, 0); ; code = this.#next(0)) {
      const batch = answer.resolve();
      if (batch.columns !== 0) readArrays(batch, rows, this.#safeIntegers ? wideCell : cell);
      if (code === DONE) return rows;
    }
  }

  raw(args: readonly unknown[]): (Uint8Array | null)[][] {
    const rows: (Uint8Array | null)[][] = [];
    for (let code = this.#execute(args, 0, 0); ; code = this.#next(0)) {
      const batch = answer.resolve();
      if (batch.columns !== 0) readArrays(batch, rows, byteCell);
      if (code === DONE) return rows;
    }
  }

  /** The number of the newest run, which owns the cursor. */
  get runCount(): number {
    return this.#runs;
  }

  /** Starts a run, row by row: the first row, or undefined. */
  iterate(args: readonly unknown[]): object | undefined {
    this.#prepareShape();
    this.#execute(args, 1, 0);
    return this.#row();
  }

  /** The next row of run `run`, or undefined at its end. */
  iterateNext(run: number): object | undefined {
    this.#enter();
    if (run !== this.#runs) {
      throw new Error(
        "This iterator was invalidated: its statement was run again. Use db.prepare() to get a statement with a cursor of its own.",
      );
    }
    this.#next(1);
    return this.#row();
  }

  /** Ends run `run`, unless a newer one has the cursor. */
  iterateEnd(run: number): void {
    if (run === this.#runs && !this.isFinalized && this.connection.busy === 0) engine.engine_reset(this.handle);
  }

  #row(): object | undefined {
    const batch = this.#rows();
    return batch.rows === 0 || batch.columns === 0 ? undefined : this.#rowShape().first(batch);
  }

  finalize(): void {
    if (this.isFinalized) return;
    this.connection.enter();
    this.#finalized = true;
    this.anchor = undefined;
    engine.engine_finalize(this.handle);
    if (!this.owned) this.connection.released();
  }
}

function isConstructor(value: object): value is Function {
  try {
    Reflect.construct(Object, [], value as Function);
    return true;
  } catch {
    return false;
  }
}

/**
 * A prepared statement, from `Database.query()` or `Database.prepare()`.
 *
 * ```ts
 * const byName = db.query<{ id: number }, [string]>("SELECT id FROM users WHERE name = ?");
 * byName.get("ada");   // { id: 1 } or null
 * byName.all("ada");   // [{ id: 1 }]
 * ```
 *
 * `Row` is the type of a row, `Params` of the arguments. Without arguments a run uses the values of the last one.
 */
export class Statement<Row = unknown, Params extends SQLQueryBindings[] = any[]> implements Disposable {
  readonly #raw: NativeStatement;
  readonly #bare: boolean;

  /** Statements come from `Database.query()` and `Database.prepare()`. */
  constructor(native: NativeStatement) {
    this.#raw = native;
    this.#bare = native.paramsCount === 0;
  }

  /** All rows, as objects. */
  all(...params: Params): Row[] {
    return this.#raw.all(this.#bare ? NO_ARGUMENTS : params) as Row[];
  }

  /** The first row, as an object; null if there is none. Later rows are not computed. */
  get(...params: Params): Row | null {
    return this.#raw.get(this.#bare ? NO_ARGUMENTS : params) as Row | null;
  }

  /** Runs to the end, and tells what changed. */
  run(...params: Params): Changes {
    return this.#raw.run(this.#bare ? NO_ARGUMENTS : params);
  }

  /** All rows, as arrays. */
  values(...params: Params): Value[][] {
    return this.#raw.values(this.#bare ? NO_ARGUMENTS : params);
  }

  /** All rows, as arrays of the bytes of each value: 8 of an INTEGER or REAL, little-endian. */
  raw(...params: Params): (Uint8Array | null)[][] {
    return this.#raw.raw(this.#bare ? NO_ARGUMENTS : params);
  }

  /** The rows one by one, each computed when it is asked for. */
  *iterate(...params: Params): Generator<Row, undefined, undefined> {
    const raw = this.#raw;
    let row = raw.iterate(this.#bare ? NO_ARGUMENTS : params);
    const run = raw.runCount;
    try {
      for (; row !== undefined; row = raw.iterateNext(run)) yield row as Row;
    } finally {
      raw.iterateEnd(run);
    }
    return undefined;
  }

  /** `iterate()` with the values of the last run. */
  [Symbol.iterator](): IterableIterator<Row> {
    return this.iterate(...([] as unknown as Params));
  }

  /** Rows become objects with the prototype of `Class`, whose constructor is not called; `undefined` undoes it. */
  as<T = unknown>(Class: new (...args: any[]) => T): Statement<T, Params>;
  as(Class: undefined): Statement<Row, Params>;
  as(Class: RowClass): Statement<any, Params> {
    this.#raw.as(Class);
    return this;
  }

  /** Whether INTEGERs are told as bigints. */
  safeIntegers(): boolean;
  /** Tells INTEGERs, and `lastInsertRowid`, as bigints from now on, or as numbers. */
  safeIntegers(enabled: boolean): this;
  safeIntegers(enabled?: boolean): boolean | this {
    if (enabled === undefined) return this.#raw.safeIntegers;
    this.#raw.safeIntegers = !!enabled;
    return this;
  }

  /** The names of the columns; empty for a statement that gives no rows. */
  get columnNames(): string[] {
    return this.#raw.columns;
  }

  /** The storage classes of the first row's values. Runs the statement, which must be read-only. */
  get columnTypes(): ("INTEGER" | "FLOAT" | "TEXT" | "BLOB" | "NULL" | null)[] {
    return this.#raw.columnTypes;
  }

  /** The types that the table declares for the columns; null for expressions. */
  get declaredTypes(): (string | null)[] {
    return this.#raw.declaredTypes;
  }

  /** How many parameters there are. */
  get paramsCount(): number {
    return this.#raw.paramsCount;
  }

  /** Whether it gives rows. */
  get reader(): boolean {
    return this.#raw.columnsCount > 0;
  }

  /** Whether it makes no direct change to the database. */
  get readonly(): boolean {
    return this.#raw.readonly;
  }

  /** Whether it was finalized, by `finalize()` or by its database's end. */
  get isFinalized(): boolean {
    return this.#raw.isFinalized;
  }

  /** The compiled statement. Its members may change with any release. */
  get native(): any {
    return this.#raw;
  }

  /** Frees the statement. May be called again. */
  finalize(): void {
    this.#raw.finalize();
  }

  [Symbol.dispose](): void {
    if (!this.isFinalized) this.finalize();
  }

  /** The SQL, with the values of the last run in the place of the parameters. */
  toString(): string {
    return this.#raw.toString();
  }

  toJSON(): { sql: string; isFinalized: boolean; paramsCount: number; columnNames: string[] } {
    return {
      sql: this.toString(),
      isFinalized: this.isFinalized,
      paramsCount: this.paramsCount,
      columnNames: this.columnNames,
    };
  }

  get [Symbol.toStringTag](): string {
    return `"${this.toString()}"`;
  }
}

const NO_ARGUMENTS: readonly unknown[] = [];
