/**
 * SQL functions, aggregates and update hooks written in JavaScript.
 *
 * Invariants:
 * 1. C calls one of four callbacks of the thread, with a small number as the context; `entries` says what it stands for.
 *    An entry lives as long as its connection, and not longer.
 * 2. The library calls them only on the thread that registered them, in the middle of a call of that thread: no callback
 *    can arrive at a Worker that is gone.
 * 3. What JavaScript throws never reaches C: it is kept by the connection, C is told of an error, and the call that ran
 *    the SQL throws the same value. From a hook, which cannot stop its statement, it is reported as uncaught.
 * 4. While a callback runs its connection is busy.
 */
import { CString, FFIType, JSCallback, ptr, toArrayBuffer, type Pointer } from "bun:ffi";
import type { Connection } from "./connection.ts";
import { sqliteError } from "./errors.ts";
import { engine } from "./library.ts";
import { Batch, Block, cell, encodeName, nested, readArrays, wideCell, type Value } from "./memory.ts";

/** What a SQL function may give; undefined is NULL. */
export type SQLFunctionResult =
  | string
  | bigint
  | NodeJS.TypedArray
  | DataView
  | ArrayBufferLike
  | number
  | boolean
  | null
  | undefined
  | void;

/** Options of `Database.function` and `Database.aggregate`. */
export interface FunctionOptions {
  /** Takes any number of arguments, whatever the number of parameters of the JavaScript function. Default: false. */
  varargs?: boolean | undefined;
  /** The same arguments always give the same result, so SQL may use it in an index. Default: false. */
  deterministic?: boolean | undefined;
  /** Not to be called from views, triggers and other parts of the schema. Default: false. */
  directOnly?: boolean | undefined;
  /** INTEGER arguments are bigints, and a bigint result beyond 64 bits throws. Default: the database's option. */
  safeIntegers?: boolean | undefined;
}

/** Options of `Database.aggregate`. */
export interface AggregateOptions<T = any> extends FunctionOptions {
  /** What each group's accumulator starts as; a function is called for each group. Default: null. */
  start?: T | (() => T) | undefined;
  /** Called for each row; what it returns is the new accumulator, unless that is undefined. */
  step: (accumulator: T, ...args: any[]) => T | void;
  /** Undoes `step` for a row that leaves the window. Without it the function is not a window function. */
  inverse?: ((accumulator: T, ...args: any[]) => T | void) | null | undefined;
  /** The result of an accumulator, which must stay as it is. Default: the accumulator itself. */
  result?: ((accumulator: T) => SQLFunctionResult) | null | undefined;
}

/** The three hooks of a connection, by SQLite's number of the action. */
export type Hooks = Map<number, Function>;

interface Scalar {
  kind: "scalar";
  name: string;
  wide: boolean;
  call: Function;
}

interface Aggregate {
  kind: "aggregate";
  name: string;
  wide: boolean;
  options: AggregateOptions<unknown>;
  groups: Map<number, unknown>;
  /** Groups that are windows: each row had its value, and nobody asks for one at the end. */
  windows: Set<number>;
}

interface UpdateHooks {
  kind: "hooks";
  hooks: Hooks;
  database: WeakRef<object>;
}

type Entry = (Scalar | Aggregate | UpdateHooks) & { connection: Connection };

const entries = new Map<number, WeakRef<Entry>>();
const forgotten = new FinalizationRegistry<number>((context) => entries.delete(context));
const owners = new WeakMap<Connection, Entry[]>();
let lastContext = 0;

/** Gives `entry` a number, and lets it live as long as its connection. */
function register(entry: Entry): number {
  const context = ++lastContext;
  entries.set(context, new WeakRef(entry));
  forgotten.register(entry, context);
  const siblings = owners.get(entry.connection);
  if (siblings === undefined) owners.set(entry.connection, [entry]);
  else siblings.push(entry);
  return context;
}

const FUNCTION_DETERMINISTIC = 1;
const FUNCTION_DIRECTONLY = 2;
const SQLITE_ERROR = 1;
const SQLITE_MISUSE = 21;
/** SQLite's limit on the name of a function. */
const NAME_BYTES_MAX = 255;

/** Where the library writes the arguments of a call. They are read before any JavaScript of the program runs. */
const place = new Batch(new ArrayBuffer(64 * 1024));
const placeAddress: number = ptr(place.bytes);
const result = new Block();

function argumentsOf(address: number, length: number, wide: boolean): Value[] {
  const here = address === placeAddress;
  const batch = here ? place : new Batch(toArrayBuffer(address as Pointer, 0, length));
  const rows: Value[][] = [];
  readArrays(batch, rows, wide ? wideCell : cell);
  return rows[0] ?? [];
}

/** Runs one callback: nothing it throws reaches C. */
function guarded(context: number, call: number, body: (entry: Entry) => void): void {
  const entry = entries.get(context)?.deref();
  if (entry === undefined) return;
  const { connection } = entry;
  connection.busy++;
  try {
    nested(() => body(entry));
  } catch (error) {
    connection.fail(error);
    const message = encodeName(`a JavaScript function failed`);
    engine.engine_call_error(call, SQLITE_ERROR, message, message.length - 1);
  } finally {
    connection.busy--;
  }
}

function answerCall(call: number, value: unknown, entry: Scalar | Aggregate): void {
  result.begin(1);
  try {
    result.put(0, value, entry.wide);
  } catch (error) {
    if (error instanceof RangeError) throw error;
    throw new TypeError(`User-defined function ${entry.name}() returned an invalid value`);
  }
  engine.engine_call_result(call, result.bytes, result.length);
}

function start({ options, groups }: Aggregate, group: number): unknown {
  const { start: given } = options;
  const initial: unknown = typeof given === "function" ? (given as Function).call(undefined) : (given ?? null);
  groups.set(group, initial);
  return initial;
}

function advance(entry: Aggregate, step: Function, group: number, args: Value[]): void {
  const before = entry.groups.has(group) ? entry.groups.get(group) : start(entry, group);
  const after: unknown = step.call(undefined, before, ...args);
  if (after !== undefined) entry.groups.set(group, after);
}

function conclude(entry: Aggregate, group: number): unknown {
  const accumulator = entry.groups.has(group) ? entry.groups.get(group) : start(entry, group);
  const { result: finish } = entry.options;
  return typeof finish === "function" ? finish.call(undefined, accumulator) : accumulator;
}

const { ptr: p, u64_fast: n, i32, i64, void: nothing } = FFIType;
let callbacks: ReturnType<typeof makeCallbacks> | undefined;

/** The thread's callbacks, made when the first function or hook is. They stay as long as the thread. */
function makeCallbacks() {
  return {
    scalar: new JSCallback(
      (context: number, call: number, address: number, length: number) =>
        guarded(context, call, (entry) => {
          if (entry.kind !== "scalar") return;
          answerCall(call, entry.call.apply(undefined, argumentsOf(address, Number(length), entry.wide)), entry);
        }),
      { args: [n, n, p, n], returns: nothing },
    ),
    step: new JSCallback(
      (context: number, group: number, call: number, address: number, length: number) =>
        guarded(context, call, (entry) => {
          if (entry.kind !== "aggregate" || entry.connection.failed) return;
          advance(entry, entry.options.step, group, argumentsOf(address, Number(length), entry.wide));
        }),
      { args: [n, n, n, p, n], returns: nothing },
    ),
    inverse: new JSCallback(
      (context: number, group: number, call: number, address: number, length: number) =>
        guarded(context, call, (entry) => {
          if (entry.kind !== "aggregate" || entry.connection.failed || !entry.options.inverse) return;
          advance(entry, entry.options.inverse, group, argumentsOf(address, Number(length), entry.wide));
        }),
      { args: [n, n, n, p, n], returns: nothing },
    ),
    value: new JSCallback(
      (context: number, group: number, call: number) =>
        guarded(context, call, (entry) => {
          if (entry.kind !== "aggregate" || entry.connection.failed) return;
          entry.windows.add(group);
          answerCall(call, conclude(entry, group), entry);
        }),
      { args: [n, n, n], returns: nothing },
    ),
    last: new JSCallback(
      (context: number, group: number, call: number) =>
        guarded(context, call, (entry) => {
          if (entry.kind !== "aggregate") return;
          try {
            if (!entry.connection.failed && !entry.windows.has(group)) answerCall(call, conclude(entry, group), entry);
          } finally {
            entry.groups.delete(group);
            entry.windows.delete(group);
          }
        }),
      { args: [n, n, n], returns: nothing },
    ),
    hook: new JSCallback(
      (context: number, action: number, schema: Pointer, table: Pointer, rowid: bigint) => callHook(context, action, schema, table, rowid),
      { args: [n, i32, p, p, i64], returns: nothing },
    ),
  };
}

function callHook(context: number, action: number, schema: Pointer, table: Pointer, rowid: bigint): void {
  const entry = entries.get(context)?.deref();
  if (entry?.kind !== "hooks") return;
  const hook = entry.hooks.get(action);
  const database = entry.database.deref();
  if (hook === undefined || database === undefined) return;
  const { connection } = entry;
  const wide = connection.safeIntegers;
  const names = [String(new CString(table)), String(new CString(schema))];
  connection.busy++;
  try {
    nested(() => hook.call(database, database, names[0], wide ? rowid : Number(rowid), names[1]));
  } catch (error) {
    reportError(error);
  } finally {
    connection.busy--;
  }
}

function ready() {
  return (callbacks ??= makeCallbacks());
}

function booleanOption(options: object, key: string, otherwise: boolean): boolean {
  const value = (options as Record<string, unknown>)[key];
  if (value === undefined) return otherwise;
  if (typeof value !== "boolean") throw new TypeError(`Expected the "${key}" option to be a boolean`);
  return value;
}

function functionOption(options: object, key: string): Function | undefined {
  const value = (options as Record<string, unknown>)[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "function") throw new TypeError(`Expected the "${key}" option to be a function`);
  return value;
}

function parameterCount(call: Function): number {
  const { length } = call;
  if (!Number.isInteger(length) || length < 0) throw new TypeError("Expected function.length to be a positive integer");
  return length;
}

function flagsOf(options: object): number {
  const deterministic = booleanOption(options, "deterministic", false) ? FUNCTION_DETERMINISTIC : 0;
  return deterministic | (booleanOption(options, "directOnly", false) ? FUNCTION_DIRECTONLY : 0);
}

function checkedName(name: string): Buffer {
  if (name.includes("\0")) {
    throw new TypeError(`The argument 'name' must be a string without null bytes. Received ${quoted(name)}`);
  }
  const bytes = encodeName(name);
  if (bytes.length > NAME_BYTES_MAX + 1) throw sqliteError("bad parameter or other API misuse", SQLITE_MISUSE);
  return bytes;
}

/** A string as Node quotes it in its errors. */
export function quoted(text: string): string {
  return `'${text.replace(/[\x00-\x1f]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`)}'`;
}

/** Defines a scalar function: `Database.function`. */
export function defineFunction(connection: () => Connection, name: unknown, options: unknown, call: unknown): void {
  if (typeof name !== "string") throw new TypeError("Expected first argument to be a string");
  if (typeof call !== "function") throw new TypeError("Expected last argument to be a function");
  const settings = options ?? {};
  if (typeof settings !== "object") throw new TypeError("Expected second argument to be an options object");
  if (name === "") throw new TypeError("User-defined function name cannot be an empty string");
  const owner = connection();
  const wide = booleanOption(settings, "safeIntegers", owner.safeIntegers);
  const flags = flagsOf(settings);
  const count = booleanOption(settings, "varargs", false) ? -1 : parameterCount(call);
  owner.enter();
  const bytes = checkedName(name);
  const context = register({ kind: "scalar", connection: owner, name, wide, call });
  const { scalar } = ready();
  const code = engine.engine_create_function(
    owner.handle, bytes, count, flags, scalar.ptr, context as Pointer, null, place.bytes, place.bytes.length,
  );
  if (code !== 0) throw owner.failure();
}

/** Defines an aggregate, with `inverse` a window function: `Database.aggregate`. */
export function defineAggregate(connection: () => Connection, name: unknown, options: unknown): void {
  if (typeof name !== "string") throw new TypeError("Expected first argument to be a string");
  if (typeof options !== "object" || options === null) {
    throw new TypeError("Expected second argument to be an options object");
  }
  if (name === "") throw new TypeError("User-defined function name cannot be an empty string");
  const step = functionOption(options, "step");
  if (step === undefined) throw new TypeError('Missing required option "step"');
  const inverse = functionOption(options, "inverse");
  const finish = functionOption(options, "result");
  const owner = connection();
  const wide = booleanOption(options, "safeIntegers", owner.safeIntegers);
  const flags = flagsOf(options);
  const widest = Math.max(parameterCount(step), inverse === undefined ? 0 : parameterCount(inverse), 1);
  const count = booleanOption(options, "varargs", false) ? -1 : widest - 1;
  owner.enter();
  const bytes = checkedName(name);
  const { start: initial } = options as AggregateOptions<unknown>;
  const settings = { start: initial, step, inverse, result: finish } as AggregateOptions<unknown>;
  const context = register({ kind: "aggregate", connection: owner, name, wide, options: settings, groups: new Map(), windows: new Set() }) as Pointer;
  const { step: s, inverse: i, value: v, last: l } = ready();
  const room = place.bytes.length;
  const code =
    inverse === undefined
      ? engine.engine_create_aggregate(owner.handle, bytes, count, flags, s.ptr, l.ptr, context, null, place.bytes, room)
      : engine.engine_create_window(owner.handle, bytes, count, flags, s.ptr, i.ptr, v.ptr, l.ptr, context, null, place.bytes, room);
  if (code !== 0) throw owner.failure();
}

/** Makes the library call the functions in `hooks`; without any it stops calling. */
export function setHooks(connection: Connection, database: object, hooks: Hooks): void {
  if (hooks.size === 0) {
    engine.engine_set_update_hook(connection.handle, 0, null, null, null);
    return;
  }
  const context = register({ kind: "hooks", connection, hooks, database: new WeakRef(database) });
  const code = engine.engine_set_update_hook(connection.handle, 0, ready().hook.ptr, context as Pointer, null);
  if (code !== 0) throw connection.failure();
}
