/**
 * What may be passed for the parameters of a statement, and where each value goes: the rules of `bun:sqlite`.
 *
 * 1. No arguments: the values of the last run stay.
 * 2. An array as the first argument is the list of values; so are the arguments themselves. There must be as many as the
 *    statement has parameters. An empty array makes them all NULL.
 * 3. A plain object, or an instance of a class of the program, gives own properties by name, with or without the prefix;
 *    the prefixed one wins, in strict mode the other one. `?NNN` is the property of that name or of its place, counted
 *    from 0; a nameless parameter is the property of its place. What is missing is NULL, in strict mode an error.
 */
import { isAnyArrayBuffer, type Block } from "./memory.ts";

/** What can be bound to a parameter. */
export type SQLQueryBindings =
  | string
  | bigint
  | NodeJS.TypedArray
  | DataView
  | ArrayBufferLike
  | number
  | boolean
  | null
  | undefined
  | Record<string, string | bigint | NodeJS.TypedArray | DataView | ArrayBufferLike | number | boolean | null | undefined>;

/** What a statement says of its parameters. */
export interface Parameters {
  count: number;
  /** The names, with their prefix; null for a nameless one. */
  names(): (string | null)[];
  strict: boolean;
  checkRange: boolean;
}

/**
 * Writes `args` into `block`. Returns false if the statement's values stay as they are. If it throws, the values that
 * were already written are in the block.
 */
export function writeParameters(block: Block, args: readonly unknown[], statement: Parameters): boolean {
  if (args.length === 0) return false;
  const first = args[0];
  if (typeof first !== "object" || first === null) {
    writeList(block, args, statement);
  } else if (Array.isArray(first)) {
    if (first.length === 0) block.begin(statement.count);
    else writeList(block, first, statement);
  } else if (isValue(first)) {
    writeList(block, args, statement);
  } else {
    writeObject(block, first as Record<string, unknown>, statement);
  }
  return true;
}

function writeList(block: Block, values: readonly unknown[], { count, checkRange }: Parameters): void {
  block.begin(count);
  if (values.length !== count) {
    throw new Error(`SQLite query expected ${count} values, received ${values.length}`);
  }
  for (let at = 0; at < count; at++) block.put(at, values[at], checkRange);
}

function writeObject(block: Block, values: Record<string, unknown>, statement: Parameters): void {
  const { count, strict, checkRange } = statement;
  const names = statement.names();
  block.begin(count);
  for (let at = 0; at < count; at++) {
    const key = keyOf(values, names[at], at, strict);
    if (key !== undefined) block.put(at, values[key], checkRange);
    else if (strict) throw new Error(`Missing parameter "${nameOf(names[at], at)}"`);
  }
}

/** The property of `values` that a parameter takes; undefined if there is none. */
function keyOf(values: object, name: string | null, at: number, strict: boolean): string | undefined {
  if (name === null) return Object.hasOwn(values, at) ? String(at) : undefined;
  const bare = name.startsWith("?") ? String(at) : name.slice(1);
  const [preferred, other] = strict ? [bare, name] : [name, bare];
  if (Object.hasOwn(values, preferred)) return preferred;
  return Object.hasOwn(values, other) ? other : undefined;
}

function nameOf(name: string | null, at: number): string {
  return name === null || name.startsWith("?") ? `?${at + 1}` : name.slice(1);
}

/** Objects that are never a set of named values: to pass one is a mistake, which `put` reports. */
const valueClasses: (abstract new (...args: never[]) => object)[] = [
  Date, Map, Set, WeakMap, WeakSet, RegExp, Promise, Error, String, Number, Boolean, Blob, URL, URLSearchParams, Headers,
  FormData, Request, Response, ReadableStream, Event,
];
const iteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));

function isValue(object: object): boolean {
  const prototype = Object.getPrototypeOf(object);
  if (prototype === Object.prototype || prototype === null) return false;
  if (ArrayBuffer.isView(object) || isAnyArrayBuffer(object)) return true;
  return iteratorPrototype.isPrototypeOf(object) || valueClasses.some((type) => isReally(object, type));
}

/** Whether `object` was made by `type`, which a prototype alone does not prove. */
function isReally(object: object, type: abstract new (...args: never[]) => object): boolean {
  return object instanceof type && Object.prototype.toString.call(object) !== "[object Object]";
}
