/** Statement, member by member. */
import { describe, expect, test } from "bun:test";
import { Database, freshPath, sample, Statement, thrown } from "./module.ts";

describe("rows", () => {
  const db = sample();

  test("all: objects; get: the first or null; values: arrays; raw: bytes", () => {
    const all = db.prepare("SELECT a, b FROM t ORDER BY a");
    expect(all.all()).toEqual([{ a: 1, b: "x" }, { a: 2, b: "y" }]);
    expect(all.get()).toEqual({ a: 1, b: "x" });
    expect(all.values()).toEqual([[1, "x"], [2, "y"]]);
    const none = db.prepare("SELECT a FROM t WHERE 0");
    expect([none.all(), none.get(), none.values(), none.raw(), [...none.iterate()]]).toEqual([[], null, [], [], []]);
    expect(Object.getPrototypeOf(all.get())).toBe(Object.prototype);
    expect(db.prepare("SELECT 1, 'é', 2.5, NULL, x'00ff', 9007199254740993").raw()).toEqual([[
      new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), new Uint8Array([195, 169]), new Uint8Array([0, 0, 0, 0, 0, 0, 4, 64]), null,
      new Uint8Array([0, 255]), new Uint8Array([1, 0, 0, 0, 0, 0, 32, 0]),
    ]]);
  });

  test("what values become", () => {
    const [row] = db.prepare("SELECT 1, 'é', 2.5, NULL, x'00ff', 1.0, -0.0, 9007199254740993, 9e999, '', x''").values();
    expect(row).toEqual([1, "é", 2.5, null, new Uint8Array([0, 255]), 1, -0, 9007199254740992, Infinity, "", new Uint8Array()]);
    expect(row![4]!.constructor).toBe(Uint8Array);
    expect(db.query("SELECT CAST(x'ff41c3' AS TEXT) v, CAST(x'00' AS TEXT) n").get()).toEqual({ v: "\ufffdA\ufffd", n: "\0" });
    expect((db.query("SELECT zeroblob(1000000) z").get() as any).z.length).toBe(1_000_000);
    expect((db.query("SELECT hex(zeroblob(1000000)) z").get() as any).z).toBe("0".repeat(2_000_000));
    expect(db.query("SELECT max(9223372036854775807) v, -9223372036854775807 - 1 w").get())
      .toEqual({ v: 9223372036854775807, w: -9223372036854775808 });
  });

  test("thousands of rows, all kinds mixed", () => {
    const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
      SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN 'text ' || i WHEN 2 THEN i / 3.0 ELSE 'ü' || i END v FROM n`;
    const expected = Array.from({ length: 20000 }, (_, at) => {
      const i = at + 1;
      return { i, v: [null, `text ${i}`, i / 3, `ü${i}`][i % 4] };
    });
    const statement = db.prepare(sql);
    expect(statement.all()).toEqual(expected);
    expect([...statement.iterate()]).toEqual(expected);
    expect(statement.values()).toEqual(expected.map(({ i, v }) => [i, v]));
  });

  test("columns of one name, odd names, many columns", () => {
    expect(db.query("SELECT 1 AS a, 2 AS a, 3 AS b").get()).toEqual({ a: 2, b: 3 });
    expect(db.query("SELECT 1 AS a, 2 AS a").values()).toEqual([[1, 2]]);
    const names = db.query("SELECT 1 AS a, 2 AS a");
    expect(names.columnNames).toEqual(["a", "a"]);
    expect(Object.keys(db.query("SELECT 1 AS b, 2 AS a, 3 AS b, 4 AS A").get() as object)).toEqual(["b", "a", "A"]);
    expect(Object.keys(db.query("SELECT 'b' AS b, 'one' AS '1', 'zero' AS '0'").get() as object)).toEqual(["0", "1", "b"]);
    const odd = db.prepare("SELECT 5 AS __proto__, 6 AS constructor, 7 AS toString, 8 AS '', 9 AS 'a\"b\\', 10 AS 'new\nline'");
    for (let run = 0; run < 30; run++) {
      const row = odd.get() as any;
      expect(Object.keys(row)).toEqual(["__proto__", "constructor", "toString", "", 'a"b\\', "new\nline"]);
      expect(Object.getPrototypeOf(row)).toBe(Object.prototype);
      expect(Object.getOwnPropertyDescriptor(row, "__proto__")).toEqual({ value: 5, writable: true, enumerable: true, configurable: true });
    }
    const wide = db.prepare(`SELECT ${Array.from({ length: 2000 }, (_, at) => `${at} AS c${at}`)}`);
    for (let run = 0; run < 20; run++) expect(Object.keys(wide.get() as object).length).toBe(2000);
  });

  test("statements that give no rows", () => {
    const insert = () => db.prepare("INSERT INTO t(b) VALUES ('z')");
    expect([insert().get(), insert().all(), insert().values(), insert().raw(), [...insert().iterate()]]).toEqual([null, [], [], [], []]);
    expect(db.query("SELECT count(*) n FROM t WHERE b = 'z'").get()).toEqual({ n: 5 });
    db.run("DELETE FROM t WHERE b = 'z'");
  });

  test("RETURNING", () => {
    expect(db.query("INSERT INTO t(a, b) VALUES (50, 'z'), (51, 'w') RETURNING a, b").all()).toEqual([{ a: 50, b: "z" }, { a: 51, b: "w" }]);
    expect(db.query("INSERT INTO t(a) VALUES (52), (53) RETURNING a").get()).toEqual({ a: 52 });
    expect(db.query("INSERT INTO t(a) VALUES (54), (55) RETURNING a").run()).toEqual({ changes: 2, lastInsertRowid: 55 });
    expect([...db.query("DELETE FROM t WHERE a >= 50 RETURNING a").iterate()].length).toBe(6);
  });
});

describe("run", () => {
  test("tells changes and the last rowid", () => {
    const db = sample();
    expect(Object.keys(db.prepare("SELECT 1").run())).toEqual(["changes", "lastInsertRowid"]);
    expect(db.prepare("INSERT INTO t(b) VALUES (?), (?)").run(1, 2)).toEqual({ changes: 2, lastInsertRowid: 4 });
    expect(db.prepare("SELECT * FROM t").run()).toEqual({ changes: 0, lastInsertRowid: 4 });
    expect(db.prepare("UPDATE t SET b = 0 WHERE a > ?").run(2)).toEqual({ changes: 2, lastInsertRowid: 4 });
    expect(db.prepare("DELETE FROM t WHERE a > 2").run()).toEqual({ changes: 2, lastInsertRowid: 4 });
    expect(db.prepare("CREATE TABLE u(a)").run()).toEqual({ changes: 0, lastInsertRowid: 4 });
    expect(db.prepare("INSERT INTO t(a) VALUES (?)").run(2n ** 60n)).toEqual({ changes: 1, lastInsertRowid: 2 ** 60 });
  });

  test("does not count what triggers and cascades change", () => {
    const db = sample();
    db.run("PRAGMA foreign_keys = ON");
    db.run("CREATE TABLE log(n); CREATE TRIGGER noted AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.a); END");
    expect(db.run("UPDATE t SET b = 'q'").changes).toBe(2);
    db.run("CREATE TABLE child(p REFERENCES t(a) ON DELETE CASCADE); INSERT INTO child VALUES (1), (1), (2)");
    expect(db.run("DELETE FROM t WHERE a = 1").changes).toBe(1);
    expect(db.query("SELECT count(*) n FROM child").get()).toEqual({ n: 1 });
  });
});

describe("iterate", () => {
  const three = () => {
    const db = sample();
    db.run("INSERT INTO t VALUES (3, 'z')");
    return db;
  };

  test("is a generator, lazy", () => {
    const db = three();
    const iterator = db.prepare("SELECT a FROM t").iterate() as Generator;
    expect(Object.prototype.toString.call(iterator)).toBe("[object Generator]");
    expect(iterator.next()).toEqual({ value: { a: 1 }, done: false });
    expect(iterator.return(9)).toEqual({ value: 9, done: true });
    expect(iterator.next()).toEqual({ value: undefined, done: true });
    const late = db.prepare<any, any>("SELECT ? AS x");
    const bound = late.iterate(1);
    late.get(2);
    expect(bound.next()).toEqual({ value: { x: 1 }, done: false });
    const wrong = db.prepare<any, any>("SELECT ?, ?").iterate(1);
    expect(thrown(() => wrong.next())).toBe("Error: SQLite query expected 2 values, received 1");
  });

  test("Symbol.iterator, with the last values", () => {
    const db = three();
    const above = db.prepare<any, any>("SELECT a FROM t WHERE a > ?");
    expect([...above.iterate(1)]).toEqual([{ a: 2 }, { a: 3 }]);
    expect([...above]).toEqual([{ a: 2 }, { a: 3 }]);
  });

  test("a statement's newest run owns its cursor", () => {
    const INVALIDATED =
      "Error: This iterator was invalidated: its statement was run again. Use db.prepare() to get a statement with a cursor of its own.";
    const db = three();
    const again = db.prepare("SELECT a FROM t");
    for (const use of [() => again.all(), () => again.get(), () => again.values(), () => again.run(), () => again.columnTypes]) {
      const iterator = again.iterate();
      iterator.next();
      use();
      expect(thrown(() => iterator.next())).toBe(INVALIDATED);
    }
    const first = again.iterate();
    first.next();
    const second = again.iterate();
    expect(second.next()).toEqual({ value: { a: 1 }, done: false });
    expect(thrown(() => first.next())).toBe(INVALIDATED);
    expect(second.next()).toEqual({ value: { a: 2 }, done: false });
    expect(thrown(() => { for (const _ of db.prepare("SELECT a FROM t").iterate()) throw new Error("mine"); })).toBe("Error: mine");
    const ended = db.prepare("SELECT a FROM t");
    expect(thrown(() => { for (const _ of ended.iterate()) ended.finalize(); })).toBe("Error: Statement has finalized");
  });

  test("sees what its own connection does meanwhile", () => {
    const db = sample();
    const seen: number[] = [];
    for (const { a } of db.prepare("SELECT a FROM t").iterate() as Iterable<{ a: number }>) {
      seen.push(a);
      if (a < 6) db.run("INSERT INTO t(a) VALUES (?)", [a + 10]);
    }
    expect(seen).toEqual([1, 2, 11, 12]);
  });

  test("leaves nothing open when it is abandoned", () => {
    const db = three();
    for (const _ of db.prepare("SELECT a FROM t").iterate()) break;
    expect(() => db.run("DROP TABLE t")).not.toThrow();
  });
});

describe("what it is", () => {
  const db = new Database(":memory:");
  db.run("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c VARCHAR(10) NOT NULL DEFAULT 'x', d BLOB, e REAL, f)");
  db.run("INSERT INTO t VALUES (1, 'x', 'c', x'01', 1.5, NULL), (2, 'y', 'c', x'01', 1.5, 'q')");
  const statement = db.prepare<any, any>("SELECT *, a+1, 'lit' AS l FROM t WHERE a >= ?");

  test("columnNames, declaredTypes, columnTypes, paramsCount", () => {
    expect(statement.columnNames).toEqual(["a", "b", "c", "d", "e", "f", "a+1", "l"]);
    expect(statement.declaredTypes).toEqual(["INTEGER", "TEXT", "VARCHAR(10)", "BLOB", "REAL", null, null, null]);
    expect(statement.columnTypes).toEqual(Array(8).fill("NULL") as any);
    expect(statement.paramsCount).toBe(1);
    statement.all(2);
    expect(statement.columnTypes).toEqual(["INTEGER", "TEXT", "TEXT", "BLOB", "FLOAT", "TEXT", "INTEGER", "TEXT"]);
    expect(db.prepare("SELECT a, b FROM t WHERE 0").columnTypes).toEqual(["NULL", "NULL"]);
    expect(db.prepare("PRAGMA user_version").columnTypes).toEqual(["INTEGER"]);
    expect(db.prepare("BEGIN").columnTypes).toEqual([]);
    expect(db.prepare("INSERT INTO t(b) VALUES (1) RETURNING a, b").declaredTypes).toEqual(["INTEGER", "TEXT"]);
    expect(db.prepare("INSERT INTO t(b) VALUES (1)").declaredTypes).toEqual([]);
    expect(db.prepare("INSERT INTO t(b) VALUES (1)").columnNames).toEqual([]);
    for (const sql of ["INSERT INTO t(b) VALUES (1)", "INSERT INTO t(b) VALUES (1) RETURNING a"]) {
      expect(thrown(() => db.prepare(sql).columnTypes))
        .toBe("Error: columnTypes is not available for non-read-only statements (INSERT, UPDATE, DELETE, etc.)");
    }
    expect(db.query("SELECT 1, 1+1, 'x', ?1, $n, t.a FROM t").columnNames).toEqual(["1", "1+1", "'x'", "?1", "$n", "a"]);
  });

  test("reader, readonly", () => {
    const facts = (sql: string) => {
      const { reader, readonly, columnNames, paramsCount } = db.prepare(sql);
      return [reader, readonly, columnNames.length, paramsCount];
    };
    expect(facts("SELECT 1")).toEqual([true, true, 1, 0]);
    expect(facts("BEGIN")).toEqual([false, true, 0, 0]);
    expect(facts("SAVEPOINT a")).toEqual([false, true, 0, 0]);
    expect(facts("INSERT INTO t(b) VALUES (?)")).toEqual([false, false, 0, 1]);
    expect(facts("INSERT INTO t(b) VALUES (1) RETURNING a")).toEqual([true, false, 1, 0]);
    expect(facts("PRAGMA user_version")).toEqual([true, true, 1, 0]);
    expect(facts("PRAGMA user_version = 3")).toEqual([false, false, 0, 0]);
    expect(facts("PRAGMA journal_mode")).toEqual([true, false, 1, 0]);
    expect(facts("CREATE TABLE x(a)")).toEqual([false, false, 0, 0]);
    expect(facts("VACUUM")).toEqual([false, false, 0, 0]);
    expect(facts("VALUES (1, 2)")).toEqual([true, true, 2, 0]);
    expect(facts("EXPLAIN SELECT 1")).toEqual([true, true, 8, 0]);
  });

  test("toString, toJSON, tag, native", () => {
    expect(`${statement}`).toBe("SELECT *, a+1, 'lit' AS l FROM t WHERE a >= 2");
    expect(statement.toJSON()).toEqual({
      sql: "SELECT *, a+1, 'lit' AS l FROM t WHERE a >= 2", isFinalized: false, paramsCount: 1,
      columnNames: ["a", "b", "c", "d", "e", "f", "a+1", "l"],
    });
    expect(JSON.parse(JSON.stringify(statement))).toEqual(statement.toJSON());
    expect(Object.prototype.toString.call(db.prepare("SELECT 1"))).toBe('[object "SELECT 1"]');
    expect(typeof statement.native).toBe("object");
    expect(statement.native).toBe(statement.native);
    const typed = db.prepare<any, any>("SELECT ?1,?2,?3,?4");
    typed.all(1.5, null, new Uint8Array([1, 255]), true);
    expect(String(typed)).toBe("SELECT 1.5,NULL,x'01ff',1");
    const quoted = db.prepare<any, any>("SELECT $a, ?2, 'é', @x");
    expect(String(quoted)).toBe("SELECT NULL, NULL, 'é', NULL");
    quoted.all("it's", null, 5n);
    expect(String(quoted)).toBe("SELECT 'it''s', NULL, 'é', 5");
    expect(String(db.prepare("SELECT 1; SELECT 2"))).toBe("SELECT 1;");
    expect(statement).toBeInstanceOf(Statement);
  });

  test("one statement of several", () => {
    expect(db.prepare("SELECT 1 AS a; SELECT 2").all()).toEqual([{ a: 1 }]);
    expect(db.prepare("SELECT 1 AS a\0 nonsense").all()).toEqual([{ a: 1 }]);
    expect(db.prepare("-- remark\nSELECT 1 AS a").all()).toEqual([{ a: 1 }]);
  });

  test("follows a change of the schema", () => {
    db.run("CREATE TABLE sc(a); INSERT INTO sc VALUES (1)");
    const all = db.prepare("SELECT * FROM sc");
    expect([all.all(), all.columnNames]).toEqual([[{ a: 1 }], ["a"]]);
    db.run("ALTER TABLE sc ADD COLUMN b DEFAULT 7");
    expect(all.columnNames).toEqual(["a"]);
    expect([all.all(), all.columnNames, all.get(), all.values()]).toEqual([[{ a: 1, b: 7 }], ["a", "b"], { a: 1, b: 7 }, [[1, 7]]]);
    expect(all.declaredTypes).toEqual([null, null]);
  });
});

describe("as", () => {
  const db = sample();
  class Row {
    a!: number;
    initialised = 5;
    get double() { return this.a * 2; }
    set b(_: unknown) { throw new Error("the setter was called"); }
    get b(): unknown { return "getter"; }
  }

  test("rows have the class's prototype and own columns, and no constructor ran", () => {
    const statement = db.prepare("SELECT a, b FROM t").as(Row);
    for (let run = 0; run < 30; run++) {
      const row = statement.get() as Row;
      expect(row).toBeInstanceOf(Row);
      expect([row.a, row.b, row.double, row.initialised]).toEqual([1, "x", 2, undefined as any]);
      expect(Object.getOwnPropertyDescriptor(row, "b")).toEqual({ value: "x", writable: true, enumerable: true, configurable: true });
    }
    expect(statement.all().every((row) => row instanceof Row)).toBe(true);
    expect([...statement.iterate()].every((row) => row instanceof Row)).toBe(true);
    expect(statement.values()).toEqual([[1, "x"], [2, "y"]]);
    expect(statement.as(Object).get()).toEqual({ a: 1, b: "x" });
    expect(Object.getPrototypeOf(statement.as(Row).as(undefined as any).get())).toBe(Object.prototype);
  });

  test("takes constructors only", () => {
    const statement = db.prepare("SELECT a FROM t");
    expect(statement.as(Row)).toBe(statement as any);
    for (const wrong of [null, 5, "x"]) {
      expect(thrown(() => statement.as(wrong as any))).toBe("TypeError: Expected class to be a constructor or undefined");
    }
    for (const wrong of [() => {}, {}, [], new Map()]) {
      expect(thrown(() => statement.as(wrong as any))).toBe("TypeError: Expected a constructor");
    }
    function Odd() {}
    Odd.prototype = 5;
    expect(thrown(() => statement.as(Odd as any))).toBe("TypeError: Expected a constructor prototype to be an object");
  });
});

describe("safeIntegers", () => {
  test("of a statement", () => {
    const db = sample();
    const statement = db.prepare("SELECT a, 1.5 r FROM t WHERE a = 1");
    expect(statement.safeIntegers()).toBe(false);
    expect(statement.safeIntegers(true)).toBe(statement);
    expect([statement.safeIntegers(), statement.all(), statement.values()]).toEqual([true, [{ a: 1n, r: 1.5 }], [[1n, 1.5]]]);
    expect([statement.safeIntegers(false).get(), statement.safeIntegers()]).toEqual([{ a: 1, r: 1.5 }, false]);
    expect(statement.safeIntegers(1 as any).safeIntegers()).toBe(true);
    expect(statement.safeIntegers(null as any).safeIntegers()).toBe(false);
    expect(db.prepare("INSERT INTO t(b) VALUES (1)").safeIntegers(true).run()).toEqual({ changes: 1, lastInsertRowid: 3n });
    expect(db.prepare("SELECT 9223372036854775807 v").safeIntegers(true).get()).toEqual({ v: 9223372036854775807n });
  });

  test("of a database", () => {
    const db = sample({ safeIntegers: true });
    expect(db.query("SELECT count(*) c, 1.5 r FROM t").get()).toEqual({ c: 2n, r: 1.5 });
    expect(db.run("INSERT INTO t(b) VALUES (1)")).toEqual({ changes: 1, lastInsertRowid: 3n });
    expect(db.prepare("INSERT INTO t(b) VALUES (1)").run()).toEqual({ changes: 1, lastInsertRowid: 4n });
    expect(db.prepare("INSERT INTO t(b) VALUES (1)").safeIntegers(false).run()).toEqual({ changes: 1, lastInsertRowid: 5 });
    expect(db.query("SELECT 1").raw()).toEqual([[new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0])]]);
  });
});

describe("finalize", () => {
  for (const sql of ["SELECT 1", "SELECT ?"]) {
    test(sql, () => {
      const db = sample();
      const statement = db.prepare<any, any>(sql);
      expect([statement.finalize(), statement.finalize(), statement.isFinalized]).toEqual([undefined, undefined, true] as any);
      const uses: Record<string, () => unknown> = {
        get: () => statement.get(1), all: () => statement.all(1), values: () => statement.values(1), raw: () => statement.raw(1),
        run: () => statement.run(1), iterate: () => [...statement.iterate(1)], iterator: () => [...statement],
        columnNames: () => statement.columnNames, columnTypes: () => statement.columnTypes, declaredTypes: () => statement.declaredTypes,
        paramsCount: () => statement.paramsCount, reader: () => statement.reader, readonly: () => statement.readonly,
        toJSON: () => statement.toJSON(), safeIntegers: () => statement.safeIntegers(), setSafeIntegers: () => statement.safeIntegers(true),
      };
      for (const [name, use] of Object.entries(uses)) expect([name, thrown(use)]).toEqual([name, "Error: Statement has finalized"]);
      expect(String(statement)).toBe("");
      expect(statement.as(Object as any)).toBe(statement);
    });
  }

  test("Symbol.dispose", () => {
    const db = sample();
    let kept;
    {
      using statement = db.prepare("SELECT 1");
      kept = statement;
      expect(statement.get()).toEqual({ "1": 1 });
    }
    expect(kept.isFinalized).toBe(true);
    expect(() => kept[Symbol.dispose]()).not.toThrow();
  });
});

test("statements of a file see each other's commits", () => {
  const path = freshPath();
  const one = new Database(path);
  one.run("PRAGMA journal_mode = WAL");
  const two = new Database(path);
  one.run("CREATE TABLE t(a)");
  const count = two.prepare("SELECT count(*) n FROM t");
  for (let n = 0; n < 20; n++) {
    expect(count.get()).toEqual({ n });
    one.run("INSERT INTO t VALUES (1)");
  }
  one.close(true);
  two.close(true);
});
