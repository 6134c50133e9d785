/** Database, member by member, but for functions, hooks and transactions. */
import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { differs } from "./differences.ts";
import { constants, Database, defaultExport, directory, freshPath, ours, sample, SQLiteError, Statement, thrown, value } from "./module.ts";

const CANTOPEN = "SQLiteError: unable to open database file [SQLITE_CANTOPEN 14 @-1]";
const MISUSE = "SQLiteError: bad parameter or other API misuse [SQLITE_MISUSE 21 @-1]";

test("exports", () => {
  expect(defaultExport).toBe(Database as any);
  expect([Database.name, Statement.name, SQLiteError.name]).toEqual(["Database", "Statement", "SQLiteError"]);
  expect((Database.prototype as any)[Symbol.for("sqlite-type")]).toBe("bun:sqlite");
  for (const member of [
    "handle", "inTransaction", "loadExtension", "serialize", "fileControl", "close", "clearQueryCache", "run", "function", "aggregate",
    "onInsert", "onUpdate", "onDelete", "prepare", "query", "transaction", "exec", Symbol.dispose,
  ]) expect(member in Database.prototype).toBe(true);
  // What better-auth and other libraries take for another kind of database.
  for (const member of ["createSession", "getConnection", "connect", "createDriver", "dialect", "db", "batch"]) {
    expect(member in Database.prototype).toBe(false);
  }
  expect(Database.prototype.exec).toBe(Database.prototype.run as any);
  expect(Object.keys(constants).length).toBe(67);
  expect([constants.SQLITE_OPEN_CREATE, constants.SQLITE_PREPARE_NO_VTAB, constants.SQLITE_FCNTL_RESET_CACHE]).toEqual([4, 4, 42]);
});

describe("opening", () => {
  test("names", () => {
    expect([new Database().filename, new Database("").filename, new Database(":memory:").filename, new Database("  ").filename])
      .toEqual([":memory:", "", ":memory:", ""]);
    const path = freshPath();
    expect(new Database(`  ${path} `).filename).toBe(path);
    expect(existsSync(path)).toBe(true);
    expect(Database.open(":memory:")).toBeInstanceOf(Database);
    expect(thrown(() => new Database(null as any))).toBe("TypeError: Expected 'filename' to be a string, got 'object'");
    expect(thrown(() => new Database(5 as any))).toBe("TypeError: Expected 'filename' to be a string, got 'number'");
    expect(thrown(() => new Database("a\0b"))).toBe("TypeError: The argument 'filename' must be a string without null bytes. Received 'a\\x00b'");
    expect(thrown(() => (Database as any)(":memory:"))).toContain("TypeError: Cannot call a class constructor Database without |new|");
    expect(thrown(() => new Database(`${directory}/no/such`))).toBe(CANTOPEN);
    expect(thrown(() => new Database(directory))).toBe(CANTOPEN);
    class Mine extends Database { answer() { return value(this, "SELECT 42"); } }
    expect(new Mine(":memory:").answer()).toBe(42);
  });

  test("options", () => {
    for (const options of [{ create: false }, { readonly: true }, { readwrite: true }, { readwrite: false }, 1, 2]) {
      expect(thrown(() => new Database(freshPath(), options))).toBe(CANTOPEN);
    }
    for (const options of [undefined, {}, null, "x", { strict: true }, { create: true }, { readwrite: true, create: true }, 6]) {
      const path = freshPath();
      new Database(path, options as any).run("CREATE TABLE t(a)");
      expect(existsSync(path)).toBe(true);
    }
    for (const options of [{ readonly: true, create: true }, { readwrite: false, create: true }]) {
      expect(thrown(() => new Database(freshPath(), options)))
        .toBe('TypeError: A read-only database ("readonly: true" or "readwrite: false") cannot have "create: true" or "readwrite: true"');
    }
    expect(thrown(() => new Database(freshPath(), { readOnly: true } as any))).toBe('TypeError: Misspelled option "readOnly" should be "readonly"');
    expect(thrown(() => new Database(":memory:", { readonly: true }))).toBe("Error: Cannot open an anonymous database in read-only mode.");
    for (const flags of [0, 4, -1]) expect(thrown(() => new Database(freshPath(), flags))).toBe(MISUSE);
    const inMemory = new Database(freshPath(), 6 | constants.SQLITE_OPEN_MEMORY);
    inMemory.run("CREATE TABLE t(a)");
    expect(existsSync(inMemory.filename)).toBe(false);
  });

  test("read-only", () => {
    const path = freshPath();
    const writer = new Database(path);
    writer.run("CREATE TABLE t(a)");
    writer.close(true);
    for (const options of [{ readonly: true }, { readwrite: false }, 1]) {
      using db = new Database(path, options);
      expect(thrown(() => db.run("INSERT INTO t VALUES (1)"))).toBe("SQLiteError: attempt to write a readonly database [SQLITE_READONLY 8 @-1]");
      expect(value(db, "SELECT count(*) FROM t")).toBe(0);
    }
  });

  test("what is no database", () => {
    const path = freshPath();
    writeFileSync(path, "this is not a database at all, sorry about that ".repeat(100));
    const NOTADB = "SQLiteError: file is not a database [SQLITE_NOTADB 26 @-1]";
    const open = () => new Database(path);
    if (differs("junk files", { bun: false, twill: true })) expect(thrown(open)).toContain("SQLITE_NOTADB 26 @-1]");
    else expect(thrown(() => open().query("SELECT * FROM sqlite_master").all())).toBe(NOTADB);
  });

  test("connection strings", () => {
    const path = freshPath();
    const open = () => new Database(`file://${path}`);
    if (differs("connection strings", { bun: true, twill: false })) {
      expect(thrown(open)).toBe(CANTOPEN);
    } else {
      using db = open();
      db.run("CREATE TABLE t(a)");
      expect([db.filename, existsSync(path)]).toEqual([`file://${path}`, true]);
      using one = new Database("memory://shared");
      using two = new Database("memory://shared");
      one.run("CREATE TABLE t(a)");
      expect(value(two, "SELECT count(*) FROM t")).toBe(0);
    }
  });

  test("how a database is set up", () => {
    const db = new Database(freshPath());
    expect(value(db, "PRAGMA foreign_keys")).toBe(0);
    expect(value(db, "PRAGMA recursive_triggers")).toBe(0);
    expect(value(db, 'SELECT "double-quoted text"')).toBe("double-quoted text");
    expect(value(db, "PRAGMA busy_timeout")).toBe(differs("busy timeout", { bun: 0, twill: 5000 }));
    expect(value(db, "PRAGMA journal_mode")).toBe(differs("journal mode", { bun: "delete", twill: "wal" }));
    expect(value(new Database(), "PRAGMA journal_mode")).toBe(differs("journal mode", { bun: "memory", twill: "wal" }));
    expect(String(value(db, "SELECT sqlite_version()"))).toStartWith(differs("SQL version", { bun: "3.5", twill: "3.47" }));
    const many = () => db.prepare(`SELECT ?40000`).paramsCount;
    if (differs("many parameters", { bun: true, twill: false })) expect(many()).toBe(40000);
    else expect(thrown(many)).toBe("SQLiteError: variable number must be between ?1 and ?32766 [SQLITE_ERROR 1 @7]");
    for (const sql of [
      "CREATE VIRTUAL TABLE f5 USING fts5(a)", "CREATE VIRTUAL TABLE rt USING rtree(id, a, b)", "SELECT json_extract('{\"a\":1}', '$.a')",
      "SELECT pow(2, 3), ln(1)", "SELECT '{\"a\":1}' ->> 'a'",
    ]) expect(thrown(() => db.prepare(sql).run())).toBe("nothing was thrown");
  });

  test("two handles of one thread do not wait for each other", () => {
    const path = freshPath();
    const one = new Database(path);
    one.run("PRAGMA journal_mode = WAL");
    one.run("CREATE TABLE t(a)");
    const two = new Database(path);
    one.run("BEGIN IMMEDIATE");
    const start = performance.now();
    expect(thrown(() => two.run("INSERT INTO t VALUES (1)"))).toBe("SQLiteError: database is locked [SQLITE_BUSY 5 @-1]");
    expect(thrown(() => two.prepare("INSERT INTO t VALUES (1)").run())).toBe("SQLiteError: database is locked [SQLITE_BUSY 5 @-1]");
    expect(thrown(() => two.run("BEGIN IMMEDIATE"))).toBe("SQLiteError: database is locked [SQLITE_BUSY 5 @-1]");
    expect(performance.now() - start).toBeLessThan(2000);
    expect(value(two, "SELECT count(*) FROM t")).toBe(0);
    one.run("COMMIT");
    expect(two.run("INSERT INTO t VALUES (1)").changes).toBe(1);
    one.close(true);
    two.close(true);
  });
});

describe("run", () => {
  test("one statement or several", () => {
    const db = sample();
    expect(db.run("INSERT INTO t(b) VALUES ('q')")).toEqual({ changes: 1, lastInsertRowid: 3 });
    expect(db.run("SELECT 1; INSERT INTO t(b) VALUES ('r'); INSERT INTO t(b) VALUES ('s'), ('t');")).toEqual({ changes: 3, lastInsertRowid: 6 });
    expect(db.run("SELECT * FROM t")).toEqual({ changes: 0, lastInsertRowid: 6 });
    expect(db.run("CREATE TABLE u(a, b)")).toEqual({ changes: 0, lastInsertRowid: 6 });
    expect(db.run("SELECT 1\0 nonsense").changes).toBe(0);
    expect(db.exec("INSERT INTO t(b) VALUES ('z')")).toEqual({ changes: 1, lastInsertRowid: 7 });
    expect(db.run("-- remark\nDELETE FROM t; -- another\n").changes).toBe(7);
  });

  test("parameters: the first statement's", () => {
    const db = sample();
    db.run("CREATE TABLE r(a, b)");
    expect(db.run("INSERT INTO r VALUES (?, ?)", 1 as any, 2 as any).changes).toBe(1);
    expect(db.run("INSERT INTO r VALUES (?, ?)", [3, 4]).changes).toBe(1);
    expect(db.run("INSERT INTO r VALUES ($a, $b)", { $a: 5, b: 6 } as any).changes).toBe(1);
    expect(db.run("INSERT INTO r VALUES (?, ?)").changes).toBe(1);
    expect(db.run("INSERT INTO r VALUES (?, ?); INSERT INTO r VALUES (7, 8); INSERT INTO r VALUES (?, ?)", [1, 2]).changes).toBe(3);
    expect(db.run("SELECT ?", []).changes).toBe(0);
    expect(db.query("SELECT a, b FROM r").values()).toEqual([[1, 2], [3, 4], [5, 6], [null, null], [1, 2], [7, 8], [null, null]]);
    for (const [params, received] of [[[[1, 2, 3]], 3], [[[1]], 1], [[undefined], 1]] as [any[], number][]) {
      expect(thrown(() => db.run("INSERT INTO r VALUES (?, ?)", ...params))).toBe(`Error: SQLite query expected 2 values, received ${received}`);
    }
  });

  test("what it refuses", () => {
    const db = sample();
    expect(thrown(() => db.run(""))).toBe("Error: SQL string mustn't be blank");
    for (const sql of [" ", "-- remark", ";;;", "/* a */"]) {
      expect(thrown(() => db.run(sql))).toBe("Error: Query contained no valid SQL statement; likely empty query.");
    }
    for (const sql of [undefined, null, 5]) expect(thrown(() => db.run(sql as any))).toBe("Error: Expected SQL string");
  });
});

describe("prepare and query", () => {
  test("what they refuse", () => {
    const db = sample();
    for (const sql of ["", " ", "-- c", ";"]) expect(thrown(() => db.prepare(sql))).toBe("RangeError: Invalid SQL statement");
    for (const sql of [undefined, 5]) expect(thrown(() => db.prepare(sql as any))).toBe("Error: Expected SQL string");
    expect(thrown(() => db.query(""))).toBe("Error: SQL query cannot be empty.");
    expect(thrown(() => db.query(" "))).toBe("RangeError: Invalid SQL statement");
    expect(thrown(() => (db as any).query())).toBe("TypeError: Expected 'query' to be a string, got 'undefined'");
  });

  test("query keeps statements", () => {
    const count = (db: object) => (db as any)[Symbol.for("Bun.Database.cache.count")];
    const db = sample();
    const one = db.query("SELECT 1");
    expect([db.query("SELECT 1") === one, db.query("SELECT 1 ") === one, db.prepare("SELECT 1") === one]).toEqual([true, false, false]);
    for (let at = 0; at < 25; at++) db.query(`SELECT ${at} AS n`);
    expect(count(db)).toBe(20);
    expect([one.get(), db.query("SELECT 1") === one]).toEqual([{ "1": 1 }, false]);
    const kept = db.query("SELECT 24 AS n");
    kept.finalize();
    const again = db.query("SELECT 24 AS n");
    expect([again === kept, again.get()]).toEqual([false, { n: 24 }]);
    expect(db.clearQueryCache()).toBe(undefined as any);
    expect([count(db), again.isFinalized]).toEqual([0, true]);
    const long = `SELECT 1 /*${"x".repeat(70_000)}*/`;
    expect(db.query(long) === db.query(long)).toBe(false);
    const max = Database.MAX_QUERY_CACHE_SIZE;
    Database.MAX_QUERY_CACHE_SIZE = 0;
    expect(db.query("SELECT 5") === db.query("SELECT 5")).toBe(false);
    Database.MAX_QUERY_CACHE_SIZE = max;
    expect(max).toBe(20);
  });
});

describe("errors", () => {
  const db = sample();
  db.run("CREATE TABLE u(k TEXT UNIQUE NOT NULL, CHECK (k <> 'bad')); INSERT INTO u VALUES ('a')");

  test("codes, messages, offsets", () => {
    const said = (sql: string) => thrown(() => db.run(sql));
    expect(said("selec 1")).toBe('SQLiteError: near "selec": syntax error [SQLITE_ERROR 1 @0]');
    expect(said("SELECT 1; é; SELECT 2")).toBe('SQLiteError: near "é": syntax error [SQLITE_ERROR 1 @10]');
    expect(said("SELECT 'é'; SELECT * FROM nope")).toBe("SQLiteError: no such table: nope [SQLITE_ERROR 1 @-1]");
    expect(thrown(() => db.prepare("SELECT zz FROM t"))).toBe("SQLiteError: no such column: zz [SQLITE_ERROR 1 @7]");
    expect(said("INSERT INTO t(a) VALUES (1)")).toBe("SQLiteError: UNIQUE constraint failed: t.a [SQLITE_CONSTRAINT_PRIMARYKEY 1555 @-1]");
    expect(said("INSERT INTO u VALUES ('a')")).toBe("SQLiteError: UNIQUE constraint failed: u.k [SQLITE_CONSTRAINT_UNIQUE 2067 @-1]");
    expect(said("INSERT INTO u VALUES (NULL)")).toBe("SQLiteError: NOT NULL constraint failed: u.k [SQLITE_CONSTRAINT_NOTNULL 1299 @-1]");
    expect(said("INSERT INTO u VALUES ('bad')")).toBe("SQLiteError: CHECK constraint failed: k <> 'bad' [SQLITE_CONSTRAINT_CHECK 275 @-1]");
    expect(said("COMMIT")).toBe("SQLiteError: cannot commit - no transaction is active [SQLITE_ERROR 1 @-1]");
    const insert = db.prepare<any, any>("INSERT INTO u VALUES (?) RETURNING *");
    for (const run of [() => insert.run("a"), () => insert.get("a"), () => insert.all("a"), () => insert.values("a"), () => [...insert.iterate("a")]]) {
      expect(thrown(run)).toBe("SQLiteError: UNIQUE constraint failed: u.k [SQLITE_CONSTRAINT_UNIQUE 2067 @-1]");
    }
    expect(insert.all("b")).toEqual([{ k: "b" }]);
  });

  test("the error object", () => {
    try {
      db.run("sel");
      throw new Error("unreachable");
    } catch (error: any) {
      expect(error).toBeInstanceOf(SQLiteError);
      expect(error).toBeInstanceOf(Error);
      expect(String(error)).toBe('SQLiteError: near "sel": syntax error');
      expect(Object.keys(error)).toEqual(["code", "errno", "byteOffset"]);
      expect(Object.getPrototypeOf(error)).toBe(Error.prototype);
    }
    expect(thrown(() => new (SQLiteError as any)("x"))).toBe("Error: SQLiteError can only be constructed by bun:sqlite");
    expect({ name: "SQLiteError" } instanceof SQLiteError).toBe(true);
    expect(new Error("x") instanceof SQLiteError).toBe(false);
  });

  test("a statement fails alone: what came before it stays", () => {
    const own = sample();
    expect(thrown(() => own.run("INSERT INTO t(b) VALUES ('k'); INSERT INTO t(a) VALUES (1); INSERT INTO t(b) VALUES ('l')"))).toContain("PRIMARYKEY");
    expect(own.query("SELECT b FROM t WHERE a > 2").values()).toEqual([["k"]]);
  });
});

describe("close", () => {
  test("twice, with anything", () => {
    const db = sample();
    expect([db.close(), db.close(), db.close(true), db.close("x" as any)]).toEqual([undefined, undefined, undefined, undefined] as any);
  });

  test("close(): prepared statements go on, queried ones end", () => {
    const db = sample();
    const prepared = db.prepare("SELECT a FROM t");
    const one = db.prepare<any, any>("SELECT b FROM t WHERE a = ?");
    const queried = db.query("SELECT b FROM t");
    const iterator = db.prepare("SELECT a FROM t").iterate();
    iterator.next();
    db.close();
    expect([prepared.all(), one.get(1), iterator.next().value]).toEqual([[{ a: 1 }, { a: 2 }], { b: "x" }, { a: 2 }]);
    expect(thrown(() => queried.all())).toBe("Error: Database has closed");
    expect([String(queried), queried.isFinalized, prepared.isFinalized, queried.finalize()]).toEqual(["", true, false, undefined] as any);
    db.close(true);
    expect(thrown(() => prepared.all())).toBe("Error: Database has closed");
  });

  test("close(true): everything ends", () => {
    const db = sample();
    const prepared = db.prepare<any, any>("SELECT a FROM t");
    const iterator = db.prepare("SELECT a FROM t").iterate();
    iterator.next();
    db.close(true);
    const uses: (() => unknown)[] = [
      () => prepared.all(), () => prepared.get(), () => prepared.values(), () => prepared.raw(), () => prepared.run(), () => [...prepared],
      () => iterator.next(), () => prepared.columnNames, () => prepared.columnTypes, () => prepared.declaredTypes, () => prepared.paramsCount,
      () => prepared.reader, () => prepared.readonly, () => prepared.safeIntegers(), () => prepared.toJSON(),
    ];
    for (const use of uses) expect(thrown(use)).toBe("Error: Database has closed");
    expect([prepared.isFinalized, String(prepared), prepared.finalize(), prepared.as(Object as any) === prepared]).toEqual([true, "", undefined, true] as any);
  });

  test("what a closed database refuses", () => {
    const db = sample();
    db.query("SELECT a FROM t");
    db.close();
    const said = (use: () => unknown) => thrown(use);
    expect(said(() => db.run("SELECT 1"))).toBe("Error: Database has closed");
    expect(said(() => db.query("SELECT a FROM t"))).toBe("RangeError: Cannot use a closed database");
    expect(said(() => db.prepare("SELECT 1"))).toBe("RangeError: Cannot use a closed database");
    expect(said(() => db.transaction(() => 1))).toBe("RangeError: Cannot use a closed database");
    expect(said(() => db.inTransaction)).toBe("Error: Database has closed");
    expect(said(() => db.function("f", () => 1))).toBe("Error: Database has closed");
    expect(said(() => db.aggregate("f", { step: () => 1 }))).toBe("Error: Database has closed");
    expect(said(() => { db.onInsert = () => {}; })).toBe("Error: Database has closed");
    expect(said(() => db.serialize())).toBe("Error: Can't do this on a closed database");
    expect(said(() => db.loadExtension("x"))).toBe("Error: Can't do this on a closed database");
    expect([db.onInsert, db.clearQueryCache(), typeof db.handle, db.filename, db.fileControl(10, 0)])
      .toEqual([null, undefined, "number", ":memory:", undefined] as any);
    expect(said(() => db[Symbol.dispose]())).toBe("nothing was thrown");
  });

  test("rolls back, and lets the file go", () => {
    const path = freshPath();
    const db = new Database(path);
    db.run("CREATE TABLE t(a)");
    db.run("BEGIN");
    db.run("INSERT INTO t VALUES (1)");
    db.close();
    using again = new Database(path);
    expect(value(again, "SELECT count(*) FROM t")).toBe(0);
  });

  test("a transaction outlives close() with a statement that does", () => {
    const db = sample();
    const count = db.prepare("SELECT count(*) n FROM t");
    db.run("BEGIN");
    db.run("INSERT INTO t(b) VALUES (9)");
    db.close();
    expect(count.get()).toEqual({ n: 3 });
    count.finalize();
  });

  test("using", () => {
    let kept;
    {
      using db = sample();
      kept = db;
    }
    expect(thrown(() => kept.query("SELECT 1"))).toBe("RangeError: Cannot use a closed database");
  });
});

describe("serialize and deserialize", () => {
  test("carry a database", () => {
    const db = sample();
    const image = db.serialize();
    expect(Buffer.isBuffer(image)).toBe(true);
    expect(image.subarray(0, 15).toString()).toBe("SQLite format 3");
    expect(db.serialize("main").length).toBe(image.length);
    const copies = [
      Database.deserialize(image), new Database(image as any), new Database(new Uint8Array(image) as any, { strict: true, safeIntegers: false }),
      Database.deserialize(image.buffer.slice(image.byteOffset, image.byteOffset + image.length)), Database.deserialize(image, { strict: true }),
    ];
    for (const copy of copies) {
      expect(copy.filename).toBe(":memory:");
      expect(copy.query("SELECT * FROM t").all()).toEqual([{ a: 1, b: "x" }, { a: 2, b: "y" }]);
      expect(copy.run("INSERT INTO t(b) VALUES ('z')")).toEqual({ changes: 1, lastInsertRowid: 3 });
      copy.run("CREATE TABLE more(a)");
    }
    expect(value(db, "SELECT count(*) FROM t")).toBe(2);
    expect(Database.deserialize(image, { safeIntegers: true }).query("SELECT max(a) m FROM t").get()).toEqual({ m: 2n });
    expect(new Database().serialize().length).toBeGreaterThanOrEqual(0);
  });

  test("read-only", () => {
    const image = sample().serialize();
    for (const options of [true, { readonly: true }]) {
      const copy = Database.deserialize(image, options as any);
      expect(thrown(() => copy.run("INSERT INTO t(b) VALUES (1)"))).toBe("SQLiteError: attempt to write a readonly database [SQLITE_READONLY 8 @-1]");
      expect(value(copy, "SELECT count(*) FROM t")).toBe(2);
    }
  });

  test("what they refuse", () => {
    const db = sample();
    expect(thrown(() => db.serialize("nope"))).toBe("Error: Out of memory");
    for (const [wrong, type] of [["x", "string"], [undefined, "undefined"], [5, "number"], [{}, "object"]]) {
      expect(thrown(() => Database.deserialize(wrong as any))).toBe(`TypeError: Expected 'serialized' to be a TypedArray or ArrayBuffer, got '${type}'`);
    }
    expect(thrown(() => Database.deserialize(new Uint8Array(0)))).toBe("Error: ArrayBuffer must not be empty");
    const read = () => Database.deserialize(Buffer.from("x".repeat(5000))).query("SELECT * FROM sqlite_master").all();
    expect(thrown(read)).toContain("[SQLITE_NOTADB 26 @-1]");
  });

  test("of a file in WAL mode", () => {
    using db = new Database(freshPath());
    db.run("PRAGMA journal_mode = WAL");
    db.run("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    const image = db.serialize();
    expect([image[18], image[19]]).toEqual(differs("serialize", { bun: [2, 2], twill: [1, 1] }));
    const inWalMode = Buffer.from(image);
    inWalMode[18] = inWalMode[19] = 2;
    const read = () => value(Database.deserialize(inWalMode), "SELECT count(*) FROM t");
    if (differs("WAL images", { bun: true, twill: false })) expect(thrown(read)).toBe(CANTOPEN);
    else expect(read()).toBe(1);
  });
});

describe("the rest", () => {
  test("fileControl", () => {
    const db = new Database(freshPath());
    db.run("PRAGMA journal_mode = WAL");
    db.run("CREATE TABLE t(a)");
    const flag = new Int32Array([-1, 0]);
    expect([db.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, flag), flag[0]]).toEqual([0, 0]);
    expect([db.fileControl(10, 0), db.fileControl("main", 10, 0), db.fileControl(null as any, 10, 0)]).toEqual([0, 0, 0]);
    expect(db.fileControl(9999, 0)).toBe(12);
    expect(db.fileControl(constants.SQLITE_FCNTL_CHUNK_SIZE, 4096)).toBe(differs("file control", { bun: 0, twill: 12 }));
    const moved = new Int32Array([5, 0]);
    expect([db.fileControl(constants.SQLITE_FCNTL_HAS_MOVED, moved), moved[0]]).toEqual([0, 0]);
    expect(thrown(() => db.fileControl("nope", 10, 0))).toBe("SQLiteError: not an error [undefined 0 @-1]");
    for (const wrong of ["main", undefined]) expect(thrown(() => (db as any).fileControl(wrong))).toBe("Error: Expected number");
    for (const wrong of ["x", true, {}]) {
      expect(thrown(() => db.fileControl(10, wrong as any))).toBe("Error: Expected result to be a number, null or a TypedArray");
    }
    expect(thrown(() => db.fileControl(10, new Uint8Array(2)))).toBe("Error: TypedArray must be at least 8 bytes");
    db.close(true);
  });

  test("handle, filename", () => {
    const [one, two] = [new Database(), new Database()];
    expect(typeof one.handle).toBe("number");
    expect(two.handle).not.toBe(one.handle);
    const { handle } = one;
    one.close();
    expect(one.handle).toBe(handle);
    expect(JSON.parse(JSON.stringify(two)).filename).toBe(":memory:");
  });

  test("loadExtension, setCustomSQLite", () => {
    const db = new Database();
    expect(thrown(() => (db as any).loadExtension())).toBe("TypeError: Expected string");
    expect(thrown(() => db.loadExtension("/no/such/ext"))).toBe(differs("loadExtension", {
      bun: "Error: /no/such/ext.so: cannot open shared object file: No such file or directory",
      twill: "Error: loadExtension is not supported by @twilldb/bun: /no/such/ext was not loaded",
    }));
    expect(Database.setCustomSQLite("/no")).toBe(false);
    expect(thrown(() => (Database as any).setCustomSQLite())).toBe("Error: Expected SQLite path");
  });

  test("another process", () => {
    const path = freshPath();
    using db = new Database(path);
    db.run("CREATE TABLE t(a)");
    const script = 'const {Database}=require("bun:sqlite"); try { new Database(process.argv[1]).run("INSERT INTO t VALUES (1)"); console.log("wrote") } catch (e) { console.log(e.code) }';
    const { stdout } = Bun.spawnSync([process.execPath, "-e", script, path]);
    expect(stdout.toString().trim()).toBe(differs("one process", { bun: "wrote", twill: "SQLITE_BUSY" }));
    expect(ours).toBe(stdout.toString().trim() !== "wrote");
  });
});
