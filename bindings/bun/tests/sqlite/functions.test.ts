/** Functions, aggregates and hooks written in JavaScript. */
import { describe, expect, test } from "bun:test";
import { Database, sample, thrown, value } from "./module.ts";

const BUSY = "TypeError: This database connection is busy executing a query";
const row = (db: any, sql: string, ...params: any[]) => db.prepare(sql).values(...params)[0];

describe("function", () => {
  test("takes and gives values", () => {
    const db = sample();
    expect(db.function("inc", (a: any) => a + 1)).toBe(db);
    expect(row(db, "SELECT inc(1), inc(2.5), inc('x'), inc(NULL), inc(x'01')")).toEqual([2, 3.5, "x1", 1, "11"]);
    db.function("kind", (a: any) => (a === null ? "null" : `${typeof a}:${a.constructor.name}`));
    expect(row(db, "SELECT kind(1), kind(1.5), kind('a'), kind(NULL), kind(x'01'), kind(9007199254740993)"))
      .toEqual(["number:Number", "number:Number", "string:String", "null", "object:Uint8Array", "number:Number"]);
    let given: unknown;
    db.function("give", { varargs: true }, () => given as any);
    for (const [returned, type, stored] of [
      [undefined, "null", null], [null, "null", null], [true, "integer", 1], [5, "integer", 5], [-0, "real", -0], [1.5, "real", 1.5],
      [2 ** 53, "real", 2 ** 53], [7n, "integer", 7], [2n ** 64n + 3n, "integer", 3], ["é😀", "text", "é😀"], ["a\0b", "text", "a\0b"],
      [NaN, "null", null], [Infinity, "real", Infinity], ["", "text", ""], ["x".repeat(100_000), "text", "x".repeat(100_000)],
    ] as [unknown, string, unknown][]) {
      given = returned;
      expect(row(db, "SELECT typeof(give()), give()")).toEqual([type, stored]);
    }
    for (const blob of [new Uint8Array([1]), new ArrayBuffer(1), Buffer.from("q"), new DataView(new ArrayBuffer(1))]) {
      given = blob;
      expect(row(db, "SELECT typeof(give()), length(give())")).toEqual(["blob", 1]);
    }
    for (const wrong of [new Date(0), {}, [1], Symbol("s"), () => 1, Promise.resolve(1)]) {
      given = wrong;
      expect(thrown(() => row(db, "SELECT give()"))).toBe("TypeError: User-defined function give() returned an invalid value");
    }
    db.function("long", (text: string) => text.length);
    expect(row(db, "SELECT long(?)", "y".repeat(200_000))).toEqual([200_000]);
  });

  test("number of arguments", () => {
    const db = sample();
    db.function("f", () => 0);
    db.function("f", (_a: any) => 1);
    db.function("f", (_a: any, _b: any) => 2);
    expect(row(db, "SELECT f(), f(1), f(1, 2)")).toEqual([0, 1, 2]);
    expect(thrown(() => row(db, "SELECT f(1, 2, 3)"))).toBe("SQLiteError: wrong number of arguments to function f() [SQLITE_ERROR 1 @7]");
    db.function("count", { varargs: true }, (...all: any[]) => all.length);
    expect(row(db, "SELECT count(), count(1, 2, 3)")).toEqual([0, 3]);
    db.function("upper", (a: any) => `U${a}`);
    expect(row(db, "SELECT UPPER('x')")).toEqual(["Ux"]);
    db.function("x".repeat(255), () => 1);
    expect(thrown(() => db.function("x".repeat(256), () => 1))).toBe("SQLiteError: bad parameter or other API misuse [SQLITE_MISUSE 21 @-1]");
  });

  test("throws what it throws", () => {
    const db = sample();
    const object = { a: 1 };
    for (const [name, what] of [["boom", new RangeError("not today")], ["boom2", "text"], ["boom3", undefined], ["boom4", object]] as const) {
      db.function(name, () => { throw what; });
      let caught: unknown = "nothing";
      try { row(db, `SELECT ${name}()`); } catch (error) { caught = error; }
      expect(caught).toBe(what as any);
    }
    expect(thrown(() => db.run("INSERT INTO t(b) VALUES (7), (boom())"))).toBe("RangeError: not today");
    expect(thrown(() => db.prepare("SELECT boom()").all())).toBe("RangeError: not today");
    expect(thrown(() => [...db.prepare("SELECT boom()").iterate()])).toBe("RangeError: not today");
    expect(value(db, "SELECT count(*) FROM t")).toBe(2);
    db.function("nested", () => { const other = sample(); other.function("inner", () => { throw new Error("inside"); }); return other.query("SELECT inner()").get() as any; });
    expect(thrown(() => row(db, "SELECT nested()"))).toBe("Error: inside");
  });

  test("options", () => {
    const db = sample();
    let self: unknown = 1;
    db.function("self", function (this: unknown) { self = this; return 1; });
    row(db, "SELECT self()");
    expect(self).toBe(undefined);
    db.run("CREATE TABLE d(a)");
    db.function("sure", { deterministic: true }, (a: any) => a);
    db.function("unsure", (a: any) => a);
    expect(db.run("CREATE INDEX d1 ON d(sure(a))").changes).toBe(0);
    expect(thrown(() => db.run("CREATE INDEX d2 ON d(unsure(a))")))
      .toBe("SQLiteError: non-deterministic functions prohibited in index expressions [SQLITE_ERROR 1 @21]");
    db.function("direct", { directOnly: true }, () => 1);
    expect(row(db, "SELECT direct()")).toEqual([1]);
    db.run("CREATE VIEW dv AS SELECT direct() x");
    expect(thrown(() => row(db, "SELECT * FROM dv"))).toContain("SQLiteError: unsafe use of direct() [SQLITE_ERROR 1");
    db.function("wide", { safeIntegers: true }, (a: any) => typeof a);
    expect(row(db, "SELECT wide(1), wide(1.5)")).toEqual(["bigint", "number"]);
    db.function("over", { safeIntegers: true }, () => 2n ** 64n);
    expect(thrown(() => row(db, "SELECT over()"))).toBe("RangeError: BigInt value '18446744073709551616' is out of range");
    const safe = new Database(":memory:", { safeIntegers: true });
    safe.function("a", (v: any) => typeof v);
    safe.function("b", { safeIntegers: false }, (v: any) => typeof v);
    expect(row(safe, "SELECT a(1), b(1)")).toEqual(["bigint", "number"]);
  });

  test("what it refuses", () => {
    const db = sample() as any;
    const f = () => 1;
    const odd = Object.defineProperty(() => 1, "length", { value: -1 });
    expect(thrown(() => db.function(5, f))).toBe("TypeError: Expected first argument to be a string");
    expect(thrown(() => db.function("", f))).toBe("TypeError: User-defined function name cannot be an empty string");
    expect(thrown(() => db.function("x"))).toBe("TypeError: Expected last argument to be a function");
    expect(thrown(() => db.function("x", {}))).toBe("TypeError: Expected last argument to be a function");
    expect(thrown(() => db.function("x", 5, f))).toBe("TypeError: Expected second argument to be an options object");
    expect(db.function("x", null, f)).toBe(db);
    for (const [option, wrong] of [["varargs", 1], ["safeIntegers", "y"], ["deterministic", 0], ["directOnly", null]]) {
      expect(thrown(() => db.function("x", { [option as string]: wrong }, f))).toBe(`TypeError: Expected the "${option}" option to be a boolean`);
    }
    expect(thrown(() => db.function("x", odd))).toBe("TypeError: Expected function.length to be a positive integer");
    expect(thrown(() => db.function("a\0b", f))).toBe("TypeError: The argument 'name' must be a string without null bytes. Received 'a\\x00b'");
  });

  test("inside it, its database is busy and others are not", () => {
    const db = sample();
    const statement = db.prepare("SELECT 1");
    const cached = db.query("SELECT 5");
    const uses: Record<string, any[]> = {
      prepare: [() => db.prepare("SELECT 1"), BUSY], run: [() => db.run("SELECT 1"), BUSY], query: [() => db.query("SELECT 9"), BUSY],
      cached: [() => db.query("SELECT 5") === cached, "fine"], get: [() => statement.get(), BUSY], all: [() => statement.all(), BUSY],
      iterate: [() => [...statement.iterate()], BUSY], inTransaction: [() => db.inTransaction, BUSY], columnNames: [() => statement.columnNames, BUSY],
      toString: [() => String(statement), "fine"], finalize: [() => statement.finalize(), BUSY], close: [() => db.close(), BUSY],
      serialize: [() => db.serialize(), BUSY], fileControl: [() => db.fileControl(42), BUSY], function: [() => db.function("g", () => 1), BUSY],
      onInsert: [() => db.onInsert, BUSY], transaction: [() => db.transaction(() => 1), BUSY], paramsCount: [() => statement.paramsCount, BUSY],
      columnTypes: [() => statement.columnTypes, BUSY], readonly: [() => statement.readonly, BUSY], isFinalized: [() => statement.isFinalized, "fine"],
      safeIntegers: [() => statement.safeIntegers(), BUSY], as: [() => statement.as(Object as any), BUSY], handle: [() => db.handle, BUSY],
      toJSON: [() => statement.toJSON(), BUSY], other: [() => sample().query("SELECT * FROM t").all().length === 2, "fine"],
    };
    for (const [name, [use, expected]] of Object.entries(uses)) {
      let found = "fine";
      db.function("probe", () => { try { use(); } catch (error: any) { found = `${error.name}: ${error.message}`; } return 1; });
      row(db, "SELECT probe()");
      expect([name, found]).toEqual([name, expected]);
    }
    expect(db.query("SELECT 7 v").get()).toEqual({ v: 7 });
  });

  test("rows survive queries of another database inside", () => {
    const db = sample();
    const other = sample();
    const look = other.prepare<any, any>("SELECT b || ? AS v FROM t WHERE a = ?");
    db.function("look", (a: any) => look.get("!", a).v);
    expect(db.query("SELECT a, b, look(a) v FROM t").all()).toEqual([{ a: 1, b: "x", v: "x!" }, { a: 2, b: "y", v: "y!" }]);
  });
});

describe("aggregate", () => {
  const db = new Database(":memory:");
  db.run("CREATE TABLE e(c, d); INSERT INTO e VALUES ('rent', 80), ('food', 7), ('food', 5)");
  const all = (sql: string) => db.prepare(sql).values();

  test("groups", () => {
    expect(db.aggregate("total", { start: 0, step: (sum: number, v: number) => sum + v })).toBe(db);
    expect(all("SELECT c, total(d) FROM e GROUP BY c")).toEqual([["food", 12], ["rent", 80]]);
    expect(all("SELECT total(d) FROM e WHERE 0")).toEqual([[0]]);
    db.aggregate("list", { start: () => [] as any[], step: (items, v: any) => { items.push(v); }, result: (items) => items.join(",") });
    expect(all("SELECT c, list(d) FROM e GROUP BY c")).toEqual([["food", "7,5"], ["rent", "80"]]);
    db.aggregate("first", { step: (a: any, v: any) => (a === null ? v : a) });
    expect(all("SELECT first(d) FROM e")).toEqual([[80]]);
    db.aggregate("stay", { start: 5, step: () => undefined });
    expect(all("SELECT stay() FROM e")).toEqual([[5]]);
    db.aggregate("join2", { start: "", step: (a: any, x: any, y: any) => a + x + y });
    expect(all("SELECT join2(c, d) FROM e")).toEqual([["rent80food7food5"]]);
    db.aggregate("any", { start: 0, varargs: true, step: (a: any, ...x: any[]) => a + x.length });
    expect(all("SELECT any(c, d), any(), any(1) FROM e")).toEqual([[6, 0, 3]]);
    db.aggregate("shared", { start: [] as any[], step: (a: any, v: any) => { a.push(v); }, result: (a: any) => a.length });
    expect(all("SELECT shared(d) FROM e GROUP BY c")).toEqual([[2], [3]]);
    db.aggregate("none", { step: () => 1, result: () => undefined, inverse: null });
    expect(all("SELECT none() FROM e")).toEqual([[null]]);
  });

  test("windows", () => {
    const calls: unknown[] = [];
    db.aggregate("win", {
      start: () => { calls.push("start"); return 0; },
      step: (a: any, v: any) => { calls.push(["step", a, v]); return a + v; },
      inverse: (a: any, v: any) => { calls.push(["inverse", a, v]); return a - v; },
      result: (a: any) => { calls.push(["result", a]); return a; },
    });
    expect(all("SELECT win(d) OVER (ROWS 1 PRECEDING) FROM e")).toEqual([[80], [87], [12]]);
    expect(calls).toEqual(["start", ["step", 0, 80], ["result", 80], ["step", 80, 7], ["result", 87], ["inverse", 87, 80], ["step", 7, 5], ["result", 12]]);
    expect(all("SELECT win(d) FROM e")).toEqual([[92]]);
    expect(thrown(() => all("SELECT list(d) OVER () FROM e"))).toBe("SQLiteError: list() may not be used as a window function [SQLITE_ERROR 1 @7]");
  });

  test("throws what its functions throw", () => {
    const step = (a: any) => a;
    db.aggregate("ts", { step: () => { throw new TypeError("step"); } });
    db.aggregate("tr", { step, result: () => { throw new TypeError("result"); } });
    db.aggregate("tb", { step, start: () => { throw new TypeError("start"); } });
    db.aggregate("to", { step: () => ({}) });
    expect(thrown(() => all("SELECT ts() FROM e"))).toBe("TypeError: step");
    expect(thrown(() => all("SELECT tr() FROM e"))).toBe("TypeError: result");
    expect(thrown(() => all("SELECT tb() FROM e"))).toBe("TypeError: start");
    expect(thrown(() => all("SELECT tb() FROM e WHERE 0"))).toBe("TypeError: start");
    expect(thrown(() => all("SELECT to() FROM e".replace("to()", '"to"()')))).toBe("TypeError: User-defined function to() returned an invalid value");
    expect(all("SELECT count(*) FROM e")).toEqual([[3]]);
  });

  test("what it refuses", () => {
    const define = (...args: any[]) => thrown(() => (db as any).aggregate(...args));
    const step = () => 1;
    expect(define("x", {})).toBe('TypeError: Missing required option "step"');
    for (const options of [undefined, null, 5]) expect(define("x", options)).toBe("TypeError: Expected second argument to be an options object");
    expect(define("x", { step: 5 })).toBe('TypeError: Expected the "step" option to be a function');
    expect(define("x", { step, inverse: 5 })).toBe('TypeError: Expected the "inverse" option to be a function');
    expect(define("x", { step, result: "s" })).toBe('TypeError: Expected the "result" option to be a function');
    expect(define(5, { step })).toBe("TypeError: Expected first argument to be a string");
    expect(define("", { step })).toBe("TypeError: User-defined function name cannot be an empty string");
  });
});

describe("hooks", () => {
  test("hear of rows", () => {
    const db = new Database(":memory:");
    db.run("CREATE TABLE c(id INTEGER PRIMARY KEY, n)");
    expect([db.onInsert, db.onUpdate, db.onDelete]).toEqual([null, null, null]);
    const log: unknown[] = [];
    const hook = (kind: string) => function (this: any, ...args: any[]) { log.push([kind, this === db && args[0] === db, ...args.slice(1)]); };
    const insert = hook("insert");
    db.onInsert = insert;
    db.onUpdate = hook("update");
    db.onDelete = hook("delete");
    expect(db.onInsert).toBe(insert);
    db.run("INSERT INTO c(n) VALUES ('a'), ('b')");
    db.run("UPDATE c SET n = 'z', id = id + 10 WHERE id = 1");
    db.run("DELETE FROM c WHERE id = 2");
    db.run("CREATE TEMP TABLE tt(a); INSERT INTO tt VALUES (1)");
    expect(log).toEqual([
      ["insert", true, "c", 1, "main"], ["insert", true, "c", 2, "main"], ["update", true, "c", 11, "main"], ["delete", true, "c", 2, "main"],
      ["insert", true, "tt", 1, "temp"],
    ]);
    log.length = 0;
    db.onInsert = null;
    db.onUpdate = undefined;
    expect([db.onInsert, db.onUpdate]).toEqual([null, null]);
    db.run("INSERT INTO c(n) VALUES ('q'); UPDATE c SET n = 1; DELETE FROM c WHERE id > 11");
    expect(log).toEqual([["delete", true, "c", 12, "main"]]);
    for (const wrong of [5, "x", false, {}]) expect(thrown(() => { db.onInsert = wrong as any; })).toBe("TypeError: Expected a function or null");
  });

  test("rowids of safeIntegers, and a busy database", () => {
    const db = sample({ safeIntegers: true });
    let seen: unknown[] = [];
    db.onInsert = (_db, _table, rowid) => { seen = [typeof rowid, thrown(() => db.query("SELECT 1").get())]; };
    db.run("INSERT INTO t(b) VALUES (1)");
    expect(seen).toEqual(["bigint", BUSY]);
  });

  test("what a hook throws is uncaught, and the statement goes on", () => {
    const script = `
      const { Database } = await import(${JSON.stringify(process.env.TWILLDB_TEST_MODULE ?? new URL("../../src/index.ts", import.meta.url).pathname)});
      const seen = [];
      process.on("uncaughtException", (error) => seen.push(error.message));
      const db = new Database(":memory:");
      db.run("CREATE TABLE t(a)");
      db.onInsert = () => { throw new Error("hooked"); };
      const { changes } = db.run("INSERT INTO t VALUES (1), (2)");
      await Bun.sleep(10);
      console.log(JSON.stringify([seen, changes]));`;
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { env: process.env });
    expect(stdout.toString().trim()).toBe('[["hooked","hooked"],2]');
  });
});
